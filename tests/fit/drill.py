"""Measures what a switch promises, on a genuine proxy. See `run` beside this."""

import concurrent.futures
import json
import os
import statistics
import sys
import tempfile
import threading
import time

from bed import AGENTS, BINARY, ROOT, Bed

PRICES = [0.05, 0.15, 0.4, 1.25, 3.0, 5.0, 10.0, 15.0, 30.0, 75.0]
TOLERANCE, ENOUGH = 0.15, 9
SWAPS = int(os.environ.get("SWAPS", 200))
RECEIPTS = int(os.environ.get("RECEIPTS", 3))
SHOWN = int(os.environ.get("SHOWN", 10))

failed = []


def report(name, is_right, text):
    print(f"fit: {name}: {text}{'' if is_right else ': FAILED'}", flush=True)
    if not is_right:
        failed.append(name)


def at_once(work, items, threads=4):
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, items))


def usage(prompt, cached, answer):
    return f"PROMPT={prompt} CACHED={cached} ANSWER={answer}"


def looked_up(bed, agent, context, model):
    """The estimate before a switch, and how many looks it took: the dashboard waits two seconds for the log, which a busy
    proxy may exceed."""
    for look in range(1, 6):
        _, check = bed.switch(agent, context, model, check="1")
        if check["assessment"]["estimate"]:
            return check["assessment"]["estimate"], look
    raise AssertionError(f"{agent}: the size of {context} is not known after {look} looks")


def window(bed):
    """A conversation of 300,000 tokens, and a model that takes 272,000."""
    bed.register("large", 1_000_000, 0.4, 1.6)
    bed.register("small", 272_000, 1.0, 2.0)
    contexts = {agent: f"window-{agent}-{bed.run}" for agent in AGENTS}
    others = {(agent, tokens): f"window-{agent}-{tokens}-{bed.run}" for agent in AGENTS for tokens in (200_000, 250_000)}
    for (agent, context), tokens in [((a, c), 300_000) for a, c in contexts.items()] + [((a, c), t) for (a, t), c in others.items()]:
        status, swap = bed.switch(agent, context, "large")
        assert status == 200 and swap["outcome"] == "verified", swap
        bed.say(agent, context, usage(tokens, 0, 200))
    bed.logged([*contexts.values(), *others.values()])
    for agent, context in contexts.items():
        recorder = bed.recorders[agent]
        before = recorder.messages
        status, check = bed.switch(agent, context, "small", check="1")
        status, swap = bed.switch(agent, context, "small")
        command = bed.command("swap", "--agent", agent, "--model", bed.models["small"], "--context", context, "--dry-run")
        sent = recorder.messages - before
        estimate = swap["assessment"]["estimate"] or {}
        is_refused = (status == 422 and swap["outcome"] == "refused" and swap["assessment"]["held_back"] == "size"
                      and estimate.get("fit") == "too-long" and estimate["size"]["source"] == "log" and check["refused"])
        is_refused = is_refused and command.returncode == 4
        report("window", bool(is_refused and sent == 0),
               f"{agent}: {estimate.get('size', {}).get('input')} tokens to a window of {estimate.get('window')}: {swap['outcome']} "
               f"with {status}, dry run exits with {command.returncode}, {sent} messages sent to the agent")
        kept = bed.post(f"/contexts/{agent}/{context}/refresh")[1]
        is_kept = bed.models["large"].endswith(f"/{kept.get('model')}")
        before = recorder.messages
        status, swap = bed.switch(agent, context, "small", accept_size="1")
        sent = recorder.messages - before
        report("window", is_kept and status == 200 and swap["outcome"] == "verified" and sent > 0,
               f"{agent}: with the size accepted: {swap['outcome']}, {sent} messages")
        fits = []
        for tokens, wanted in ((200_000, "fits"), (250_000, "tight")):
            _, check = bed.switch(agent, others[agent, tokens], "small", check="1")
            fits.append((check["assessment"]["estimate"] or {}).get("fit"))
        ticked = [f"{agent}/{one}" for one in [context, *(others[agent, tokens] for tokens in (200_000, 250_000))]]
        _, bulk = bed.post("/bulk/new", agent=agent, context=ticked, model=bed.models["small"])
        counted = bulk["fits"]
        numbers = (counted["fits"], counted["tight"], len(counted["too_long"]), counted["not_known"])
        report("window", fits == ["fits", "tight"] and numbers == (1, 1, 1, 0),
               f"{agent}: 200k and 250k of 272k: {', '.join(map(str, fits))}; the bulk form counts {numbers[0]} that fit, {numbers[1]} "
               f"tight, {numbers[2]} too long, {numbers[3]} not known")


