"""Compares, name by name, what the dashboard and the command line say of a proxy's registry with what the proxy does. See
`run` beside this. Arguments: the release, and the script that issues keys."""

import collections
import html
import json
import os
import re
import subprocess
import sys
import tempfile

from bed import MASTER, PROXY, ROOT, Bed, call

RELEASE, KEYS = sys.argv[1:3]
CONFIG = os.path.join(os.path.dirname(KEYS), "config-lived-in.yaml")
DENIED = re.compile(r"_model_access_denied|budget_exceeded|expired_key|is blocked|not allowed to access model|Budget has been exceeded")
UNKNOWN = re.compile(r"Invalid model name|no healthy deployments|There are no healthy", re.IGNORECASE)

failed = []


def report(name, wrong, text):
    print(f"fit: names: {RELEASE}: {name}: {text}{': FAILED' if wrong else ''}", flush=True)
    for line in wrong[:20]:
        print(f"fit: names: {RELEASE}:   {line}", flush=True)
    if wrong:
        failed.append(name)


def chat(key, name):
    """What the proxy does with a call: `answers`, `denied`, `unknown` or `fails`; with its words."""
    body = {"model": name, "max_tokens": 16, "messages": [{"role": "user", "content": "hi"}]}
    status, answer = call(f"{PROXY}/v1/chat/completions", body, headers={"Authorization": f"Bearer {key}"})
    text = json.dumps(answer)
    if status == 200:
        return "answers", ""
    if DENIED.search(text):
        return "denied", text[:200]
    return "unknown" if UNKNOWN.search(text) else "fails", f"{status} {text[:200]}"


def configured():
    """Names and aliases of the configuration file, which has an entry on each line."""
    text = open(CONFIG).read()
    names = re.findall(r'^  - \{model_name: "?([^",]+)"?,', text, re.MULTILINE)
    aliases = re.search(r"model_group_alias: \{([^}]*)\}", text).group(1)
    return names, dict(pair.split(": ") for pair in aliases.split(", "))


def register(bed):
    """Rows of the database, of each kind: with prices, limits, tags, an access group, by a reference, of another mode."""
    upstream = {"api_base": f"http://127.0.0.1:{bed.upstream.server_port}/v1", "api_key": "os.environ/BED_OPENAI_API_KEY"}
    rows = {
        "fit/plain": ({"model": "openai/plain"}, {}),
        "fit/priced": ({"model": "openai/priced", "input_cost_per_token": 1.25e-6, "output_cost_per_token": 1e-5}, {"max_input_tokens": 9000}),
        "fit/limited": ({"model": "limited", "custom_llm_provider": "openai", "rpm": 500, "tpm": 90000, "timeout": 30}, {}),
        "fit/grouped": ({"model": "openai/grouped", "tags": ["a", "b"]}, {"access_groups": ["frontier"], "description": "One of a group"}),
        "fit/vectors": ({"model": "openai/text-embedding-3-small"}, {"mode": "embedding"}),
        "fitwild/*": ({"model": "openai/*"}, {}),
    }
    for name, (params, info) in rows.items():
        bed.admin("/model/new", {"model_name": name, "litellm_params": {**params, **upstream}, "model_info": info})
    return list(rows)


def registry(bed, stored):
    names, aliases = configured()
    _, page = bed.get("/models?size=200")
    shown = collections.Counter(row["name"] for row in page["deployments"])
    wanted = collections.Counter(names + stored)
    wrong = [f"{name}: {shown[name]} rows, not {wanted[name]}" for name in sorted(shown | wanted) if shown[name] != wanted[name]]
    targets = {name: alias["target"] for name, alias in page["aliases"].items()}
    wrong += [] if targets == aliases else [f"aliases: {targets}, not {aliases}"]
    report("models page", wrong, f"{sum(shown.values())} rows and {len(targets)} aliases, {sum(wanted.values())} and {len(aliases)} configured")


def form(bed, key):
    status, page = call(f"{bed.dashboard}/switch", headers={**bed.login, "Accept": "text/html"})
    options = re.search(r'<datalist id="models">(.*?)</datalist>', page, re.DOTALL).group(1)
    offered = [html.unescape(name) for name in re.findall(r'<option value="([^"]*)"', options)]
    wrong, answers = [], collections.Counter()
    for name in offered:
        done, why = chat(key, name)
        answers[done] += 1
        if "*" in name or done in ("denied", "unknown"):
            wrong.append(f"{name} is offered, and the proxy: {done} {why}")
    # What the proxy lists without a wildcard's help has to be offered, where it can chat.
    wildcards = [name for name in re.findall(r"<code>([^<]*\*)</code>|Any name that ([^<]*) covers", page)]
    stems = [stem[:-1] for names in wildcards for stem in re.split(", ", "".join(names)) if stem.endswith("*")]
    listed = [row["id"] for row in bed.admin("/v1/models")["data"]]
    modes = {row["model_name"]: row["model_info"].get("mode") for row in bed.admin("/model/info")["data"]}
    for name in listed:
        is_covered = any(name.startswith(stem) for stem in stems)
        if name not in offered and not is_covered and modes.get(name) in (None, "chat") and "*" not in name:
            done, why = chat(key, name)
            if done == "answers":
                wrong.append(f"{name} is not offered, and the proxy answers it")
    report("switch form", wrong, f"{len(offered)} names are offered: {dict(answers)}; wildcards {', '.join(stems)}")


