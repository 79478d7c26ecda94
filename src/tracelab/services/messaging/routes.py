"""HTTP of messaging: conversations and their history. Sending and receiving is in events.py."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response

from tracelab.services.kit.problem import Problem, problem_response, problems
from tracelab.services.kit.viewer import Internal, Viewer
from tracelab.services.messaging.domain import MAX_PAGE, PAGE, Messaging
from tracelab.services.messaging.schemas import ConversationOut, ConversationPage, MessageOut, MessagePage, NewGroup

router = APIRouter()


async def messaging(request: Request) -> Messaging:
    """Return the application's rules of messaging."""
    found: Messaging = request.app.state.messaging
    return found


MessagingDep = Annotated[Messaging, Depends(messaging)]
Limit = Annotated[int, Query(ge=1, le=MAX_PAGE)]


@router.get("/api/conversations", responses=problems(401, 503))
async def conversations(
    viewer: Viewer, messaging: MessagingDep, limit: Limit = PAGE, cursor: UUID | None = None
) -> ConversationPage:
    """List the viewer's conversations, that with the newest message first."""
    found, after = await messaging.conversations(viewer.id, limit=limit, before=str(cursor) if cursor else None)
    return ConversationPage(items=[ConversationOut.of(c) for c in found], next=after)


@router.post("/api/conversations", status_code=201, responses=problems(401, 503))
async def begin(body: NewGroup, viewer: Viewer, messaging: MessagingDep) -> ConversationOut:
    """Begin a group with other people."""
    return ConversationOut.of(await messaging.begin(viewer.id, body.draft()))


@router.get("/api/conversations/{conversation_id}/messages", responses=problems(401, 404, 503))
async def history(
    conversation_id: UUID, viewer: Viewer, messaging: MessagingDep, limit: Limit = PAGE, cursor: UUID | None = None
) -> MessagePage:
    """Read a conversation of the viewer's, newest first."""
    found, after = await messaging.history(
        viewer.id, str(conversation_id), limit=limit, before=str(cursor) if cursor else None
    )
    return MessagePage(items=[MessageOut.of(m) for m in found], next=after)


@router.post(
    "/internal/users/{user_id}/anonymise", status_code=204, dependencies=[Internal], responses=problems(403, 503)
)
async def anonymise(user_id: UUID, messaging: MessagingDep) -> None:
    """Take a person who is gone out of all conversations; doing it again changes nothing."""
    await messaging.anonymise(str(user_id))


@router.get("/socket.io/", include_in_schema=False)
@router.post("/socket.io/", include_in_schema=False)
async def polling() -> Response:
    """Refuse the polling transport."""
    return problem_response(Problem(400, "expected the WebSocket transport: long polling is not served here"))