def cost(bed):
    """The estimate before a switch, and what the proxy logs afterwards."""
    runs = []
    for number, price in enumerate(PRICES):
        # To the model at the other end of the list, from 2,000 to 400,000 tokens.
        size = int(2_000 * 200 ** (number / (len(PRICES) - 1)))
        other = PRICES[-1 - number]
        for side, dollars in (("from", other), ("to", price)):
            bed.register(f"cost-{side}-{number}", 1_000_000, dollars, dollars * 4, dollars / 10)
        for agent in AGENTS:
            runs.append({"agent": agent, "number": number, "price": price, "size": size, "cached": size * 4 // 5,
                         "context": f"cost-{agent}-{number}-{bed.run}"})

    def begin(run):
        status, swap = bed.switch(run["agent"], run["context"], f"cost-from-{run['number']}")
        assert status == 200, swap
        bed.say(run["agent"], run["context"], usage(run["size"], run["cached"], 100))

    def go_on(run):
        run["estimate"], run["looks"] = looked_up(bed, run["agent"], run["context"], f"cost-to-{run['number']}")
        status, swap = bed.switch(run["agent"], run["context"], f"cost-to-{run['number']}", accept_cost="1")
        assert status == 200, swap
        run["receipt"] = swap["assessment"]["estimate"]
        # The first turn is read uncached, with a new question; the one after mostly from the cache.
        bed.say(run["agent"], run["context"], usage(run["size"] + 130, 0, 100))
        time.sleep(0.05)
        bed.say(run["agent"], run["context"], usage(run["size"] + 260, run["cached"], 100))

    at_once(begin, runs)
    bed.logged([run["context"] for run in runs])
    for run in runs:
        go_on(run)
    rows = bed.logged([run["context"] for run in runs], 3)
    for agent in AGENTS:
        uncached, cached, same, looks = [], [], 0, 0
        for run in [run for run in runs if run["agent"] == agent]:
            later, next_turn, first = rows[run["context"]]
            logged = next_turn["metadata"]["cost_breakdown"]["input_cost"]
            uncached.append(abs(run["estimate"]["reread"] - logged) / logged)
            difference = later["spend"] - first["spend"]
            cached.append(abs(run["estimate"]["per_turn"] - difference) / max(later["spend"], first["spend"]))
            same += run["estimate"] == run["receipt"]
            looks += run["looks"]
        for name, errors in (("re-read uncached", uncached), ("then per turn, cached", cached)):
            right = sum(error <= TOLERANCE for error in errors)
            report("cost", right >= ENOUGH, f"{agent}: {name}: {right} of {len(errors)} within {TOLERANCE:.0%} of the log, at most "
                   f"{max(errors):.1%} off, {PRICES[0]} to {PRICES[-1]} dollars a million")
        report("cost", same == len(PRICES), f"{agent}: {same} of {len(PRICES)} receipts have the estimate of the check before; "
               f"{looks} looks at the log for {len(PRICES)} checks")


