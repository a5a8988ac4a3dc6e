"""Replicas, a stand-in for the proxy, and an agent, as processes. See `run` beside this."""

import http.cookiejar
import json
import os
import pathlib
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

BINARY = os.environ["PATCHBAY"]
DATABASE = os.environ["PATCHBAY_TEST_POSTGRES"]
MASTER, USER, PASSWORD = "sk-drill-master", "ada", "a password for the drill"
MODEL, OTHER_MODEL = "openai/gpt-5", "openai/gpt-5-mini"


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


def call(opener, url, form=None, accept="application/json", body=None, headers=None, timeout=30):
    """Status, headers and text of an answer, also of an error."""
    data = urllib.parse.urlencode(form).encode() if form is not None else body
    request = urllib.request.Request(url, data, {"Accept": accept, **(headers or {})})
    try:
        answer = opener.open(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        return answer.status, answer.headers, answer.read().decode()


def session(base):
    """A browser that has logged in."""
    opener = urllib.request.build_opener(
        NoRedirect, urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
    )
    status, _, text = call(opener, base + "/login", {"username": USER, "password": PASSWORD}, "text/html")
    assert status == 303, (status, text)
    return opener


class Servers:
    def __init__(self, folder):
        self.folder, self.processes, self.commands = folder, {}, {}

    def start(self, name, command, **environment):
        self.commands[name] = command, environment
        log = open(self.folder / f"{name}.log", "ab")
        environment = {"PATH": os.environ["PATH"], "NO_COLOR": "1", **environment}
        self.processes[name] = subprocess.Popen(
            command, cwd=self.folder, stdout=log, stderr=log, env=environment
        )

    def kill(self, name):
        self.processes[name].kill()
        self.processes[name].wait()

    def restart(self, name):
        command, environment = self.commands[name]
        self.start(name, command, **environment)

    def log(self, name):
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def stop(self):
        for process in self.processes.values():
            process.send_signal(signal.SIGCONT)
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def wait_for(what, look, seconds=30.0, pause=0.1):
    until = time.monotonic() + seconds
    while True:
        try:
            found = look()
        except (OSError, urllib.error.URLError):
            found = None
        if found:
            return found
        assert time.monotonic() < until, f"in vain: {what}"
        time.sleep(pause)


def furnish(sandbox):
    opener = urllib.request.build_opener()

    def admin(path, body):
        headers = {"Authorization": f"Bearer {MASTER}", "Content-Type": "application/json"}
        status, _, text = call(opener, sandbox + path, body=json.dumps(body).encode(), headers=headers)
        assert status == 200, (path, status, text)
        return json.loads(text)

    for name in (MODEL, OTHER_MODEL):
        params = {"model": name.split("/")[1], "custom_llm_provider": "openai"}
        admin("/model/new", {"model_name": name, "litellm_params": params})
    return admin("/key/generate", {"key_alias": "task-agent", "models": []})["key"]


def start(folder, servers, replicas, agents=None, **settings):
    """Starts sandbox and agent, and a replica at each of these ports, with the agent at an address of its own where
    `agents` makes one of the agent's port. `settings` are further variables of the replicas."""
    sandbox, agent = free_port(), free_port()
    servers.start("sandbox", [BINARY, "sandbox", "--bind", f"127.0.0.1:{sandbox}"], LITELLM_MASTER_KEY=MASTER)
    opener = urllib.request.build_opener()
    wait_for("the sandbox", lambda: call(opener, f"http://127.0.0.1:{sandbox}/health/liveliness")[0] == 200)
    common = {
        "FF_LLM_PROXY_BASE_URL": f"http://127.0.0.1:{sandbox}",
        "TASK_AGENT_API_KEY": furnish(f"http://127.0.0.1:{sandbox}"),
        "RUST_LOG": "info",
    }
    servers.start(
        "agent",
        [BINARY, "agent", "--bind", f"127.0.0.1:{agent}"],
        PATCHBAY_DATABASE_URL="sqlite://agent.db",
        **common,
    )
    wait_for("the agent", lambda: call(opener, f"http://127.0.0.1:{agent}/health")[0] == 200)
    for port, at in zip(replicas, agents(agent) if agents else [agent] * len(replicas)):
        servers.start(
            f"replica-{port}",
            [BINARY, "serve", "--bind", f"127.0.0.1:{port}"],
            PATCHBAY_DATABASE_URL=DATABASE,
            LITELLM_MASTER_KEY=MASTER,
            UI_USERNAME=USER,
            UI_PASSWORD=PASSWORD,
            PATCHBAY_AGENTS=f"task-agent=http://127.0.0.1:{at}/a2a/litellm_agent",
            **common,
            **settings,
        )
    for port in replicas:
        wait_for("a replica", lambda port=port: call(opener, f"http://127.0.0.1:{port}/readyz")[0] == 200)


def postgres(action, *options):
    ctl = shlex.split(os.environ["PATCHBAY_TEST_PG_CTL"])
    if os.getuid() == 0:
        ctl = ["runuser", "-u", "postgres", "--", *ctl]
    subprocess.run([*ctl, *options, action], check=True, cwd="/")


def main(drill):
    folder = pathlib.Path(tempfile.mkdtemp(prefix="patchbay-replicas."))
    servers = Servers(folder)
    try:
        drill(folder, servers)
    except BaseException:
        for name in servers.processes:
            print(f"--- the end of {name}'s log\n{servers.log(name)[-3000:]}", file=sys.stderr)
        raise
    finally:
        servers.stop()
        subprocess.run(["rm", "-rf", folder], check=False)
