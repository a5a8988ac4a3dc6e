"""Floods a dashboard, and measures what that costs. See `run` beside this."""

import base64
import contextlib
import hashlib
import http.server
import json
import os
import pathlib
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

BINARY = os.path.abspath(os.environ["PATCHBAY"])
SECONDS = float(os.environ.get("SECONDS_EACH", 60))
PASSWORD = "a password for the drill"
LONG = "x" * 30_000
MB = 1e6


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def basic(name, password):
    return "Authorization: Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


class Proxy(http.server.BaseHTTPRequestHandler):
    """A proxy with many keys."""

    protocol_version, KEYS = "HTTP/1.1", 20_000

    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        answer = {"data": []}
        if url.path == "/key/list":
            page, size = int(query.get("page", 1)), min(int(query.get("size", 100)), 100)
            numbers = range((page - 1) * size, min(page * size, self.KEYS))
            keys = [{"token": hashlib.sha256(b"%d" % number).hexdigest(), "key_name": "sk-...abcd", "key_alias": f"key-{number}", "spend": 1.5,
                     "models": ["openai/gpt-5"], "user_id": "someone", "created_at": "2026-01-01T00:00:00Z"} for number in numbers]
            answer = {"keys": keys, "total_count": self.KEYS, "current_page": page, "total_pages": -(-self.KEYS // size)}
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Dashboard:
    def __init__(self, folder, proxy):
        self.folder, self.port = pathlib.Path(folder), free_port()
        users = self.folder / "users"
        for name in ["viewer", "grace"]:
            add = [BINARY, "user", "add", name, "--role", "viewer", "--password-stdin", "--users-file", str(users)]
            subprocess.run(add, input=PASSWORD, text=True, check=True, stdout=subprocess.DEVNULL, cwd=folder)
        environment = {
            "PATH": os.environ["PATH"], "LITELLM_PROXY_URL": proxy, "LITELLM_MASTER_KEY": "sk-drill-master",
            "UI_USERNAME": "ada", "UI_PASSWORD": PASSWORD, "PATCHBAY_USERS_FILE": str(users),
            "PATCHBAY_BIND": f"127.0.0.1:{self.port}", "PATCHBAY_TRUSTED_PROXIES": "127.0.0.1",
            "PATCHBAY_DATABASE_URL": f"sqlite://{folder}/patchbay.db",
        }
        log = open(self.folder / "log", "ab")
        self.process = subprocess.Popen([BINARY, "serve"], env=environment, cwd=folder, stdout=log, stderr=log)
        until = time.monotonic() + 30
        while self.status("GET /healthz") != 200:
            assert time.monotonic() < until, (self.folder / "log").read_text()
            time.sleep(0.1)

    def request(self, line, *headers, timeout=60.0):
        connection = socket.create_connection(("127.0.0.1", self.port), timeout)
        head = [f"{line} HTTP/1.1", f"Host: 127.0.0.1:{self.port}", "Content-Length: 0", "Connection: close", *headers]
        connection.sendall(("\r\n".join(head) + "\r\n\r\n").encode())
        return connection

    def status(self, line, *headers):
        try:
            with contextlib.closing(self.request(line, *headers)) as connection:
                answer = connection.recv(64)
                return int(answer.split()[1]) if answer else 0
        except OSError:
            return 0

    def body(self, line, *headers):
        with contextlib.closing(self.request(line, *headers)) as connection:
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
            return answer.partition(b"\r\n\r\n")[2]

    def log_bytes(self):
        return (self.folder / "log").stat().st_size

    def database_bytes(self):
        return sum(path.stat().st_size for path in self.folder.glob("patchbay.db*"))

    def memory(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) * 1024

    def audit_rows(self):
        with contextlib.closing(sqlite3.connect(self.folder / "patchbay.db")) as database:
            return database.execute("select count(*) from audit").fetchone()[0]


def flood(work, threads):
    """Does `work` over and over in several threads until the time is over; what each time brought."""
    until, results = time.monotonic() + SECONDS, []

    def run(number):
        nth = 0
        while time.monotonic() < until:
            results.append(work(number, nth))
            nth += 1

    workers = [threading.Thread(target=run, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    return workers, results


def log(dashboard):
    """Throttled Basic logins with long paths."""
    before = dashboard.log_bytes()
    workers, results = flood(lambda *_: dashboard.status(f"GET /models/{LONG}", basic("eve", "not it")), 8)
    workers[0].join()
    time.sleep(2)
    grown = dashboard.log_bytes() - before
    print(f"attacks: log: {len(results)} logins, {results.count(429)} of them throttled: {grown / MB:.2f} MB of log")
    return grown < 2 * MB


def cookies(dashboard):
    """Sessions that there are not."""
    before = dashboard.log_bytes()
    cookie = lambda number, nth: f"Cookie: patchbay_session={number:06}{nth:06}AAAAAAAAAA"
    workers, results = flood(lambda number, nth: dashboard.status("GET /" + "%5C" * 199, cookie(number, nth), f"X-Request-Id: {'a' * 128}"), 8)
    for worker in workers:
        worker.join()
    grown = dashboard.log_bytes() - before
    print(f"attacks: cookies: {len(results)} requests, {results.count(303)} of them led to the login: {grown / MB:.2f} MB of log")
    return grown < 0.1 * MB


def audit(dashboard):
    """A viewer's requests for what is not theirs."""
    before = dashboard.database_bytes()
    ask = lambda number, nth: dashboard.status(f"POST /keys/{number}-{nth}-{LONG}/delete", basic("viewer", PASSWORD))
    workers, results = flood(ask, 8)
    for worker in workers:
        worker.join()
    grown, rows = dashboard.database_bytes() - before, dashboard.audit_rows()
    print(f"attacks: audit: {results.count(403)} refusals: {rows} entries, {grown / MB:.2f} MB of database")
    return grown < 10 * MB and rows < 110 * (SECONDS / 60 + 2)


def logins(dashboard):
    """Wrong Basic logins from everywhere, and right ones beside them."""
    guess = lambda number, nth: dashboard.status(
        "GET /contexts", basic(f"name-{number}", f"not it {nth}"), f"X-Forwarded-For: 203.{number // 200}.{nth % 200}.{number % 200}"
    )
    workers, results = flood(guess, 200)
    waits, tries = [], []
    while workers[0].is_alive():
        begun, count, nth = time.monotonic(), 0, len(waits)
        while True:
            count += 1
            # From an address without an earlier login.
            if dashboard.status("GET /contexts", basic("grace", PASSWORD), f"X-Forwarded-For: 198.51.100.{nth % 250}") == 200:
                break
            if time.monotonic() - begun > 60:
                break
            time.sleep(0.2)
        waits.append(time.monotonic() - begun)
        tries.append(count)
        time.sleep(1)
    print(f"attacks: logins: {len(results)} wrong ones, {results.count(401)} of them checked; {len(waits)} right ones took "
          f"{sorted(waits)[len(waits) // 2]:.2f} s in the median, {max(waits):.2f} s at most, with {max(tries)} tries at most; "
          f"{dashboard.memory() / MB:.0f} MB of memory")
    return max(waits) < 15


def downloads(dashboard):
    """Readers of a large file who take nothing."""
    until = time.monotonic() + 60
    while len(dashboard.body("GET /keys.csv", basic("viewer", PASSWORD)).splitlines()) < Proxy.KEYS:
        assert time.monotonic() < until, "the keys are not read"
        time.sleep(1)
    before, most, readers = dashboard.memory(), 0, []
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        for number in range(150 - len(readers)):
            readers.append(dashboard.request(f"GET /keys.csv?q=key-{'' if number % 2 else '1'}", basic("viewer", PASSWORD)))
        most = max(most, dashboard.memory())
        time.sleep(0.2)
    is_served = dashboard.status("GET /contexts", basic("grace", PASSWORD)) == 200
    print(f"attacks: downloads: {len(readers)} readers: {before / MB:.0f} MB of memory before, {most / MB:.0f} MB at most")
    return most - before < 64 * MB and is_served


ATTACKS = {"log": log, "cookies": cookies, "audit": audit, "logins": logins, "downloads": downloads}
proxy = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
threading.Thread(target=proxy.serve_forever, daemon=True).start()
failed = []
for name in sys.argv[1:] or ATTACKS:
    with tempfile.TemporaryDirectory() as folder:
        dashboard = Dashboard(folder, f"http://127.0.0.1:{proxy.server_port}")
        try:
            if not ATTACKS[name](dashboard):
                failed.append(name)
        finally:
            dashboard.process.terminate()
            dashboard.process.wait(30)
if failed:
    sys.exit(f"attacks: FAILED, beyond the bounds: {', '.join(failed)}")
