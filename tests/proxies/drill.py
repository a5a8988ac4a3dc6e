"""Runs the nginx and Caddy snippets of docs/deployment.md before a dashboard. See `run` beside this."""

import http.client
import http.server
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import urllib.parse

BINARY = os.path.abspath(os.environ["PATCHBAY"])
HOST, PASSWORD = "patchbay.example.com", "a password for the drill"


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def snippets(language, page="docs/deployment.md"):
    blocks = re.findall(rf"```{language}\n(.*?)```", pathlib.Path(page).read_text(), re.S)
    assert blocks, f"{page} has no {language} snippet"
    return blocks


def nginx(snippet, folder, port, upstream):
    """The server of a snippet, in the least configuration that nginx starts with."""
    snippet = re.sub(r"listen \d+;", f"listen 127.0.0.1:{port};", snippet)
    snippet = re.sub(r"server (10\.\d+\.\d+\.\d+):10950", f"server 127.0.0.1:{upstream}", snippet)
    snippet = snippet.replace("127.0.0.1:10950", f"127.0.0.1:{upstream}")
    paths = "".join(f"{name}_temp_path {folder}/{name};\n" for name in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"])
    (folder / "nginx.conf").write_text(
        f"daemon off;\npid {folder}/pid;\nerror_log {folder}/error.log;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{paths}{snippet}}}\n"
    )
    return ["/usr/sbin/nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")]


