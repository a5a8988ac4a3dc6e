"""What the drill runs against: a genuine proxy, a fake provider behind it, the built-in agent and one on a2a-sdk, and a
dashboard that reaches both agents through a recorder."""

import base64
import json
import os
import pathlib
import re
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

import upstream

BINARY = os.path.abspath(os.environ["PATCHBAY"])
PROXY, MASTER = os.environ["LIVE_PROXY"], os.environ["LIVE_MASTER_KEY"]
PYTHON = os.environ["ADAPTER_PYTHON"]
PASSWORD = "a password for the drill"
AGENTS = ("built-in", "adapter")
ROOT = pathlib.Path(__file__).parent.parent.parent

# The log's rows come every ten seconds, and later on a busy machine.
LOG_PATIENCE = 90


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def call(url, body=None, form=None, headers=None):
    """Status and JSON of an answer."""
    data, headers = None, {"Accept": "application/json", **(headers or {})}
    if body is not None:
        data, headers["Content-Type"] = json.dumps(body).encode(), "application/json"
    if form is not None:
        data = urllib.parse.urlencode(form, doseq=True).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=180) as answer:
            status, text = answer.status, answer.read()
    except urllib.error.HTTPError as error:
        status, text = error.code, error.read()
    try:
        return status, json.loads(text)
    except ValueError:
        return status, text.decode(errors="replace")


class Recorder:
    """Passes bytes on to a server, and counts the messages among them."""

    def __init__(self, port):
        self.target, self.messages, self.lock = port, 0, threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            client, _ = self.listener.accept()
            server = socket.create_connection(("127.0.0.1", self.target))
            for one in (client, server):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self.pass_on, args=(client, server, True), daemon=True).start()
            threading.Thread(target=self.pass_on, args=(server, client, False), daemon=True).start()

    def pass_on(self, source, target, is_request):
        last = b""
        try:
            while data := source.recv(65536):
                if is_request:
                    # A name may begin in one piece and end in the next.
                    found = re.findall(rb'"method":\s*"(?:message/|Send)', last + data)
                    last = (last + data)[-20:] if not found else b""
                    with self.lock:
                        self.messages += len(found)
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass


