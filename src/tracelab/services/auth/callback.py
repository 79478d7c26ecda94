"""HTTP of logging in by a provider: away from here, and back."""

from typing import Annotated, Final, Literal

from fastapi import APIRouter, Cookie, Depends, Query, Request, Response
from fastapi.responses import RedirectResponse

from tracelab.conventions import FLOW_COOKIE
from tracelab.services.auth.cookies import admitted, is_https
from tracelab.services.auth.oauth import FLOW_S, FlowBroken, Flows
from tracelab.services.auth.routes import ReceptionDep
from tracelab.services.auth.schemas import AdmissionOut
from tracelab.services.auth.sealing import Seal
from tracelab.services.kit.problem import problems

router = APIRouter()
_PATH: Final = "/api/auth"


async def flows(request: Request) -> Flows:
    """Return the rules of logins by a provider."""
    found: Flows = request.app.state.flows
    return found


async def seal(request: Request) -> Seal:
    """Return what seals the browser's part of a login."""
    found: Seal = request.app.state.seal
    return found


FlowsDep = Annotated[Flows, Depends(flows)]
SealDep = Annotated[Seal, Depends(seal)]
Then = Annotated[str, Query(max_length=500, description="where to go once logged in: a path of this site")]
Word = Annotated[str, Query(max_length=2048)]


@router.get("/api/auth/google", status_code=303, response_class=RedirectResponse, responses=problems(422, 503))
async def google(request: Request, flows: FlowsDep, seal: SealDep, then: Then = "") -> Response:
    """Go to Google to log in."""
    return await _away("google", request, flows, seal, then)


@router.get("/api/auth/github", status_code=303, response_class=RedirectResponse, responses=problems(422, 503))
async def github(request: Request, flows: FlowsDep, seal: SealDep, then: Then = "") -> Response:
    """Go to GitHub to log in."""
    return await _away("github", request, flows, seal, then)


@router.get(
    "/api/auth/{provider}/callback",
    response_model=AdmissionOut,
    responses={303: {"description": "Logged in; on to where `then` said"}, **problems(400, 401, 409, 422, 503)},
)
async def callback(
    provider: Literal["google", "github"],
    request: Request,
    response: Response,
    flows: FlowsDep,
    seal: SealDep,
    reception: ReceptionDep,
    state: Word = "",
    code: Word = "",
    error: Word = "",
    cookie: Annotated[str | None, Cookie(alias=FLOW_COOKIE, max_length=4096)] = None,
) -> AdmissionOut | Response:
    """Come back from a provider, and be logged in if it says who it is."""
    if cookie is None:
        raise FlowBroken("no login was begun in this browser within the last minutes; begin again")
    flow = seal.open(cookie)
    identity = await flows.end(flow, provider=provider, state=state, code=code, error=error)
    admission = await reception.enter(identity)
    onward = RedirectResponse(flow.then, 303) if flow.then else None
    body = admitted(request, onward or response, admission)
    (onward or response).delete_cookie(FLOW_COOKIE, path=_PATH, httponly=True, samesite="lax")
    return onward or body


async def _away(provider: str, request: Request, flows: Flows, seal: Seal, then: str) -> Response:
    url, flow = await flows.begin(provider, origin=_origin(request), then=then)
    response = RedirectResponse(url, 303, {"Cache-Control": "no-store"})
    response.set_cookie(
        FLOW_COOKIE,
        seal.close(flow),
        max_age=FLOW_S,
        path=_PATH,
        secure=is_https(request),
        httponly=True,
        samesite="lax",  # the way back is a navigation from another site
    )
    return response


def _origin(request: Request) -> str:
    """Return where the browser found the gateway, if that is one of its places, else the usual one."""
    origins: tuple[str, ...] = request.app.state.settings.origins
    seen = f"{request.headers.get('x-forwarded-proto')}://{request.headers.get('x-forwarded-host')}"
    return seen if seen in origins else origins[0]