def turns(bed):
    """Two contexts on two models, asked in the same second, and one that a fallback answers."""
    bed.register("one", 1_000_000, 1.0, 2.0)
    bed.register("two", 1_000_000, 1.0, 2.0)
    # Its deployment cannot be reached, and it falls back: config-lived-in.yaml.
    models = {"one": bed.models["one"], "two": bed.models["two"], "fallback": "acme/dead"}
    pairs = [(agent, model, f"turn-{agent}-{model}-{bed.run}") for agent in AGENTS for model in models]
    for agent, model, context in pairs:
        status, swap = bed.switch(agent, context, models[model])
        assert status == 200 and swap["outcome"] == "verified", swap
    time.sleep(2)
    barrier = threading.Barrier(len(pairs))

    def ask(pair):
        agent, _, context = pair
        barrier.wait()
        began = time.time()
        bed.say(agent, context, "Which model are you?")
        return began

    asked = at_once(ask, pairs, len(pairs))
    bed.logged([context for _, _, context in pairs])
    for agent in AGENTS:
        outcomes, words = {}, {}
        for _, model, context in [pair for pair in pairs if pair[0] == agent]:
            # Whether the first look at the page has it depends on the copy of the log.
            page = bed.context(agent, context)
            outcomes[model] = page["swaps"][0]["outcome"]
            words[model] = page["swaps"][0]["steps"][-1]["detail"]
        is_own = all(f"{models[model]} answered a later turn" in words[model] for model in ("one", "two"))
        is_right = outcomes == {"one": "proven", "two": "proven", "fallback": "verified"} and is_own
        report("turns", is_right, f"{agent}: asked within {(max(asked) - min(asked)) * 1000:.0f} ms: "
               f"{', '.join(f'{model} {outcome}' for model, outcome in outcomes.items())}")


# The words of tests/wire/errors, and those of the receipt.
FAULTS = {"context_too_long": "context-too-long", "tool_call_id_mismatch": "tool-call-id", "orphaned_tool_result": "orphaned-tool-result",
          "thinking_signature_rejected": "thinking", "unsupported_content": "unsupported-content", "empty_content": "unsupported-content",
          "role_order": "role-order", "system_role_unsupported": "role-order", "unsupported_parameter": "unsupported-parameter",
          "tools_unsupported": "unsupported-parameter"}


def as_text(row):
    """Status and body where the recorded text is the message of an error."""
    return row["status"] or 400, {"error": {"message": row["body"], "type": "invalid_request_error", "param": None, "code": None}}


def as_json(row):
    """Status and body where the recorded text has the provider's own JSON, which a client put words around."""
    text = row["body"]
    for start in [at for at, sign in enumerate(text) if sign == "{"]:
        try:
            body = json.loads(text[start:text.rindex("}") + 1])
        except ValueError:
            continue
        # Of other forms LiteLLM passes the status on alone.
        if isinstance(body.get("error"), dict) or "message" in body:
            return row["status"] or 400, body
    return None