class Bed:
    def __init__(self, folder):
        self.folder, self.processes = pathlib.Path(folder), []
        self.errors, self.run = {}, f"{time.time_ns() // 1_000_000 % 10_000_000}"

    def __enter__(self):
        try:
            self.start_all()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait(30)

    def start_all(self):
        self.upstream = upstream.start(self.errors)
        self.models = {}
        self.register("steady", 1_000_000, 1.0, 2.0)
        key = self.admin("/key/generate", {"key_alias": f"fit-{self.run}", "models": []})["key"]
        (self.folder / "key").write_text(key)
        self.direct, self.recorders = {}, {}
        for name in AGENTS:
            port = free_port()
            self.start_agent(name, port, key)
            self.recorders[name] = Recorder(port)
        at = {"built-in": "/a2a/litellm_agent", "adapter": "/"}
        agents = [f"- {{name: {name}, url: 'http://127.0.0.1:{self.recorders[name].port}{at[name]}', key: 'file:key'}}"
                  for name in AGENTS]
        self.direct = {name: f"http://127.0.0.1:{self.recorders[name].target}{at[name]}" for name in AGENTS}
        (self.folder / "agents.yaml").write_text("\n".join(["agents:", *agents, ""]))
        self.port = free_port()
        self.dashboard = f"http://127.0.0.1:{self.port}"
        self.login = {"Authorization": "Basic " + base64.b64encode(f"ada:{PASSWORD}".encode()).decode()}
        self.start("dashboard", [BINARY, "serve"], "/healthz", self.port, UI_USERNAME="ada", UI_PASSWORD=PASSWORD,
                   LITELLM_MASTER_KEY=MASTER, PATCHBAY_AGENTS_FILE=str(self.folder / "agents.yaml"),
                   PATCHBAY_BIND=f"127.0.0.1:{self.port}")

    def start_agent(self, name, port, key):
        model = {"LITELLM_MODEL": self.models["steady"], "TASK_AGENT_API_KEY": key}
        if name == "built-in":
            return self.start(name, [BINARY, "agent", "--bind", f"127.0.0.1:{port}"], "/health", port, **model)
        program = str(ROOT / "adapters/python/examples/plain.py")
        self.start(name, [PYTHON, program], "/.well-known/agent-card.json", port, PORT=str(port),
                   HOTSWAP_DB=str(self.folder / "hotswap.db"), **model)

    def start(self, name, command, health, port, **environment):
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "LITELLM_PROXY_URL": PROXY, **environment}
        with open(self.folder / f"{name}.log", "wb") as log:
            process = subprocess.Popen(command, env=environment, cwd=self.folder, stdout=log, stderr=log)
        self.processes.append(process)
        until = time.monotonic() + 60
        while time.monotonic() < until and process.poll() is None:
            try:
                if call(f"http://127.0.0.1:{port}{health}")[0] == 200:
                    return
            except OSError:
                time.sleep(0.1)
        raise SystemExit(f"fit: {name} does not start: {(self.folder / f'{name}.log').read_text()[-1000:]}")

    # The proxy.

    def admin(self, path, body=None):
        status, answer = call(PROXY + path, body, headers={"Authorization": f"Bearer {MASTER}"})
        assert status == 200, (path, status, answer)
        return answer

    def register(self, name, window, input_price, output_price, cached_price=None, provider="openai", **more):
        """A model with prices in US dollars per million tokens; its full name."""
        base = f"http://127.0.0.1:{self.upstream.server_port}"
        full = f"fit/{name}-{self.run}"
        prices = {"input_cost_per_token": input_price, "output_cost_per_token": output_price,
                  "cache_read_input_token_cost": cached_price, **more}
        # 1.109 takes a deployment's prices from here alone. An upstream that fails stays in use.
        params = {"model": f"{provider}/{name}", "api_key": "sk-drill", "max_retries": 0, "num_retries": 0, "cooldown_time": 0,
                  "api_base": base if provider == "anthropic" else f"{base}/v1",
                  **{field: price / 1e6 for field, price in prices.items() if price is not None}}
        self.admin("/model/new", {"model_name": full, "litellm_params": params, "model_info": {"max_input_tokens": window}})
        self.models[name] = full
        return full

    def log(self, context):
        """The conversation's calls in the proxy's log, the newest first."""
        query = urllib.parse.urlencode({"session_id": context, "page": 1, "page_size": 50})
        rows = self.admin(f"/spend/logs/session/ui?{query}")["data"]
        return sorted(rows, key=lambda row: row["startTime"], reverse=True)

    def logged(self, contexts, count=1):
        """Waits until each conversation has as many calls in the log; them."""
        until, rows = time.monotonic() + LOG_PATIENCE, {}
        missing = list(contexts)
        while missing:
            rows.update({context: self.log(context) for context in missing})
            missing = [context for context in missing if len(rows[context]) < count]
            assert time.monotonic() < until, f"not in the log after {LOG_PATIENCE} s: {missing[:5]}"
            time.sleep(1 if missing else 0)
        return rows

    # The agents.

    def say(self, agent, context, text):
        """A user's message, sent past the dashboard."""
        message = {"kind": "message", "messageId": str(time.time_ns()), "role": "user", "contextId": context,
                   "parts": [{"kind": "text", "text": text}]}
        body = {"jsonrpc": "2.0", "id": "1", "method": "message/send", "params": {"message": message}}
        return call(self.direct[agent], body)[1]

    # The dashboard.

    def get(self, path):
        return call(self.dashboard + path, headers=self.login)

    def post(self, path, **form):
        return call(self.dashboard + path, form=form, headers=self.login)

    def switch(self, agent, context, model, **more):
        return self.post("/switch", agent=agent, context=context, model=self.models.get(model, model), **more)

    def context(self, agent, context):
        status, page = self.get(f"/contexts/{agent}/{context}")
        assert status == 200, (agent, context, status, page)
        return page

    def command(self, *arguments):
        """A command of the binary, with this dashboard."""
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "PATCHBAY_DASHBOARD": self.dashboard,
                       "UI_USERNAME": "ada", "UI_PASSWORD": PASSWORD}
        return subprocess.run([BINARY, *arguments], env=environment, cwd=self.folder, capture_output=True, text=True)
