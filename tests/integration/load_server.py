"""A small real platform for tests of the generator: HTTP and Socket.IO on one port, kept in memory.

Run as ``python load_server.py``; prints its port. It is as fast as one process can be, so that what
a test measures is the generator. ``/slow`` answers after 0.2 s, ``/gone`` breaks the connection,
``/busy`` says 429, ``/broken`` says 500.
"""

import asyncio
import uuid
from typing import Any

import socketio
from aiohttp import web

users: dict[str, str] = {}  # token -> user id
sockets: dict[str, str] = {}  # user id -> socket id
seen: list[dict[str, str]] = []  # what requests carried
sio = socketio.AsyncServer(async_mode="aiohttp", transports=["websocket"])
routes = web.RouteTableDef()
posts: list[dict[str, Any]] = []
busy = 0


@web.middleware
async def note(request: web.Request, handler: Any) -> web.StreamResponse:
    seen.append(
        {
            "path": request.path,
            "remote": request.remote or "",
            "traceparent": request.headers.get("traceparent", ""),
            "baggage": request.headers.get("baggage", ""),
        }
    )
    reply: web.StreamResponse = await handler(request)
    return reply


@routes.post("/api/auth/register")
async def register(request: web.Request) -> web.Response:
    global busy
    await request.json()
    busy += 1
    if busy % 7 == 3:  # now and then the password queue is full
        return web.json_response({"status": 503}, status=503, headers={"Retry-After": "0.05"})
    token, user = uuid.uuid4().hex, uuid.uuid4().hex
    users[token] = user
    return web.json_response({"user": {"id": user}, "access_token": token, "expires_in": 900}, status=201)


@routes.post("/api/users/{user_id}/follow")
@routes.post("/api/posts/{post_id}/like")
async def written(request: web.Request) -> web.Response:
    return web.Response(status=204)


@routes.post("/api/media")
async def media(request: web.Request) -> web.Response:
    part = await (await request.multipart()).next()
    assert part is not None
    await part.read()  # type: ignore[union-attr]
    return web.json_response({"id": uuid.uuid4().hex}, status=201)


@routes.post("/api/posts")
async def post(request: web.Request) -> web.Response:
    posts.append({"id": uuid.uuid4().hex, **(await request.json())})
    return web.json_response(posts[-1], status=201)


@routes.get("/api/timeline/{user_id}")
async def timeline(request: web.Request) -> web.Response:
    if users.get(request.headers.get("Authorization", "").removeprefix("Bearer ")) != request.match_info["user_id"]:
        return web.json_response({"status": 403}, status=403)
    return web.json_response({"items": posts[-20:], "next": None})


@routes.get("/api/posts/{post_id}")
@routes.get("/api/users/{user_id}")
@routes.get("/api/users/{user_id}/following")
async def read(request: web.Request) -> web.Response:
    return web.json_response({"items": []})


@routes.get("/slow")
async def slow(request: web.Request) -> web.Response:
    await asyncio.sleep(0.2)
    return web.Response()


@routes.get("/gone")
async def gone(request: web.Request) -> web.Response:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


@routes.get("/busy")
async def limited(request: web.Request) -> web.Response:
    return web.Response(status=429, headers={"Retry-After": "1"})


@routes.get("/broken")
async def broken(request: web.Request) -> web.Response:
    return web.Response(status=500, headers={"X-Tracelab-Degraded": "test"})


@routes.get("/seen")
async def show(request: web.Request) -> web.Response:
    return web.json_response({"requests": seen, "sockets": len(sockets)})


@sio.event  # type: ignore[untyped-decorator]
async def connect(sid: str, environ: Any, auth: dict[str, str]) -> bool:
    user = users.get(auth["token"])
    if user is None:
        return False
    sockets[user] = sid
    return True


@sio.event  # type: ignore[untyped-decorator]
async def disconnect(sid: str) -> None:
    for user in [u for u, s in sockets.items() if s == sid]:
        del sockets[user]


@sio.on("message:send")  # type: ignore[untyped-decorator]
async def send(sid: str, letter: dict[str, str]) -> dict[str, Any]:
    if letter["body"] == "refuse me":
        return {"error": "refused"}
    message = {"id": uuid.uuid4().hex, "client_id": letter["client_id"], "body": letter["body"]}
    if letter["body"] != "lose me" and letter["to"] in sockets:
        envelope = {"message": message, "traceparent": letter["traceparent"]}
        await sio.emit("message:new", envelope, to=sockets[letter["to"]])
    return {"message": message}


async def main() -> None:
    application = web.Application(middlewares=[note])
    sio.attach(application)
    application.add_routes(routes)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server: Any = site._server
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201 -- its caller reads the port
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
