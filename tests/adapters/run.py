"""Starts sandbox, example agents and dashboard, and switches each agent. Arguments: work folder, venvs, names."""

import base64
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

work, venvs, names = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]
root = Path(__file__).parent.parent.parent
MASTER, PASSWORD = "sk-adapters-master", "adapters-password"
BIG, MINI = "openai/gpt-5", "openai/gpt-5-mini"
children = []


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(name, command, **variables):
    log = open(work / f"{name}.log", "w")
    environment = {"PATH": os.environ["PATH"], "HOME": str(work), **variables}
    children.append(subprocess.Popen(command, cwd=work, env=environment, stdout=log, stderr=log))


def call(url, form=None, body=None, auth=None):
    headers = {"Accept": "application/json", "Authorization": auth} if auth else {"Accept": "application/json"}
    data = None
    if form is not None:
        data = urllib.parse.urlencode(form).encode()
    if body is not None:
        data, headers["Content-Type"] = json.dumps(body).encode(), "application/json"
    request = urllib.request.Request(url, data=data, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=180) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        return json.load(error)


def wait_for(url, auth=None):
    for _ in range(600):
        try:
            urllib.request.urlopen(urllib.request.Request(url, headers={"Authorization": auth or ""}), timeout=5)
            return
        except (OSError, urllib.error.HTTPError):
            time.sleep(0.2)
    sys.exit(f"{url} does not answer")


def main():
    ports = {name: free_port() for name in ["sandbox", "dashboard", *names]}
    at = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
    start("sandbox", ["patchbay", "sandbox"], PATCHBAY_SANDBOX_BIND=f"127.0.0.1:{ports['sandbox']}",
          PATCHBAY_BIND=f"127.0.0.1:{ports['sandbox']}", LITELLM_MASTER_KEY=MASTER)
    wait_for(at["sandbox"] + "/health/liveliness")
    for name in (BIG, MINI):
        params = {"model": name.split("/")[1], "custom_llm_provider": "openai", "api_key": "os.environ/X"}
        call(at["sandbox"] + "/model/new", body={"model_name": name, "litellm_params": params}, auth=f"Bearer {MASTER}")
    lines = ["agents:"]
    for name in names:
        key = call(at["sandbox"] + "/key/generate", body={"key_alias": name}, auth=f"Bearer {MASTER}")["key"]
        (work / f"{name}.key").write_text(key)
        start(name, [str(venvs / f"adapter-{name}/bin/python"), str(root / f"adapters/python/examples/{name}.py")],
              PORT=str(ports[name]), LITELLM_PROXY_URL=at["sandbox"], TASK_AGENT_API_KEY=key,
              HOTSWAP_DB=str(work / f"{name}.db"), OTEL_SDK_DISABLED="true", LITELLM_LOCAL_MODEL_COST_MAP="True")
        lines.append(f"- {{name: {name}, url: '{at[name]}/', key: 'file:{name}.key'}}")
    (work / "agents.yaml").write_text("\n".join(lines) + "\n")
    start("dashboard", ["patchbay", "serve"], PATCHBAY_BIND=f"127.0.0.1:{ports['dashboard']}", UI_PASSWORD=PASSWORD,
          LITELLM_PROXY_URL=at["sandbox"], LITELLM_MASTER_KEY=MASTER, PATCHBAY_AGENTS_FILE=str(work / "agents.yaml"))
    login = "Basic " + base64.b64encode(f"fuzzforge:{PASSWORD}".encode()).decode()
    wait_for(at["dashboard"] + "/healthz")
    for name in names:
        wait_for(at[name] + "/.well-known/agent-card.json")

    def post(path, **form):
        return call(at["dashboard"] + path, form=form, auth=login)

    for name in names:
        for context, model in (("one", BIG), ("two", MINI)):
            swap = post("/switch", agent=name, context=context, model=model, probe="1", message="Which model?",
                        prompt=f"You are {context}.")
            assert swap.get("outcome") == "proven", (name, swap)
        for context, model in (("one", BIG), ("two", MINI)):
            config = post(f"/contexts/{name}/{context}/refresh")
            read = (f"{config['provider']}/{config['model']}", config["prompt"])
            assert read == (model, f"You are {context}."), (name, config)
        swap = post("/switch", agent=name, context="one", model=MINI, probe="1")
        assert swap.get("outcome") == "verified", (name, swap)
        undone = post(f"/contexts/{name}/one/undo", swap=swap["id"])
        assert undone.get("outcome") == "verified", (name, undone)
        config = post(f"/contexts/{name}/one/refresh")
        assert config["model"] == "gpt-5", (name, config)
        asked = post(f"/contexts/{name}/one/message", message="And now?")
        assert "gpt-5" in json.dumps(asked), (name, asked)
        print(f"adapters: {name}: switched, read back, proven, undone; two contexts on two models")


try:
    main()
except BaseException:
    for log in work.glob("*.log"):
        sys.stderr.write(f"--- {log.name}\n{log.read_text()[-3000:]}\n")
    raise
finally:
    for child in children:
        child.terminate()
