"""A pydantic-ai agent that is switchable. Needs: pip install "a2a-sdk[http-server]" "pydantic-ai-slim[openai]" uvicorn httpx

    LITELLM_PROXY_URL=http://127.0.0.1:4000 TASK_AGENT_API_KEY=sk-… python pydantic_ai_agent.py
"""

import os
import uuid

from a2a.server.agent_execution import AgentExecutor
from a2a.types import Message, Part, Role
from plain import KEY, PROXY, HotSwap, serve
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

provider = OpenAIProvider(base_url=f"{PROXY}/v1", api_key=KEY)
agent = Agent()
history = {}


class Assistant(AgentExecutor):
    async def execute(self, context, event_queue):
        model = hotswap.current_model()
        answer = await agent.run(
            context.get_user_input(),
            model=OpenAIChatModel(model, provider=provider),
            model_settings={"extra_body": {"litellm_session_id": context.context_id}},
            instructions=hotswap.current_prompt() or "You are a helpful assistant.",
            message_history=history.get(context.context_id),
        )
        history[context.context_id] = answer.all_messages()
        hotswap.answered(model)
        message = Message(
            message_id=str(uuid.uuid4()),
            context_id=context.context_id,
            role=Role.ROLE_AGENT,
            parts=[Part(text=answer.output)],
        )
        await event_queue.enqueue_event(message)

    async def cancel(self, context, event_queue):
        raise NotImplementedError


hotswap = HotSwap(Assistant(), default_model="openai/gpt-5-mini", database=os.environ.get("HOTSWAP_DB"))

if __name__ == "__main__":
    serve(hotswap, "pydantic-ai")
