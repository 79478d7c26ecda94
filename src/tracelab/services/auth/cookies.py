"""What a browser keeps of a login: the access token for every request, the refresh token for one route alone."""

from fastapi import Request, Response

from tracelab.conventions import REFRESH_COOKIE, TOKEN_COOKIE
from tracelab.services.auth.domain import SESSION_S, TOKEN_S, Admission, Renewal
from tracelab.services.auth.schemas import AdmissionOut, RenewalOut

_REFRESH_PATH = "/api/auth/refresh"


def is_https(request: Request) -> bool:
    """Claim that the browser speaks HTTPS with the gateway: then no cookie leaves it otherwise."""
    return request.headers.get("x-forwarded-proto") == "https"


def admitted(request: Request, response: Response, admission: Admission) -> AdmissionOut:
    """Give the browser both tokens, and return the body."""
    _set_token(request, response, admission.token, TOKEN_S)
    response.set_cookie(
        REFRESH_COOKIE,
        admission.refresh_token,
        max_age=SESSION_S,
        path=_REFRESH_PATH,
        secure=is_https(request),
        httponly=True,
        samesite="strict",
    )
    return AdmissionOut.of(admission)


def renewed(request: Request, response: Response, renewal: Renewal) -> RenewalOut:
    """Give the browser a new access token, and return the body."""
    _set_token(request, response, renewal.token, renewal.lasts_s)
    return RenewalOut.of(renewal)


def let_go(request: Request, response: Response) -> None:
    """Take both tokens back."""
    secure = is_https(request)
    response.delete_cookie(TOKEN_COOKIE, secure=secure, httponly=True, samesite="lax")
    response.delete_cookie(REFRESH_COOKIE, path=_REFRESH_PATH, secure=secure, httponly=True, samesite="strict")


def _set_token(request: Request, response: Response, token: str, lasts_s: int) -> None:
    response.set_cookie(TOKEN_COOKIE, token, max_age=lasts_s, secure=is_https(request), httponly=True, samesite="lax")
    response.headers["Cache-Control"] = "no-store"
