"""Makes any a2a-sdk agent switchable: its model and system prompt are set by control messages, for each context.

Copy this file beside your agent (Python 3.10 or newer, a2a-sdk 0.3 or 1.x, nothing else) and wrap its executor:

    hotswap = HotSwap(MyExecutor(), default_model="openai/gpt-5-mini", database="hotswap.db")
    handler = DefaultRequestHandler(agent_executor=hotswap, ...)
    # in the agent card:      capabilities.extensions = [hotswap.extension()]
    # where you call a model: model=hotswap.current_model(), and system=hotswap.current_prompt() or YOUR_PROMPT
    # (two modules: make `hotswap` in the executor's, below its class, and import it where the handler is made)

docs/switchable-agents.md in the Patchbay repository describes the messages.
"""

import sqlite3
import threading
import uuid
from contextvars import ContextVar

from a2a import types
from a2a.server.agent_execution import AgentExecutor

URI = "urn:patchbay:hotswap:1"
RULE = "━" * 22
MAX_MODEL, MAX_PROMPT = 256, 64 * 1024

# a2a-sdk 0.3 has pydantic models, 1.x has protocol buffers.
_PYDANTIC = hasattr(types, "TextPart")
_context: ContextVar[str] = ContextVar("hotswap_context", default="")


class _Store:
    """Model and prompt of each context, in SQLite. Without a file they are lost with the process."""

    def __init__(self, path):
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path or ":memory:", check_same_thread=False, isolation_level=None)
        self._db.execute("create table if not exists hotswap (context text primary key, model text, prompt text)")

    def get(self, context):
        with self._lock:
            row = self._db.execute("select model, prompt from hotswap where context = ?", (context,)).fetchone()
        return row or (None, None)

    def set(self, context, column, value):
        statement = {
            "model": "insert into hotswap (context, model) values (?, ?) "
            "on conflict (context) do update set model = excluded.model",
            "prompt": "insert into hotswap (context, prompt) values (?, ?) "
            "on conflict (context) do update set prompt = excluded.prompt",
        }[column]
        with self._lock:
            self._db.execute(statement, (context, value))


