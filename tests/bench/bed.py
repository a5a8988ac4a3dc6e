"""What the measures run against: a sandbox proxy, the built-in agent and a dashboard, each a process of its own with
the database that it has by default, on free ports."""

import http.client
import json
import os
import socket
import subprocess
import tempfile
import time
from urllib.parse import urlencode, urlsplit

USER, PASSWORD, MASTER = "bench", "a bench's password", "sk-bench-master"
MODELS = ["openai/gpt-5", "openai/gpt-5-mini"]
BINARY = f"{os.environ.get('CARGO_TARGET_DIR', 'target')}/release/patchbay"


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Client:
    """One connection that is kept open, as a script or a browser keeps one."""

    def __init__(self, url):
        url = urlsplit(url)
        self.http = http.client.HTTPConnection(url.hostname, url.port, timeout=60)
        self.headers = {"accept": "application/json"}

    def send(self, method, path, body=None, headers=None):
        self.http.request(method, path, body, {**self.headers, **(headers or {})})
        answer = self.http.getresponse()
        return answer.status, answer.read().decode(), answer.headers

    def form(self, path, form):
        return self.send("POST", path, urlencode(form), {"content-type": "application/x-www-form-urlencoded"})


class Bed:
    """The three processes, for as long as the `with` lasts."""

    def __init__(self, binary, database=None):
        self.binary, self.database, self.processes = os.path.abspath(binary), database, []

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="patchbay-bench.")
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
        self.folder.cleanup()

    def start_all(self):
        self.proxy = self.start("sandbox", "/health/liveliness", LITELLM_MASTER_KEY=MASTER)
        common = {"FF_LLM_PROXY_BASE_URL": self.proxy, "TASK_AGENT_API_KEY": self.furnish()}
        self.agent = self.start("agent", "/health", **common) + "/a2a/litellm_agent"
        self.settings = {
            "LITELLM_MASTER_KEY": MASTER,
            "UI_USERNAME": USER,
            "UI_PASSWORD": PASSWORD,
            "PATCHBAY_AGENTS": f"task-agent={self.agent}",
            **({"PATCHBAY_DATABASE_URL": self.database} if self.database else {}),
            **common,
        }
        self.dashboard = self.start("serve", "/readyz", **self.settings)

    def restart(self):
        """A new process of the dashboard on the same database, where sessions go on."""
        old = self.processes.pop()
        old.terminate()
        old.wait(30)
        self.dashboard = self.start("serve", "/readyz", **self.settings)

    def start(self, command, health, **environment):
        port = free_port()
        with open(os.path.join(self.folder.name, f"{command}.log"), "wb") as log:
            process = subprocess.Popen(
                [self.binary, command, "--bind", f"127.0.0.1:{port}"],
                env={"PATH": os.environ["PATH"], "RUST_LOG": "warn", **environment},
                cwd=self.folder.name,
                stdout=log,
                stderr=log,
            )
        self.processes.append(process)
        url = f"http://127.0.0.1:{port}"
        until = time.monotonic() + 60
        while time.monotonic() < until and process.poll() is None:
            try:
                if Client(url).send("GET", health)[0] == 200:
                    return url
            except OSError:
                time.sleep(0.05)
        raise SystemExit(f"{command} does not start: {open(log.name).read()[-1000:]}")

    def furnish(self):
        """Registers the models; the agent's key, which may call them all."""
        admin = Client(self.proxy)
        head = {"authorization": f"Bearer {MASTER}", "content-type": "application/json"}

        def post(path, body):
            status, text, _ = admin.send("POST", path, json.dumps(body), head)
            assert status == 200, (path, status, text)
            return json.loads(text)

        for name in MODELS:
            params = {"model": name.split("/")[1], "custom_llm_provider": "openai"}
            post("/model/new", {"model_name": name, "litellm_params": params})
        return post("/key/generate", {"key_alias": "task-agent", "models": []})["key"]

    def log_in(self):
        """A connection to the dashboard with a session."""
        client = Client(self.dashboard)
        status, _, headers = client.form("/login", {"username": USER, "password": PASSWORD})
        assert status == 303, f"the login answered {status}"
        client.headers["cookie"] = headers["set-cookie"].split(";")[0]
        return client

    def resident(self):
        """The memory of the dashboard's process, in KiB: now, and at most so far."""
        with open(f"/proc/{self.processes[-1].pid}/status") as status:
            fields = dict(line.split(":", 1) for line in status)
        return int(fields["VmRSS"].split()[0]), int(fields["VmHWM"].split()[0])
