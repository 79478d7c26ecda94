"""HTTP of auth: accounts, sessions, tokens, keys."""

from typing import Annotated

from fastapi import APIRouter, Cookie, Depends, Request, Response

from tracelab.conventions import REFRESH_COOKIE
from tracelab.services.auth.admission import Reception
from tracelab.services.auth.cookies import admitted, let_go, renewed
from tracelab.services.auth.domain import Auth
from tracelab.services.auth.schemas import (
    AdmissionOut,
    Key,
    KeySet,
    Login,
    RefreshIn,
    Registration,
    RenewalOut,
    RotationIn,
    TokenIn,
    TokenOut,
    UserOut,
)
from tracelab.services.auth.signing import Keys, Rotation
from tracelab.services.kit.problem import Problem, problems
from tracelab.services.kit.viewer import Internal, Viewer

router = APIRouter()


async def auth(request: Request) -> Auth:
    """Return the rules of sessions."""
    found: Auth = request.app.state.auth
    return found


async def reception(request: Request) -> Reception:
    """Return the rules of letting people in."""
    found: Reception = request.app.state.reception
    return found


async def keys(request: Request) -> Keys:
    """Return the application's keys."""
    found: Keys = request.app.state.keys
    return found


AuthDep = Annotated[Auth, Depends(auth)]
ReceptionDep = Annotated[Reception, Depends(reception)]
KeysDep = Annotated[Keys, Depends(keys)]


@router.post("/api/auth/register", status_code=201, responses=problems(409, 422, 503))
async def register(body: Registration, request: Request, response: Response, reception: ReceptionDep) -> AdmissionOut:
    """Create an account and log in."""
    admission = await reception.register(
        username=body.username,
        email=body.email,
        password=body.password,
        display_name=body.display_name or body.username,
    )
    return admitted(request, response, admission)


@router.post("/api/auth/login", responses=problems(401, 422, 503))
async def login(body: Login, request: Request, response: Response, reception: ReceptionDep) -> AdmissionOut:
    """Log in. An account and an address have so many attempts a minute."""
    admission = await reception.login(body.username, body.password, address=_address(request))
    return admitted(request, response, admission)


@router.post("/api/auth/refresh", responses=problems(401, 422, 503))
async def refresh(
    request: Request,
    response: Response,
    auth: AuthDep,
    body: RefreshIn | None = None,
    cookie: Annotated[str | None, Cookie(alias=REFRESH_COOKIE, max_length=200)] = None,
) -> RenewalOut:
    """Get a new access token for the refresh token, in the body or in its cookie."""
    given = body.refresh_token if body is not None else cookie
    if not given:
        raise Problem(401, "expected a refresh token", headers={"WWW-Authenticate": "Bearer"})
    return renewed(request, response, await auth.refresh(given))


@router.post("/api/auth/logout", status_code=204, responses=problems(401, 422, 503))
async def logout(
    request: Request, response: Response, viewer: Viewer, auth: AuthDep, *, everywhere: bool = False
) -> None:
    """End the viewer's session, or all of them."""
    if everywhere:
        await auth.logout_everywhere(viewer.id)
    else:
        await auth.logout(viewer.session_id)
    let_go(request, response)


@router.get("/api/auth/me", responses=problems(401, 503))
async def me(viewer: Viewer, auth: AuthDep) -> UserOut:
    """Say who the viewer is."""
    return UserOut.of(await auth.account(viewer.id))


@router.post("/api/validate/token", responses=problems(401, 422, 503))
async def validate(body: TokenIn, auth: AuthDep) -> TokenOut:
    """Say whose token it is, if it is good."""
    claims = await auth.check(body.token)
    return TokenOut(user_id=claims.user_id, session_id=claims.session_id, expires_at=claims.expires_at_s)


@router.get("/.well-known/jwks.json")
async def jwks(response: Response, keys: KeysDep) -> KeySet:
    """Publish the keys that tokens can be checked with."""
    response.headers["Cache-Control"] = "public, max-age=300"
    return KeySet(keys=[Key.model_validate(key) for key in keys.published()])


@router.post("/internal/keys/rotate", dependencies=[Internal], responses=problems(403, 422, 503))
async def rotate(keys: KeysDep, body: RotationIn | None = None) -> KeySet:
    """Let a new signing key follow, at once or as its period would; returns what is published then."""
    plan = body or RotationIn()
    await keys.rotate(Rotation(signs_in_s=plan.signs_in_s, keeps_s=plan.keeps_s))
    return KeySet(keys=[Key.model_validate(key) for key in keys.published()])


def _address(request: Request) -> str:
    """Return where a request comes from; the gateway, which alone reaches us, writes the header itself."""
    forwarded = request.headers.get("x-forwarded-for", "").rpartition(",")[2].strip()
    return forwarded or (request.client.host if request.client else "")
