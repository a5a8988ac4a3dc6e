"""Kills replicas at random moments while contexts are switched, for a time too, and the receiver of alerts is away for a while:
each alert has to arrive, with one id, and each timed context has to be back. See `run` beside this."""

import collections
import http.server
import json
import random
import statistics
import sys
import threading
import time
import urllib.request

from bed import MODEL, OTHER_MODEL, call, free_port, main, session, start, wait_for

ROUNDS = int(sys.argv[1])
AWAY = float(sys.argv[2])
CONTEXTS = 20


class Receiver(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    is_away, got, lock = False, collections.defaultdict(list), threading.Lock()

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.lock:
            is_away = self.is_away
            if not is_away:
                self.got[body["id"]].append((time.time(), body))
        self.send_response(503 if is_away else 204)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def seconds(at):
    return time.mktime(time.strptime(at.split(".")[0].rstrip("Z"), "%Y-%m-%dT%H:%M:%S")) - time.timezone


def entries(me, base):
    """All of the audit that is an alert by default, by number."""
    found, before = {}, None
    while True:
        status, _, text = call(me, base + "/audit" + (f"?before={before}" if before else ""))
        assert status == 200, (status, text)
        page = json.loads(text)["entries"]
        if not page:
            return found
        found.update({entry["id"]: entry for entry in page})
        before = page[-1]["id"]


def is_alert(entry):
    action, outcome = entry["action"], entry["outcome"]
    return (
        (action == "bulk" and outcome in ("ok", "failed", "cancelled", "stopped", "asks"))
        or (action == "swap" and outcome in ("failed", "unknown", "rolled-back"))
        or (action == "swap" and outcome in ("accepted", "verified", "proven"))
        or action == "health"
    )


def drill(folder, servers):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    replicas = [free_port(), free_port()]
    kinds = "down,up,drift,swap-failed,swap-rolled-back,swap-finished,timer-ended,job-ended"
    start(folder, servers, replicas, PATCHBAY_WEBHOOK_URL=f"http://127.0.0.1:{server.server_port}/", PATCHBAY_WEBHOOK_EVENTS=kinds)
    bases = [f"http://127.0.0.1:{port}" for port in replicas]
    people = [session(base) for base in bases]

    # Without kills: how long an alert takes.
    for n in range(100):
        form = {"agent": "task-agent", "context": f"calm-{n}", "model": MODEL, "probe": ""}
        assert call(people[n % 2], bases[n % 2] + "/switch", form)[0] == 200
    wait_for("the first alerts", lambda: len(Receiver.got) >= 100, 60)
    took = sorted(at - seconds(body["at"]) for got in list(Receiver.got.values()) for at, body in got[:1])
    p99 = took[int(len(took) * 0.99) - 1]
    print(f"alerts: {len(took)} took {statistics.median(took):.1f} s in the median, {p99:.1f} s in 99 of 100 (times of whole seconds)")
    assert p99 < 5

    ids = [f"timed-{n}" for n in range(CONTEXTS)]
    for n in ids:
        form = {"agent": "task-agent", "context": n, "model": MODEL, "probe": ""}
        assert call(people[0], bases[0] + "/switch", form)[0] == 200
    jobs, kills = [], 0
    for round in range(ROUNDS):
        Receiver.is_away = round % 3 == 1
        form = {"agent": "task-agent", "ids": "\n".join(ids), "model": OTHER_MODEL, "minutes": 1, "at_once": 4}
        at = round % 2
        status, _, text = call(people[at], bases[at] + "/bulk", form)
        assert status == 202, (status, text)
        job = json.loads(text)["href"]
        jobs.append(job)
        # At any moment of the job, of its end, and of what is sent about it; then at the moment the time is up.
        for pause in (random.uniform(0, 1.5), random.uniform(58, 64) if round == ROUNDS - 1 else random.uniform(0, 3)):
            time.sleep(pause)
            victim = f"replica-{replicas[random.randrange(2)]}"
            servers.kill(victim)
            kills += 1
            servers.restart(victim)
            for base in bases:
                wait_for("a replica", lambda base=base: call(urllib.request.build_opener(), base + "/readyz")[0] == 200)
        people = [session(base) for base in bases]

        def state():
            status, _, text = call(people[0], bases[0] + job)
            return json.loads(text)["state"] if status == 200 else None

        wait_for("the end of the job", lambda: state() == "done", 90)
    if AWAY:
        Receiver.is_away = True
        form = {"agent": "task-agent", "context": "away", "model": MODEL, "probe": ""}
        assert call(people[0], bases[0] + "/switch", form)[0] == 200
        time.sleep(AWAY)
    Receiver.is_away = False

    def left():
        status, _, text = call(people[0], bases[0] + "/contexts?q=timed-")
        rows = json.loads(text)["contexts"] if status == 200 else []
        return [row for row in rows if OTHER_MODEL.split("/")[1] in json.dumps(row.get("config"))] if rows else None

    wait_for("every timed context back", lambda: left() == [], 240, 1)
    wanted = {number: entry for number, entry in entries(people[0], bases[0]).items() if is_alert(entry)}

    def missing():
        have = collections.Counter((body["at"], body["object"], body["outcome"]) for got in list(Receiver.got.values()) for _, body in got[:1])
        return collections.Counter((e["at"], e["object"], e["outcome"]) for e in wanted.values()) - have

    wait_for("every alert", lambda: not missing(), 180, 1)
    twice = sum(len(got) > 1 for got in Receiver.got.values())
    doubled = collections.Counter((got[0][1]["at"], got[0][1]["object"], got[0][1]["outcome"]) for got in Receiver.got.values())
    assert not (too_many := {what: n for what, n in doubled.items() if n > 1}), f"one entry, several alerts: {too_many}"
    print(f"alerts: {kills} kills in {ROUNDS} jobs: {len(wanted)} alerts, each arrived, {twice} more than once with the same id; "
          f"{CONTEXTS} timed contexts are back")


main(drill)