class HotSwap(AgentExecutor):
    """An executor that answers control messages itself and passes everything else to `executor`."""

    def __init__(self, executor, default_model, database=None, allows=None, name="hotswap"):
        """`database` is a file for the settings. `allows(model)` may refuse a model by returning a reason."""
        self._executor, self._default, self._allows, self._name = executor, default_model, allows, name
        self._store = _Store(database)
        self._served = {}

    def current_model(self, context_id=None):
        """The model of a context, `provider/model`; by default of the context that is being answered."""
        answering = _context.get()
        model = self._model(context_id or answering)
        if answering and (context_id or answering) == answering:
            # Asked for to answer with it: what is sent from now on is said to be its.
            self._served.setdefault(answering, (model, None))
        return model

    def _model(self, context):
        return self._store.get(context)[0] or self._default

    def current_prompt(self, context_id=None):
        """The system prompt of a context; None for the agent's own."""
        return self._store.get(context_id or _context.get())[1]

    def answered(self, model, input_tokens=None, output_tokens=None):
        """Optional: call it with what the proxy says about the answer, before the answer is sent."""
        usage = None
        if input_tokens is not None:
            usage = {"promptTokenCount": input_tokens, "candidatesTokenCount": output_tokens or 0}
        self._served[_context.get()] = (model, usage)

    @staticmethod
    def extension():
        """For the agent card: `capabilities.extensions`."""
        params = {"scope": "context", "multilinePrompt": True}
        description = "Obeys [HOTSWAP:MODEL:provider/model], [HOTSWAP:PROMPT:text] and [HOTSWAP:GET_CONFIG]."
        return types.AgentExtension(uri=URI, description=description, required=False, params=params)

    async def execute(self, context, event_queue):
        token = _context.set(context.context_id or "")
        try:
            reply = self._reply(context.context_id or "", (context.get_user_input() or "").strip())
            if reply is None:
                await self._executor.execute(context, _Stamped(event_queue, self, context.context_id or ""))
            else:
                await event_queue.enqueue_event(self._message(context, reply))
        finally:
            self._served.pop(context.context_id or "", None)
            _context.reset(token)

    async def cancel(self, context, event_queue):
        await self._executor.cancel(context, event_queue)

    def _reply(self, context, text):
        """The reply to a control message; None for anything else."""
        if not (text.startswith("[HOTSWAP:") and text.endswith("]")):
            return None
        verb, _, payload = text[len("[HOTSWAP:") : -1].partition(":")
        if verb == "GET_CONFIG":
            provider, model = self._split(self._model(context))
            prompt = self.current_prompt(context) or "(default prompt)"
            return (
                f"📊 Current Configuration\n{RULE}\nModel: {model}\nProvider: {provider or '(default provider)'}\n"
                f"System Prompt: {prompt}\n{RULE}"
            )
        if verb == "MODEL":
            return self._set_model(context, payload)
        if verb == "PROMPT":
            if len(payload.encode()) > MAX_PROMPT:
                return "❌ Invalid system prompt: longer than 64 KiB"
            self._store.set(context, "prompt", payload.strip() or None)
            if payload.strip():
                return "✅ System prompt updated. This change takes effect immediately."
            return "✅ System prompt cleared. Reverting to default instruction."
        return f"❌ Unknown control message: {verb[:40]}"

    def _set_model(self, context, payload):
        if not payload:
            return "❌ Missing model specification for hot-swap."
        model = payload.strip()
        reason = None
        if not model:
            reason = "Model name cannot be empty"
        elif model.startswith("/") or model.endswith("/"):
            reason = "Model spec must include provider and model when using '/' format"
        elif len(model) > MAX_MODEL or any(not char.isprintable() or char.isspace() for char in model):
            reason = "Model name has blanks or is too long"
        elif self._allows:
            reason = self._allows(model)
        if reason:
            return f"❌ Invalid model specification: {reason}"
        self._store.set(context, "model", model)
        return f"✅ Model switched to: {model}"

    @staticmethod
    def _split(model):
        provider, slash, name = model.partition("/")
        return (provider, name) if slash else (None, model)

    def _state(self, context):
        provider, model = self._split(self._model(context))
        prompt = self.current_prompt(context)
        name = self._name
        delta = {f"{name}/model": model, f"{name}/provider": provider, f"{name}/prompt": prompt}
        return {"adk_actions": {"stateDelta": delta}}

    def _message(self, context, text):
        common = {"message_id": str(uuid.uuid4()), "context_id": context.context_id, "task_id": context.task_id}
        if _PYDANTIC:
            part = types.Part(root=types.TextPart(text=text))
            message = types.Message(role=types.Role.agent, parts=[part], **common)
        else:
            message = types.Message(role=types.Role.ROLE_AGENT, parts=[types.Part(text=text)], **common)
            # A message of its own ends the turn; with the id of a task it would belong to that.
            message.ClearField("task_id")
        _add_metadata(message, self._state(context.context_id or ""))
        return message

    def _stamp(self, context, event):
        """Says which model an answer is from, where one was asked for, and what the settings are."""
        model, usage = self._served.get(context, (None, None))
        metadata = self._state(context)
        if model:
            metadata["patchbay"] = {"model": model}
        if usage:
            metadata["adk_usage_metadata"] = usage
        _add_metadata(event, metadata)


def _add_metadata(event, more):
    if _PYDANTIC:
        event.metadata = {**(event.metadata or {}), **more}
    else:
        from google.protobuf import json_format

        json_format.ParseDict({**json_format.MessageToDict(event.metadata), **more}, event.metadata)


class _Stamped:
    """An event queue that adds metadata to the events of an answer."""

    def __init__(self, queue, hotswap, context):
        self._queue, self._hotswap, self._context = queue, hotswap, context

    async def enqueue_event(self, event):
        if type(event).__name__ in ("Message", "Task", "TaskStatusUpdateEvent"):
            self._hotswap._stamp(self._context, event)
        await self._queue.enqueue_event(event)

    def __getattr__(self, name):
        return getattr(self._queue, name)