def matrix(bed, keys):
    cells, columns, page = {}, [], 1
    while True:
        _, data = bed.get(f"/keys/matrix?size=100&models_page={page}")
        names = [model["name"] for model in data["models"]]
        if not names or names[0] in columns:
            break
        columns += names
        for row in data["rows"]:
            for name, state in zip(names, row["cells"]):
                cells[row["key"]["alias"], name] = state
        if len(columns) >= data["models_total"]:
            break
        page += 1
    wrong, pairs, doubts = [], 0, 0
    for kind, key in keys.items():
        for name in columns:
            state = cells.get((f"kind-{kind}", name))
            # A pattern is no name to call, and an image or embedding model does not chat.
            if "*" in name or name in ("openai/gpt-image-1", "openai/text-embedding-3-small", "fit/vectors"):
                continue
            done, why = chat(key, name)
            pairs += 1
            doubts += state == "not-known"
            is_allowed = state in ("all", "listed", "covered")
            if state != "not-known" and is_allowed != (done != "denied"):
                wrong.append(f"key {kind}, {name}: {state}, and the proxy: {done} {why}")
    report("access matrix", wrong, f"{pairs} pairs of {len(keys)} keys and {len(columns)} names, {doubts} of them not known")


def command(bed, *arguments, **more):
    environment = {"PATH": os.environ["PATH"], "HOME": str(bed.folder), "LITELLM_PROXY_URL": PROXY, "LITELLM_MASTER_KEY": MASTER,
                   "PATCHBAY_DATABASE_URL": f"sqlite://{bed.folder}/command.db"}
    return subprocess.run([os.environ["PATCHBAY"], *arguments], env=environment, cwd=bed.folder, capture_output=True, text=True, **more)


def stored_state(bed):
    """Models and keys as the proxy has them, without what changes by itself."""
    models = {row["model_info"]["id"]: row for row in bed.admin("/model/info")["data"] if row["model_info"].get("db_model")}
    keys = {}
    for row in bed.admin("/key/list?return_full_object=true&size=100")["keys"]:
        keys[row["token"]] = {field: value for field, value in row.items() if field not in ("spend", "last_active", "updated_at", "model_spend")}
    return models, keys


def round_trip(bed):
    before = stored_state(bed)
    for flags in ((), ("--all",), ("--keys",), ("--all", "--keys")):
        exported = command(bed, "export", *flags)
        wrong = [] if exported.returncode == 0 else [f"export: {exported.stderr[-300:]}"]
        (bed.folder / "list.yaml").write_text(exported.stdout)
        prune = () if "--all" in flags else ("--prune",)
        preview = command(bed, "apply", "-f", "list.yaml", "--dry-run", "--json", *prune)
        applied = command(bed, "apply", "-f", "list.yaml", *prune)
        if preview.returncode or applied.returncode:
            wrong += [f"apply: {text[-500:]}" for text in (preview.stdout + preview.stderr, applied.stdout + applied.stderr)]
        now = stored_state(bed)
        for what, old, new in zip(("model", "key"), before, now):
            wrong += [f"{what} {one}: {old.get(one)} became {new.get(one)}"[:600] for one in old.keys() | new.keys() if old.get(one) != new.get(one)]
        last = (applied.stdout.strip() or applied.stderr.strip()).splitlines()
        entries = exported.stdout.count("- model_name"), exported.stdout.count("- key_alias")
        report(f"export {' '.join(flags)}".strip(), wrong, f"{entries[0]} models and {entries[1]} keys; apply: {last[-1] if last else 'says nothing'}")


with tempfile.TemporaryDirectory(prefix="patchbay-fit.") as folder, Bed(folder) as bed:
    printed = subprocess.run([KEYS, f"BASE={PROXY}"], capture_output=True, text=True, check=True).stdout
    keys = dict(line.split("\t") for line in printed.splitlines())
    refused = [kind for kind, key in keys.items() if key == "-"]
    keys = {kind: key for kind, key in keys.items() if key != "-"}
    assert "all" in keys, f"no keys were issued: is the database empty? {printed}"
    print(f"fit: names: {RELEASE}: {len(keys)} kinds of keys; refused by the release: {', '.join(refused) or 'none'}")
    stored = register(bed) + list(bed.models.values())
    registry(bed, stored)
    form(bed, keys["all"])
    matrix(bed, keys)
    round_trip(bed)
if failed:
    sys.exit(f"fit: names: {RELEASE}: FAILED: {', '.join(failed)}")
