"""a2a-sdk 0.3, the library of the guide's helper, against the agent: card, send, stream, get, cancel, resubscribe."""

import asyncio
import sys
import uuid

import httpx
from a2a.client import A2ACardResolver, ClientConfig, ClientFactory
from a2a.types import (
    Message, MessageSendConfiguration, Part, Role, Task, TaskArtifactUpdateEvent, TaskIdParams,
    TaskQueryParams, TaskState, TextPart,
)

URL, TOKEN = sys.argv[1], sys.argv[2]
CONTEXT = f"py03-{uuid.uuid4().hex[:8]}"


def said(text: str) -> Message:
    part = Part(root=TextPart(text=text))
    return Message(message_id=uuid.uuid4().hex, role=Role.user, context_id=CONTEXT, parts=[part])


def text_of(task: Task) -> str:
    return "".join(part.root.text for artifact in task.artifacts or [] for part in artifact.parts)


async def one(client, text: str, configuration=None) -> Task:
    async for task, _ in client.send_message(said(text), configuration=configuration):
        return task
    raise AssertionError("no answer")


async def main() -> None:
    http = httpx.AsyncClient(headers={"Authorization": f"Bearer {TOKEN}"}, timeout=30)
    card = await A2ACardResolver(http, URL).get_agent_card()
    assert card.url == URL and card.capabilities.streaming, card
    assert card.security == [{"bearer": []}] and card.security_schemes["bearer"].root.scheme == "bearer", card

    plain = ClientFactory(ClientConfig(httpx_client=http, streaming=False)).create(card)
    task = await one(plain, "[HOTSWAP:MODEL:openai/gpt-5]")
    assert text_of(task) == "✅ Model switched to: openai/gpt-5", task
    task = await one(plain, "Which model am I using?")
    assert text_of(task) == "I am gpt-5" and task.status.state == TaskState.completed, task
    assert task.metadata["adk_usage_metadata"]["totalTokenCount"] > 0, task
    again = await plain.get_task(TaskQueryParams(id=task.id, history_length=1))
    assert text_of(again) == "I am gpt-5" and len(again.history) == 1, again

    streaming = ClientFactory(ClientConfig(httpx_client=http, streaming=True)).create(card)
    updates, last = [], None
    async for last, update in streaming.send_message(said("Which model am I using?")):
        updates.append(update)
    pieces = [update for update in updates if isinstance(update, TaskArtifactUpdateEvent)]
    assert len(pieces) > 2 and updates[-1].final, updates
    assert text_of(last) == "I am gpt-5" and last.status.state == TaskState.completed, last
    assert last.metadata["patchbay"]["model"] == "openai/gpt-5", last

    slow = await one(plain, "SLEEP=60", MessageSendConfiguration(blocking=False))
    assert slow.status.state in (TaskState.submitted, TaskState.working), slow
    follow = streaming.resubscribe(TaskIdParams(id=slow.id))
    seen, _ = await anext(follow)
    assert seen.id == slow.id, seen
    canceled = await plain.cancel_task(TaskIdParams(id=slow.id))
    assert canceled.status.state == TaskState.canceled, canceled
    async for seen, _ in follow:
        pass
    assert seen.status.state == TaskState.canceled, seen
    print("a2a-sdk 0.3: card, send, stream, get, cancel, resubscribe: ok")


asyncio.run(main())
