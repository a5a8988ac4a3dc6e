"""A Google ADK agent that is switchable. Needs: pip install "google-adk[a2a]" litellm "a2a-sdk[http-server]" httpx

    LITELLM_PROXY_URL=http://127.0.0.1:4000 TASK_AGENT_API_KEY=sk-… python adk.py
"""

import os

from google.adk.a2a.executor.a2a_agent_executor import A2aAgentExecutor
from google.adk.agents import LlmAgent
from google.adk.models.base_llm import BaseLlm
from google.adk.models.lite_llm import LiteLlm
from google.adk.runners import InMemoryRunner
from plain import KEY, PROXY, HotSwap, serve


class CurrentModel(BaseLlm):
    """Calls the model that the context is set to."""

    async def generate_content_async(self, llm_request, stream=False):
        # `openai/` is LiteLLM's word for the protocol; the proxy sees what follows.
        llm = LiteLlm(model=f"openai/{hotswap.current_model()}", api_base=f"{PROXY}/v1", api_key=KEY)
        llm_request.model = llm.model
        async for response in llm.generate_content_async(llm_request, stream=stream):
            yield response


assistant = LlmAgent(
    name="assistant",
    model=CurrentModel(model="switchable"),
    instruction=lambda _: hotswap.current_prompt() or "You are a helpful assistant.",
)
runner = InMemoryRunner(agent=assistant, app_name="assistant")
hotswap = HotSwap(
    A2aAgentExecutor(runner=runner), default_model="openai/gpt-5-mini", database=os.environ.get("HOTSWAP_DB")
)

if __name__ == "__main__":
    serve(hotswap, "adk")
