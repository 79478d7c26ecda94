"""Who may do what, as data: for every endpoint of the gateway and every kind of caller the status of the answer.

The things asked about are the *owner's*: account, posts, media, and a conversation with the *member*. The *other* has
an account and no part in any of it. Whoever has no good token is *anonymous*, whatever is wrong with the token.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

CALLERS: Final = ("anonymous", "other", "member", "owner")
UPLOAD: Final = "a picture in a form"  # the one body that is no JSON


@dataclass(frozen=True, slots=True, kw_only=True)
class Right:
    """The status for each caller, and what is sent; ``{owner}`` and the like stand for ids in path, query and body."""

    anonymous: int
    other: int
    member: int
    owner: int
    body: Any = None
    query: str = ""

    def status(self, caller: str) -> int:
        """Return the status for one of `CALLERS`."""
        found: int = getattr(self, caller)
        return found


def _everybody(status: int, body: Any = None) -> Right:
    """Anybody, also without a token: what is asked for is no one's, or the body says whose it is."""
    return Right(anonymous=status, other=status, member=status, owner=status, body=body)


def _logged_in(status: int, body: Any = None, *, query: str = "") -> Right:
    return Right(anonymous=401, other=status, member=status, owner=status, body=body, query=query)


def _owner(status: int, body: Any = None) -> Right:
    return Right(anonymous=401, other=403, member=403, owner=status, body=body)


RIGHTS: Final[Mapping[str, Right]] = {
    "POST /api/auth/register": _everybody(
        201, {"username": "{new}", "email": "{new}@example.org", "password": "{password}"}
    ),
    "POST /api/auth/login": _everybody(200, {"username": "{username}", "password": "{password}"}),
    "POST /api/auth/logout": _logged_in(204),
    "POST /api/auth/refresh": _everybody(200, {"refresh_token": "{refresh}"}),
    "GET /api/auth/me": _logged_in(200),
    "GET /api/auth/google": _everybody(303),
    "GET /api/auth/github": _everybody(303),
    "GET /api/auth/{provider}/callback": _everybody(400),  # nobody has begun
    "POST /api/validate/token": _everybody(200, {"token": "{token}"}),
    "GET /.well-known/jwks.json": _everybody(200),
    # Profiles: any logged-in user reads, the owner changes; following is the follower's affair.
    "GET /api/users/search": _logged_in(200, query="?q={username}"),
    "GET /api/users/{user_id}": _logged_in(200),
    "POST /api/users/{user_id}/profile": _owner(200, {"bio": "changed"}),
    "POST /api/users/{user_id}/follow": Right(anonymous=401, other=204, member=204, owner=422),  # not oneself
    "DELETE /api/users/{user_id}/follow": Right(anonymous=401, other=204, member=204, owner=422),
    "GET /api/users/{user_id}/followers": _logged_in(200),
    "GET /api/users/{user_id}/following": _logged_in(200),
    "DELETE /api/users/{user_id}": _owner(202),
    # Timelines: their owner. Posts: any logged-in user reads, their author edits and deletes.
    "GET /api/timeline/{user_id}": _owner(200),
    "POST /api/posts": _logged_in(201, {"text": "hello"}),
    "GET /api/posts/{post_id}": _logged_in(200),
    "PATCH /api/posts/{post_id}": _owner(200, {"text": "changed"}),
    "POST /api/posts/{post_id}/comments": _logged_in(201, {"text": "nice"}),
    "GET /api/posts/{post_id}/comments": _logged_in(200),
    "POST /api/posts/{post_id}/like": _logged_in(200),
    "DELETE /api/posts/{post_id}/like": _logged_in(200),
    "DELETE /api/posts/{post_id}": _owner(204),
    # Conversations: their members; to others there is none.
    "GET /api/conversations": _logged_in(200),
    "POST /api/conversations": _logged_in(201, {"members": ["{owner}", "{member}"], "title": "Us"}),
    "GET /api/conversations/{conversation_id}/messages": Right(anonymous=401, other=404, member=200, owner=200),
    # Media: whoever has the id, which cannot be guessed, reads; their owner deletes.
    "POST /api/media": _logged_in(201, UPLOAD),
    "GET /api/media/{media_id}": _logged_in(200),
    "GET /media/{media_id}/{variant}": _everybody(200),
    "DELETE /api/media/{media_id}": _owner(204),
}

# What a socket may say, and the status in its acknowledgement (200: no error); without a good token there is no socket.
EVENTS: Final[Mapping[str, Right]] = {
    "message:send": Right(
        anonymous=401,
        other=404,
        member=200,
        owner=200,
        body={"conversation_id": "{conversation}", "body": "hello", "client_id": "{new}"},
    ),
    "typing": Right(
        anonymous=401, other=404, member=200, owner=200, body={"conversation_id": "{conversation}", "on": True}
    ),
    "message:read": Right(
        anonymous=401,
        other=404,
        member=200,
        owner=200,
        body={"conversation_id": "{conversation}", "message_id": "{message}"},
    ),
}
