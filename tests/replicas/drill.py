"""Kills a replica in the middle of a swap of many contexts, and takes the database away. See `run` beside this."""

import collections
import json
import re
import signal
import sys
import threading
import time
import urllib.request

from bed import MODEL, call, free_port, main, postgres, session, start, wait_for

CONTEXTS = int(sys.argv[1])


def nginx_conf(folder, port, replicas):
    """As docs/deployment.md has it, but for the addresses. The header tells which replica answered."""
    servers = " ".join(f"server 127.0.0.1:{port} max_fails=1 fail_timeout=2s;" for port in replicas)
    return f"""
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/nginx-error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  client_max_body_size 4m; client_body_buffer_size 4m;
  upstream patchbay {{ {servers} keepalive 16; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://patchbay;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_buffering off;
      add_header X-Replica $upstream_addr always;
    }}
  }}
}}
"""


class Load:
    """People who look at pages all the while."""

    def __init__(self, base, people):
        self.people, self.base = people, base
        self.statuses, self.lost, self.is_over = collections.Counter(), 0, False
        self.threads = [threading.Thread(target=self.look, args=(person,)) for person in people]
        for thread in self.threads:
            thread.start()

    def look(self, person):
        while not self.is_over:
            for page in ("/", "/contexts", "/models", "/keys", "/audit"):
                try:
                    status, headers, _ = call(person, self.base + page, accept="text/html")
                except OSError:
                    status, headers = "broken off", {}
                self.statuses[status] += 1
                if status == 303 and "/login" in headers["Location"]:
                    self.lost += 1
                time.sleep(0.05)

    def end(self):
        self.is_over = True
        for thread in self.threads:
            thread.join()


def drill(folder, servers):
    front, replicas = free_port(), [free_port(), free_port()]
    start(folder, servers, replicas)
    (folder / "nginx.conf").write_text(nginx_conf(folder, front, replicas))
    servers.start("nginx", ["/usr/sbin/nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")])
    base = f"http://127.0.0.1:{front}"
    wait_for("nginx", lambda: call(urllib.request.build_opener(), base + "/readyz")[0] == 200)
    kill_one(servers, base)
    lose_the_database(base)


def kill_one(servers, base):
    people = [session(base) for _ in range(3)]
    me = people[0]
    load = Load(base, people[1:])
    ids = [f"drill-{n:04}" for n in range(CONTEXTS)]
    form = {"agent": "task-agent", "ids": "\n".join(ids), "model": MODEL, "at_once": 8}
    begun = time.monotonic()
    status, headers, text = call(me, base + "/bulk", form)
    assert status == 202, (status, text)
    job = json.loads(text)["href"]
    worker = headers["X-Replica"].split(":")[-1]

    def state():
        status, _, text = call(me, base + job)
        return json.loads(text) if status == 200 else None

    wait_for("a third of the job", lambda: (at := state()) and at["counts"]["done"] >= CONTEXTS // 3, 120)
    victim = servers.processes[f"replica-{worker}"]
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    killed = time.monotonic()
    at_kill = wait_for("the other replica", state)
    print(f"killed replica {worker} at {at_kill['counts']}")
    wait_for("progress elsewhere", lambda: (at := state()) and at["counts"]["done"] > at_kill["counts"]["done"] + 8, 60)
    print(f"another replica went on {time.monotonic() - killed:.1f} s later")
    end = wait_for("the end of the job", lambda: (at := state()) and at["state"] == "done" and at, 300)
    took = time.monotonic() - begun
    load.end()
    assert end["counts"]["done"] == CONTEXTS, end["counts"]

    switched = collections.Counter(re.findall(r'"context switched","context":"([^"]+)"', servers.log("agent")))
    assert set(switched) == set(ids), f"{len(switched)} contexts in the agent's log"
    twice = [context for context, times in switched.items() if times > 1]
    assert not twice, f"switched more than once: {twice}"

    audit = collections.defaultdict(list)
    before = None
    while True:
        status, _, text = call(me, base + "/audit" + (f"?before={before}" if before else ""))
        assert status == 200, (status, text)
        entries = json.loads(text)["entries"]
        if not entries:
            break
        for entry in entries:
            if entry["action"] == "swap":
                audit[entry["object"]].append(entry["outcome"])
        before = entries[-1]["id"]
    well = {"verified", "accepted", "proven"}
    wrong = {c: audit[f"task-agent/{c}"] for c in ids if sum(o in well for o in audit[f"task-agent/{c}"]) != 1}
    assert not wrong, f"not exactly one success in the audit: {wrong}"
    cut = [c for c in ids if "unknown" in audit[f"task-agent/{c}"]]

    for person in people:
        for _ in range(4):
            status, _, _ = call(person, base + "/models", accept="text/html")
            assert status == 200, f"a login was lost: {status}"
    assert load.lost == 0, f"{load.lost} requests were led to the login"
    print(
        f"{CONTEXTS} contexts switched once each in {took:.1f} s, {len(cut)} of them under way when the replica was "
        f"killed; the audit has a success of each; no login lost; answers meanwhile: {dict(load.statuses)}"
    )


def lose_the_database(base):
    person = session(base)
    for page in ("/models", "/keys"):
        assert call(person, base + page, accept="text/html")[0] == 200
    postgres("stop", "-m", "immediate")
    try:
        wait_for("not ready", lambda: call(person, base + "/readyz")[0] == 503)
        for page in ("/models", "/keys"):
            begun = time.monotonic()
            status, _, text = call(person, base + page, accept="text/html")
            assert status == 200, f"{page} is {status} without the database: {text[:500]}"
            assert time.monotonic() - begun < 2, f"{page} waits for the database"
        form = {"agent": "task-agent", "context": "drill-0000", "model": MODEL}
        status, _, text = call(person, base + "/switch", form)
        assert status == 503 and "database" in text, (status, text)
    finally:
        postgres("start")
    begun = time.monotonic()
    wait_for("ready again", lambda: call(person, base + "/readyz")[0] == 200)
    status, _, text = call(person, base + "/switch", form)
    assert status == 200 and json.loads(text)["outcome"] == "verified", (status, text)
    print(f"without the database pages stay open and writes are refused; {time.monotonic() - begun:.1f} s after it is back, swaps go on")


main(drill)
