"""Pauses a replica in the middle of swaps while another one takes over, and takes the database away. See `run`.

Between the replicas and the agent is a relay, one address for each replica. It writes down what is sent, and can hold an
answer back, so that a swap is paused at a chosen step.
"""

import collections
import concurrent.futures
import http.server
import json
import random
import signal
import sys
import threading
import time
import urllib.request

from bed import MODEL, OTHER_MODEL, call, free_port, main, postgres, session, start, wait_for

ROUNDS = int(sys.argv[1])

# Messages of a swap with a prompt and a question: configuration, model, prompt, configuration, question. The question fails
# in every second context, so that the swap is rolled back: model, prompt, configuration.
STEPS = ["read before", "model", "prompt", "read back", "proof", "roll back model", "roll back prompt", "roll back read"]
READ = "[HOTSWAP:GET_CONFIG"

# A check counts for so long, in seconds; a message later than that after a pause was held up by the pause.
WINDOW = 0.05


class Relay:
    def __init__(self, agent):
        self.port, self.agent = free_port(), agent
        self.lock, self.sent, self.count = threading.Lock(), [], collections.Counter()
        self.hold_at, self.held, self.release = {}, set(), threading.Event()
        relay = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_GET(self):
                self.forward(None)

            def do_POST(self):
                self.forward(self.rfile.read(int(self.headers["Content-Length"])))

            def forward(self, body):
                context = relay.note(body) if body else None
                headers = {name: self.headers[name] for name in ("Content-Type", "Accept", "A2A-Version") if self.headers[name]}
                status, answer, text = call(
                    urllib.request.build_opener(), f"http://127.0.0.1:{relay.agent}{self.path}", body=body, headers=headers, accept=self.headers["Accept"] or "*/*"
                )
                relay.wait(context)
                try:
                    data = text.encode()
                    self.send_response(status)
                    self.send_header("Content-Type", answer["Content-Type"] or "application/json")
                    self.send_header("Content-Length", str(len(data)))
                    self.end_headers()
                    self.wfile.write(data)
                except OSError:  # The agent or the replica was stopped at the end.
                    pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        server.handle_error = lambda *_: None
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()

    def note(self, body):
        message = json.loads(body)["params"].get("message", {})
        context = message.get("contextId", "")
        text = "".join(part.get("text", "") for part in message.get("parts", []))
        with self.lock:
            self.count[context] += 1
            self.sent.append((time.monotonic(), context, text))
        return context

    def wait(self, context):
        with self.lock:
            if context is None or self.hold_at.get(context) != self.count[context]:
                return
            self.held.add(context)
            release = self.release
        release.wait(60)

    def of(self, context, since=0.0):
        with self.lock:
            return [(at, text) for at, of, text in self.sent if of == context and at >= since]


def swap(person, base, context, model, question):
    form = {"agent": "task-agent", "context": context, "model": model, "prompt": "Be brief.", "message": question, "probe": ""}
    until = time.monotonic() + 60
    while True:
        status, _, text = call(person, base + "/switch", form, timeout=90)
        # Another swap holds the context.
        if status != 409 or time.monotonic() > until:
            return json.loads(text)
        time.sleep(0.2)


def pause(process, first, second, base, people, number, pool, seen):
    """One pause with a swap at each step, or at any moment where the number is odd."""
    contexts = {f"p{number:03}-{n}": n + 1 for n in range(len(STEPS))}
    with first.lock:
        first.release, first.held = threading.Event(), set()
        first.hold_at = contexts if number % 2 == 0 else {}
    runs = {
        context: pool.submit(swap, people[0], base[0], context, MODEL, "Which model? FAIL=500" if step > 5 else "Which model?")
        for context, step in contexts.items()
    }
    if number % 2 == 0:
        wait_for("all steps", lambda: len(first.held) == len(contexts), 30, 0.005)
    else:
        time.sleep(random.uniform(0.0, 0.25))
    process.send_signal(signal.SIGSTOP)
    stopped = time.monotonic()
    first.release.set()
    length = random.uniform(9, 20)
    others = {context: pool.submit(swap, people[1], base[1], context, OTHER_MODEL, "Which model?") for context in contexts}
    time.sleep(max(0.0, length - (time.monotonic() - stopped)))
    process.send_signal(signal.SIGCONT)
    resumed = time.monotonic()
    taken = {context: other.result(120) for context, other in others.items()}
    mine = {context: run.result(120) for context, run in runs.items()}
    for context, step in contexts.items():
        check(context, STEPS[step - 1], mine[context], taken[context], first, second, base, people, resumed, seen)


