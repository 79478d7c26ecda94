"""HTTP of auth."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from tracelab.conventions import TOKEN_COOKIE
from tracelab.services.auth.domain import TOKEN_S, Admission, Auth
from tracelab.services.auth.schemas import AdmissionOut, KeySet, Login, Registration, TokenIn, TokenOut, UserOut
from tracelab.services.auth.signing import Keys
from tracelab.services.kit.problem import problems
from tracelab.services.kit.viewer import Viewer

router = APIRouter()


async def auth(request: Request) -> Auth:
    """Return the application's rules."""
    found: Auth = request.app.state.auth
    return found


async def keys(request: Request) -> Keys:
    """Return the application's keys."""
    found: Keys = request.app.state.keys
    return found


AuthDep = Annotated[Auth, Depends(auth)]
KeysDep = Annotated[Keys, Depends(keys)]


@router.post("/api/auth/register", status_code=201, responses=problems(409, 422, 503))
async def register(body: Registration, response: Response, auth: AuthDep) -> AdmissionOut:
    """Create an account and log in."""
    return _admit(
        response,
        await auth.register(
            username=body.username,
            email=body.email,
            password=body.password,
            display_name=body.display_name or body.username,
        ),
    )


@router.post("/api/auth/login", responses=problems(401, 422, 503))
async def login(body: Login, response: Response, auth: AuthDep) -> AdmissionOut:
    """Log in."""
    return _admit(response, await auth.login(body.username, body.password))


@router.post("/api/auth/logout", status_code=204, responses=problems(401, 503))
async def logout(response: Response, viewer: Viewer, auth: AuthDep) -> None:
    """End the viewer's session."""
    await auth.logout(viewer.session_id)
    response.delete_cookie(TOKEN_COOKIE, httponly=True, samesite="lax")


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
    return KeySet(keys=keys.published())


def _admit(response: Response, admission: Admission) -> AdmissionOut:
    response.set_cookie(TOKEN_COOKIE, admission.token, max_age=TOKEN_S, httponly=True, samesite="lax")
    response.headers["Cache-Control"] = "no-store"
    return AdmissionOut.of(admission)
