"""a2a-sdk 1.x against the agent: card, send, stream, get, list, cancel, subscribe."""

import asyncio
import sys
import uuid

import httpx
from a2a.client import A2ACardResolver, ClientConfig, ClientFactory
from a2a.types import (
    CancelTaskRequest, GetTaskRequest, ListTasksRequest, Message, Part, Role, SendMessageConfiguration,
    SendMessageRequest, SubscribeToTaskRequest, TaskState,
)
from a2a.utils.errors import UnsupportedOperationError

URL, TOKEN = sys.argv[1], sys.argv[2]
CONTEXT = f"py10-{uuid.uuid4().hex[:8]}"


def said(text: str, **configuration) -> SendMessageRequest:
    message = Message(
        message_id=uuid.uuid4().hex, role=Role.ROLE_USER, context_id=CONTEXT, parts=[Part(text=text)]
    )
    return SendMessageRequest(message=message, configuration=SendMessageConfiguration(**configuration))


def text_of(task) -> str:
    return "".join(part.text for artifact in task.artifacts for part in artifact.parts)


async def one(client, text: str, **configuration):
    async for event in client.send_message(said(text, **configuration)):
        return event.task
    raise AssertionError("no answer")


async def main() -> None:
    http = httpx.AsyncClient(headers={"Authorization": f"Bearer {TOKEN}"}, timeout=30)
    card = await A2ACardResolver(http, URL).get_agent_card()
    spoken = [(i.protocol_version, i.url) for i in card.supported_interfaces]
    assert spoken == [("1.0", URL), ("0.3", URL)] and card.capabilities.streaming, card
    assert card.security_schemes["bearer"].http_auth_security_scheme.scheme == "bearer", card
    assert "bearer" in card.security_requirements[0].schemes, card

    plain = ClientFactory(ClientConfig(httpx_client=http, streaming=False)).create(card)
    swapped = await one(plain, "[HOTSWAP:MODEL:openai/gpt-5]")
    assert text_of(swapped) == "✅ Model switched to: openai/gpt-5", swapped
    task = await one(plain, "Which model am I using?")
    assert text_of(task) == "I am gpt-5" and task.status.state == TaskState.TASK_STATE_COMPLETED, task
    again = await plain.get_task(GetTaskRequest(id=task.id, history_length=1))
    assert text_of(again) == "I am gpt-5" and len(again.history) == 1, again

    streaming = ClientFactory(ClientConfig(httpx_client=http, streaming=True)).create(card)
    kinds, text = [], ""
    async for event in streaming.send_message(said("Which model am I using?")):
        kinds.append(event.WhichOneof("payload"))
        if event.HasField("artifact_update"):
            update = event.artifact_update
            piece = "".join(part.text for part in update.artifact.parts)
            text = text + piece if update.append else piece
    assert kinds[0] == "task" and kinds.count("artifact_update") > 2 and kinds[-1] == "status_update", kinds
    assert text == "I am gpt-5", text

    slow = await one(plain, "SLEEP=60", return_immediately=True)
    follow = streaming.subscribe(SubscribeToTaskRequest(id=slow.id))
    first = await anext(follow)
    assert first.task.id == slow.id, first
    canceled = await plain.cancel_task(CancelTaskRequest(id=slow.id))
    assert canceled.status.state == TaskState.TASK_STATE_CANCELED, canceled
    last = [event async for event in follow][-1]
    assert last.status_update.status.state == TaskState.TASK_STATE_CANCELED, last

    try:
        await anext(streaming.subscribe(SubscribeToTaskRequest(id=slow.id)))
        raise AssertionError("a task that has ended is followed")
    except UnsupportedOperationError as error:
        assert "has ended" in str(error), error

    page = await plain.list_tasks(ListTasksRequest(context_id=CONTEXT, page_size=2))
    assert [task.id for task in page.tasks][0] == slow.id and page.total_size == 4, page
    rest = await plain.list_tasks(
        ListTasksRequest(context_id=CONTEXT, page_size=2, page_token=page.next_page_token)
    )
    assert [task.id for task in rest.tasks] == [task.id, swapped.id] and not rest.next_page_token, rest
    print("a2a-sdk 1: card, send, stream, get, list, cancel, subscribe: ok")


asyncio.run(main())