def check(context, step, mine, taken, first, second, base, people, resumed, seen):
    where = (context, step, mine, taken)
    late = [text for at, text in first.of(context, resumed) if not text.startswith(READ)]
    began = min((at for at, _ in second.of(context)), default=None)
    if began is None or began > resumed:
        # The paused one had ended, or not begun, before the other could take over.
        seen["not taken over"] += 1
        return
    ended = mine.get("outcome")
    if mine.get("started_at", "") > taken.get("finished_at", "~"):
        seen["begun after the pause"] += 1
        return
    if ended != "unknown":
        # It had sent everything and got its last answer before the pause, and the outcome was written.
        assert not late and ended in ("verified", "proven", "rolled-back"), where
        seen["ended before the pause"] += 1
    elif late:
        # Held up between a check and its message: that shows in what is read afterwards.
        assert len(late) == 1, (where, late)
        seen["paused within the window"] += 1
        return
    else:
        seen[f"unknown: {step}" if context.endswith(str(STEPS.index(step))) else "unknown"] += 1
    assert taken.get("outcome") in ("verified", "proven"), where
    # What the receipt of the one that took over says is what the agent has.
    status, _, text = call(people[1], f"{base[1]}/contexts/task-agent/{context}/refresh", {})
    assert status == 200, (context, status, text)
    status, _, text = call(people[1], f"{base[1]}/contexts/task-agent/{context}")
    now = json.loads(text)["context"]["config"]
    assert f"{now['provider']}/{now['model']}" == OTHER_MODEL, (where, now)


def bulk(process, first, second, base, people, number, seen):
    """Pauses a replica between two items of a job, behind their pace."""
    ids = [f"b{number:03}-{n}" for n in range(12)]
    form = {"agent": "task-agent", "ids": "\n".join(ids), "model": MODEL, "at_once": 2, "pace": "0.5"}
    status, _, text = call(people[0], base[0] + "/bulk", form)
    assert status == 202, (status, text)
    job = json.loads(text)["href"]
    wait_for("some items", lambda: sum(1 for c in ids if first.of(c) or second.of(c)) >= 4, 30)
    works = first if any(first.of(c) for c in ids) else second
    if works is second:
        seen["jobs at the other replica"] += 1
    time.sleep(random.uniform(0, 0.6))
    process.send_signal(signal.SIGSTOP)
    time.sleep(random.uniform(9, 20))
    process.send_signal(signal.SIGCONT)

    def state():
        status, _, text = call(people[1], base[1] + job)
        return json.loads(text) if status == 200 else None

    end = wait_for("the end of the job", lambda: (at := state()) and at["state"] == "done" and at, 120)
    assert end["counts"]["done"] == len(ids), end["counts"]
    for context in ids:
        sent = [text for relay in (first, second) for _, text in relay.of(context) if text.startswith("[HOTSWAP:MODEL")]
        assert len(sent) == 1, (context, sent)
    seen["jobs"] += 1


def lose_the_database(first, base, people, pool, number, seen):
    contexts = {f"d{number:03}-{n}": n + 1 for n in range(len(STEPS))}
    with first.lock:
        first.release, first.held, first.hold_at = threading.Event(), set(), contexts
    runs = {
        context: pool.submit(swap, people[0], base[0], context, MODEL, "Which model? FAIL=500" if step > 5 else "Which model?")
        for context, step in contexts.items()
    }
    wait_for("all steps", lambda: len(first.held) == len(contexts), 30, 0.005)
    postgres("stop", "-m", "immediate")
    gone = time.monotonic()
    time.sleep(WINDOW)
    first.release.set()
    time.sleep(random.choice([2, 8]))
    sent = [text for context in contexts for at, text in first.of(context, gone + WINDOW)]
    assert not sent, f"sent without a database: {sent}"
    postgres("start")
    for context, run in runs.items():
        answer = run.result(120)

        def written(context=context):
            status, _, text = call(people[0], f"{base[0]}/contexts/task-agent/{context}")
            last = json.loads(text)["swaps"][0] if status == 200 else {}
            return last.get("finished_at") and last["outcome"]

        outcome = wait_for("the outcome", written, 30)
        # Where it could not be written at once the answer was an error that says so.
        assert answer.get("outcome", outcome) == outcome, (context, answer, outcome)
        assert outcome in ("unknown", "proven", "verified", "rolled-back"), (context, outcome)
        seen[f"database away: {outcome}"] += 1


def drill(folder, servers):
    ports = [free_port(), free_port()]
    relays = []

    def agents(agent):
        relays.extend([Relay(agent), Relay(agent)])
        return [relay.port for relay in relays]

    start(folder, servers, ports, agents)
    base = [f"http://127.0.0.1:{port}" for port in ports]
    people = [session(at) for at in base]
    process = servers.processes[f"replica-{ports[0]}"]
    seen, began = collections.Counter(), time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(40) as pool:
        number = 0
        while number * len(STEPS) < ROUNDS:
            pause(process, *relays, base, people, number, pool, seen)
            if number % 4 == 3:
                bulk(process, *relays, base, people, number, seen)
                lose_the_database(relays[0], base, people, pool, number, seen)
            number += 1
    print(f"{number * len(STEPS)} swaps paused for 9 to 20 s in {time.monotonic() - began:.0f} s:")
    for what, times in sorted(seen.items()):
        print(f"  {times:4} {what}")


main(drill)
