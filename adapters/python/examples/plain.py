"""A plain a2a-sdk 1.x agent that is switchable. Needs: pip install "a2a-sdk[http-server]" uvicorn httpx

    LITELLM_PROXY_URL=http://127.0.0.1:4000 TASK_AGENT_API_KEY=sk-… python plain.py
"""

import os
import sys
import uuid
from pathlib import Path

import httpx
import uvicorn
from a2a.server.agent_execution import AgentExecutor
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.routes import create_agent_card_routes, create_jsonrpc_routes
from a2a.server.tasks import InMemoryTaskStore
from a2a.types import AgentCapabilities, AgentCard, AgentInterface, AgentSkill, Message, Part, Role
from starlette.applications import Starlette

sys.path.insert(0, str(Path(__file__).parent.parent))
from hotswap import HotSwap  # noqa: E402

PROXY = os.environ.get("LITELLM_PROXY_URL", "http://127.0.0.1:10999")
KEY = os.environ.get("TASK_AGENT_API_KEY", "")
PORT = int(os.environ.get("PORT", "10901"))


def reason(answer):
    try:
        return answer.json()["error"]["message"]
    except (ValueError, KeyError, TypeError):
        return answer.text


class Assistant(AgentExecutor):
    """Answers each message with one call of the proxy."""

    async def execute(self, context, event_queue):
        messages = [{"role": "user", "content": context.get_user_input()}]
        if prompt := hotswap.current_prompt():
            messages.insert(0, {"role": "system", "content": prompt})
        async with httpx.AsyncClient(timeout=60) as client:
            answer = await client.post(
                f"{PROXY}/v1/chat/completions",
                headers={"Authorization": f"Bearer {KEY}"},
                json={
                    "model": hotswap.current_model(),
                    "messages": messages,
                    "litellm_session_id": context.context_id,
                },
            )
        if answer.is_error:
            # So that the caller sees why: the conversation may not suit the model.
            raise RuntimeError(f"The proxy refused the call with status {answer.status_code}: {reason(answer)}")
        # After a fallback it is another model's name.
        served = answer.headers.get("x-litellm-model-group", hotswap.current_model())
        answer = answer.json()
        usage = answer.get("usage") or {}
        hotswap.answered(served, usage.get("prompt_tokens"), usage.get("completion_tokens"))
        message = Message(
            message_id=str(uuid.uuid4()),
            context_id=context.context_id,
            role=Role.ROLE_AGENT,
            parts=[Part(text=answer["choices"][0]["message"]["content"])],
        )
        await event_queue.enqueue_event(message)

    async def cancel(self, context, event_queue):
        raise NotImplementedError


hotswap = HotSwap(Assistant(), default_model="openai/gpt-5-mini", database=os.environ.get("HOTSWAP_DB"))


def serve(executor, name):
    card = AgentCard(
        name=name,
        description="A switchable agent.",
        version="1.0.0",
        supported_interfaces=[
            AgentInterface(url=f"http://127.0.0.1:{PORT}/", protocol_binding="JSONRPC", protocol_version=version)
            for version in ("1.0", "0.3")
        ],
        capabilities=AgentCapabilities(streaming=True, extensions=[executor.extension()]),
        default_input_modes=["text/plain"],
        default_output_modes=["text/plain"],
        skills=[AgentSkill(id="chat", name="Chat", description="Answers questions.", tags=["chat"])],
    )
    handler = DefaultRequestHandler(agent_executor=executor, task_store=InMemoryTaskStore(), agent_card=card)
    routes = create_agent_card_routes(card) + create_jsonrpc_routes(handler, "/", enable_v0_3_compat=True)
    uvicorn.run(Starlette(routes=routes), host="127.0.0.1", port=PORT, log_level="warning")


if __name__ == "__main__":
    serve(hotswap, "plain")