def caddy(snippet, folder, port, upstream):
    snippet = snippet.replace(HOST, f"http://{HOST}:{port}").replace("127.0.0.1:10950", f"127.0.0.1:{upstream}")
    (folder / "Caddyfile").write_text("{\n\tadmin off\n\tauto_https off\n}\n" + snippet)
    return [shutil.which("caddy"), "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]


def below(snippet, path):
    """The same below a path, as that page says."""
    if "location / {" in snippet:
        return snippet.replace("location / {", f"location {path} {{")
    return snippet.replace("reverse_proxy ", f"reverse_proxy {path}* ", 1)


class Client:
    def __init__(self, port, base):
        self.port, self.base, self.cookie = port, base, None

    def open(self, method, path, form=None, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        headers = {"Host": f"{HOST}:{self.port}", "Accept": "application/json", **headers}
        if self.cookie:
            headers["Cookie"] = self.cookie
        body = None
        if form is not None:
            body = urllib.parse.urlencode(form)
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            headers.setdefault("Origin", f"http://{HOST}:{self.port}")
        connection.request(method, self.base + path, body, headers)
        return connection.getresponse()

    def call(self, *args, **headers):
        with self.open(*args, **headers) as answer:
            return answer.status, answer.headers, answer.read().decode()

    def log_in(self, name, password, **headers):
        status, headers, _ = self.call("POST", "/login", {"username": name, "password": password}, **headers)
        if status == 303:
            self.cookie = headers["Set-Cookie"].split(";")[0]
        return status


def wait_for(what, look):
    until = time.monotonic() + 30
    while True:
        try:
            if look():
                return
        except OSError:
            pass
        assert time.monotonic() < until, f"in vain: {what}"
        time.sleep(0.05)


def drill(kind, make, snippet, base, folder):
    upstream, port = free_port(), free_port()
    users = folder / "users"
    add = [BINARY, "user", "add", "grace", "--role", "viewer", "--password-stdin", "--users-file", str(users)]
    subprocess.run(add, input=PASSWORD, text=True, check=True, stdout=subprocess.DEVNULL, cwd=folder)
    environment = {
        "PATH": os.environ["PATH"], "LITELLM_PROXY_URL": "http://127.0.0.1:9", "LITELLM_MASTER_KEY": "sk-drill-master",
        "UI_USERNAME": "ada", "UI_PASSWORD": PASSWORD, "PATCHBAY_USERS_FILE": str(users), "PATCHBAY_HOSTS": HOST,
        "PATCHBAY_BIND": f"127.0.0.1:{upstream}", "PATCHBAY_BASE_PATH": base, "PATCHBAY_TRUSTED_PROXIES": "127.0.0.1",
        "PATCHBAY_DATABASE_URL": f"sqlite://{folder}/patchbay.db",
    }
    log = open(folder / "log", "ab")
    processes = [subprocess.Popen([BINARY, "serve"], env=environment, cwd=folder, stdout=log, stderr=log)]
    command = make(below(snippet, base) if base else snippet, folder, port, upstream)
    processes.append(subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, env={"PATH": environment["PATH"], "HOME": str(folder)}))
    try:
        ada, grace, guesser = (Client(port, base) for _ in range(3))
        wait_for(f"{kind} answers", lambda: ada.call("GET", "/healthz")[0] == 200)
        assert ada.log_in("ada", PASSWORD) == 303
        assert ada.call("GET", "/contexts")[0] == 200
        assert ada.call("POST", "/theme", {"theme": "dark"}, Origin="http://evil.example")[0] == 403

        # Events come through while the answer goes on.
        events = ada.open("GET", "/events", Accept="text/event-stream")
        assert events.status == 200 and events.headers["Content-Type"].startswith("text/event-stream")
        assert events.readline(), "no event came through"
        events.close()

        # A forged address gives no new guesses, and does not lock out others.
        statuses = [
            guesser.log_in("ada", f"not it {number}", **{"X-Forwarded-For": f"198.51.100.{number}", "X-Real-IP": "192.0.2.1",
                                                         "Forwarded": f"for=198.51.100.{number}"})
            for number in range(40)
        ]
        assert statuses.count(401) < 10 and statuses.count(429) > 30, statuses
        assert grace.log_in("grace", PASSWORD) == 303
        status, _, audit = ada.call("GET", "/audit?what=login")
        addresses = {entry["address"] for entry in json.loads(audit)["entries"]}
        assert addresses == {"127.0.0.1"}, addresses
        print(f"proxies: {kind}{' below ' + base if base else ''}: ok, {statuses.count(401)} of 40 guesses were checked")
    except BaseException:
        print((folder / "log").read_text(errors="replace")[-3000:])
        raise
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(20)


class OAuth2Proxy(http.server.BaseHTTPRequestHandler):
    """What nginx asks of oauth2-proxy: the cookie `sso` holds user and groups, in place of a session."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        cookie = re.search(r"sso=([^;:]*):([^;]*)", self.headers.get("Cookie", ""))
        if self.path.startswith("/oauth2/start"):
            self.answer(200, b"sign in here")
        elif not cookie:
            self.answer(401)
        else:
            names = ["X-Auth-Request-User", "X-Auth-Request-Groups"]
            headers = zip(names, map(urllib.parse.unquote, cookie.groups()))
            self.answer(202, b"", [header for header in headers if header[1]])

    def answer(self, status, body=b"", headers=()):
        self.send_response(status)
        for name, value in [*headers, ("Content-Length", len(body))]:
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def sso_drill(snippet, folder):
    upstream, port = free_port(), free_port()
    gateway = http.server.ThreadingHTTPServer(("127.0.0.1", 0), OAuth2Proxy)
    threading.Thread(target=gateway.serve_forever, daemon=True).start()
    snippet = snippet.replace("127.0.0.1:4180", f"127.0.0.1:{gateway.server_address[1]}")
    documented = dict(re.findall(r"export (PATCHBAY_\w+)='?([^'\s]*)", pathlib.Path("docs/single-sign-on.md").read_text()))
    environment = {
        "PATH": os.environ["PATH"], "LITELLM_PROXY_URL": "http://127.0.0.1:9", "LITELLM_MASTER_KEY": "sk-drill-master",
        "PATCHBAY_HOSTS": HOST, "PATCHBAY_BIND": f"127.0.0.1:{upstream}", "PATCHBAY_PASSWORD_LOGIN": "no",
        "PATCHBAY_DATABASE_URL": f"sqlite://{folder}/patchbay.db", **documented,
    }
    log = open(folder / "log", "ab")
    processes = [subprocess.Popen([BINARY, "serve"], env=environment, cwd=folder, stdout=log, stderr=log)]
    command = nginx(snippet, folder, port, upstream)
    processes.append(subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, env={"PATH": environment["PATH"], "HOME": str(folder)}))
    forged = {"X-Forwarded-User": "mallory", "X-Forwarded-Groups": "platform-admins", "X-Forwarded-Email": "m@example.com"}
    try:
        direct, client = Client(upstream, ""), Client(port, "")
        wait_for("the dashboard answers", lambda: direct.call("GET", "/healthz")[0] == 200)
        wait_for("nginx answers", lambda: client.call("GET", "/")[0] == 302)

        def page(path, user=None, groups="", **headers):
            client.cookie = None if user is None else f"sso={urllib.parse.quote(user)}:{urllib.parse.quote(groups)}"
            return client.call("GET", path, **headers)

        status, headers, _ = page("/models", **forged)
        assert status == 302 and "/oauth2/start?rd=" in headers["Location"], (status, headers)
        assert page("/oauth2/start")[2] == "sign in here"
        for groups, expected in [("", 403), ("sre", 403), ("sre, platform-admins", 200), ("platform-admins|x", 403)]:
            for headers in [{}, forged]:
                status, _, body = page("/danger", "ada", groups, **headers)
                assert status == expected, (groups, headers, status, body)
        # Someone whom the gateway does not name is not who they say they are.
        assert page("/contexts", "", "platform-admins", **forged)[0] == 401
        assert page("/contexts", "ada", "")[0] == 200
        form = {"label": "x"}
        forget = "/contexts/task-agent/c1/forget"
        assert client.call("POST", forget, form)[0] == 403
        client.cookie = "sso=ada:sre"
        assert client.call("POST", forget, form)[0] == 404
        assert client.call("POST", forget, form, Origin="http://evil.example")[0] == 403
        events = client.open("GET", "/events", Accept="text/event-stream")
        assert events.status == 200 and events.readline(), "no event came through"
        events.close()
        print("proxies: nginx with auth_request: ok")
    except BaseException:
        print((folder / "log").read_text(errors="replace")[-3000:])
        print((folder / "error.log").read_text(errors="replace")[-3000:])
        raise
    finally:
        gateway.shutdown()
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(20)


for snippet in snippets("nginx", "docs/single-sign-on.md"):
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        sso_drill(snippet, pathlib.Path(folder))
for kind, make in [("nginx", nginx), ("caddy", caddy)]:
    for snippet in snippets(kind):
        for base in ["", "/tools/patchbay"]:
            with tempfile.TemporaryDirectory() as folder:
                # nginx's workers are another user.
                os.chmod(folder, 0o755)
                drill(kind, make, snippet, base, pathlib.Path(folder))