def errors(bed):
    """What providers answer to a history that does not suit them, through the proxy, on receipt and context page."""
    models = {provider: bed.register(f"errors-{provider}", 1_000_000, 1.0, 2.0, provider=provider)
              for provider in ("openai", "anthropic", "mistral", "deepseek", "openrouter")}
    cases = []
    for file in ("handover", "handover-not"):
        for number, row in enumerate(json.loads((ROOT / f"tests/wire/errors/{file}.json").read_text())):
            model = models.get(row["provider"].rpartition(":")[2], models["openai"])
            answers = {"built-in": as_json(row) or as_text(row), "adapter": as_text(row)}
            for agent, answer in answers.items():
                name = f"{file}:{number}:{agent}"
                bed.errors[name] = answer
                cases.append({"agent": agent, "name": name, "file": file, "kind": row["class"], "wanted": FAULTS.get(row["class"]),
                              "model": model, "context": f"{file}-{number}-{agent}-{bed.run}"})

    def turn(case):
        """A turn that fails, after a switch that the dashboard does not see: it is told apart by the log alone."""
        bed.say(case["agent"], case["context"], f"[HOTSWAP:MODEL:{case['model']}]")
        bed.say(case["agent"], case["context"], f"ERROR={case['name']}")

    def page(case):
        bed.post(f"/agents/{case['agent']}/adopt", context=case["context"])
        session = bed.context(case["agent"], case["context"])["session"]
        case["page"] = session["fault"]
        case["logged"] = [call["error"] for call in session["calls"][:1]]

    def switch(case):
        for _ in range(3):
            _, swap = bed.switch(case["agent"], f"receipt-{case['context']}", case["model"], message=f"ERROR={case['name']}")
            # A busy proxy may not answer the pre-flight check in time.
            if swap["outcome"] != "refused":
                break
        case["receipt"], case["outcome"] = swap["assessment"]["history_fault"], swap["outcome"]
        case["seen"] = [step["detail"] for step in swap["steps"] if step["kind"] == "prove"]

    at_once(turn, cases, 2)
    # Receipts of some of each kind: a swap costs more than a turn.
    kinds = {}
    for case in cases:
        kinds.setdefault((case["agent"], case["kind"]), []).append(case)
    some = [case for kind in kinds.values() for case in kind[:RECEIPTS]]
    at_once(switch, some, 2)
    # The log is written in the order of the calls.
    bed.logged([case["context"] for case in cases[-8:]])
    at_once(page, cases, 2)
    for agent in AGENTS:
        for place, own in (("page", cases), ("receipt", some)):
            own = [case for case in own if case["agent"] == agent]
            wrong = [case for case in own if case[place] != case["wanted"]]
            faults, others = ([case for case in own if (case["file"] == "handover") == is_fault] for is_fault in (True, False))
            right = [sum(case not in wrong for case in some) for some in (faults, others)]
            report("errors", not wrong, f"{agent}: {place}: {right[0]} of {len(faults)} faults of the history named right, {right[1]} of "
                   f"{len(others)} other errors not taken for one")
            for case in wrong[:SHOWN]:
                seen = case["seen"] if place == "receipt" else case["logged"]
                print(f"fit: errors:   {case['name']}: {case[place]}, not {case['wanted']}: {seen}")
    rolled_back = sum(case["outcome"] == "rolled-back" for case in some)
    report("errors", rolled_back == len(some), f"{rolled_back} of {len(some)} swaps rolled back")


def speed(bed):
    """A swap without probe and message beside its three control messages."""
    bed.register("left", 1_000_000, 1.0, 2.0)
    bed.register("right", 1_000_000, 1.0, 2.0)
    for agent in AGENTS:
        bare, whole, steps = [], [], {}
        for turn in range(-10, SWAPS):  # the first ten warm up
            model, context = ("left", "right")[turn % 2], f"speed-{agent}-{turn % 20}-{bed.run}"
            started = time.perf_counter()
            for text in ("[HOTSWAP:GET_CONFIG]", f"[HOTSWAP:MODEL:{bed.models[model]}]", "[HOTSWAP:GET_CONFIG]"):
                bed.say(agent, f"bare-{context}", text)
            between = time.perf_counter()
            status, swap = bed.switch(agent, context, model)
            ended = time.perf_counter()
            assert status == 200 and swap["outcome"] == "verified", swap
            if turn >= 0:
                bare.append((between - started) * 1000)
                whole.append((ended - between) * 1000)
                for step in swap["steps"]:
                    steps.setdefault(step["kind"], []).append(step["elapsed_ms"])
        spread = lambda values: f"p50 {statistics.median(values):.1f}, p95 {sorted(values)[int(len(values) * 0.95)]:.1f} ms"
        parts = ", ".join(f"{kind} {statistics.median(values):.1f}" for kind, values in steps.items())
        report("speed", True, f"{agent}: {SWAPS} swaps: {spread(whole)}; the bare control messages {spread(bare)}; steps (p50): {parts}; "
               f"load {os.getloadavg()[0]:.1f}")


CHECKS = {"window": window, "cost": cost, "turns": turns, "errors": errors, "speed": speed}
with tempfile.TemporaryDirectory(prefix="patchbay-fit.") as folder, Bed(folder) as bed:
    for name in sys.argv[1:] or CHECKS:
        try:
            CHECKS[name](bed)
        except AssertionError as error:
            report(name, False, str(error)[:1000])
if failed:
    sys.exit(f"fit: FAILED: {', '.join(dict.fromkeys(failed))}")
