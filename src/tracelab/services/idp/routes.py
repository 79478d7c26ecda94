"""HTTP of idp: a browser's pages, and the endpoints of both shapes."""

import re
import time
from typing import Annotated, Any, Final, Literal
from urllib.parse import parse_qs, urlencode

from fastapi import APIRouter, Depends, Form, Query, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse

from tracelab.services.idp import page
from tracelab.services.idp.domain import (
    TOKEN_S,
    Asked,
    Declined,
    Exchange,
    Grant,
    GrantRefused,
    IdentityProvider,
    Person,
    Shape,
    TokenUnknown,
    Untrusted,
)
from tracelab.services.idp.schemas import (
    Configuration,
    GithubTokenOut,
    GithubUser,
    GrantError,
    KeySet,
    TokenOut,
    UserInfo,
)
from tracelab.services.idp.signing import Signature
from tracelab.services.kit.problem import Problem, problems
from tracelab.services.kit.viewer import bearer

router = APIRouter()
_NO_STORE: Final = {"Cache-Control": "no-store"}
_EMAIL: Final = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_LONGEST_EMAIL: Final = 254
_LONGEST_NAME: Final = 80


async def provider(request: Request) -> IdentityProvider:
    """Return the application's rules."""
    found: IdentityProvider = request.app.state.provider
    return found


async def signature(request: Request) -> Signature:
    """Return what signs ID tokens."""
    found: Signature = request.app.state.signature
    return found


ProviderDep = Annotated[IdentityProvider, Depends(provider)]
SignatureDep = Annotated[Signature, Depends(signature)]
Parameter = Annotated[str, Query(max_length=2048)]
Field = Annotated[str, Form(max_length=2048)]


# --- what a browser sees ---------------------------------------------------------------------------


@router.get("/google/authorize", response_class=HTMLResponse, responses={303: {}, 400: {}, **problems(422)})
async def google_authorize(
    provider: ProviderDep,
    client_id: Parameter = "",
    redirect_uri: Parameter = "",
    response_type: Parameter = "",
    scope: Parameter = "",
    state: Parameter = "",
    nonce: Parameter = "",
    code_challenge: Parameter = "",
    code_challenge_method: Parameter = "",
    login_hint: Parameter = "",
) -> Response:
    """Ask whether somebody lets a client know who they are."""
    return _ask(
        provider,
        Asked(
            shape=Shape.GOOGLE,
            client_id=client_id,
            redirect_uri=redirect_uri,
            response_type=response_type,
            scope=scope,
            state=state,
            nonce=nonce,
            challenge=code_challenge,
            challenge_method=code_challenge_method,
            login_hint=login_hint,
        ),
    )


@router.get("/github/login/oauth/authorize", response_class=HTMLResponse, responses={303: {}, 400: {}, **problems(422)})
async def github_authorize(
    provider: ProviderDep,
    client_id: Parameter = "",
    redirect_uri: Parameter = "",
    scope: Parameter = "",
    state: Parameter = "",
    code_challenge: Parameter = "",
    code_challenge_method: Parameter = "",
    login: Parameter = "",
) -> Response:
    """Ask whether somebody lets a client know who they are; GitHub knows one response type, which is not named."""
    return _ask(
        provider,
        Asked(
            shape=Shape.GITHUB,
            client_id=client_id,
            redirect_uri=redirect_uri,
            response_type="code",
            scope=scope,
            state=state,
            nonce="",
            challenge=code_challenge,
            challenge_method=code_challenge_method,
            login_hint=login,
        ),
    )


@router.post("/consent", status_code=303, response_class=RedirectResponse, responses={400: {}, **problems(422)})
async def consent(
    provider: ProviderDep,
    request: Field,
    decision: Annotated[Literal["allow", "deny"], Form()],
    email: Field = "",
    name: Field = "",
) -> Response:
    """Take somebody's answer, and send the browser back to the client."""
    try:
        if decision == "deny":
            return RedirectResponse(provider.deny(request), 303, _NO_STORE)
        asked = provider.asked(request)
        email, name = email.strip(), " ".join(name.split())
        if not _EMAIL.fullmatch(email) or len(email) > _LONGEST_EMAIL:
            wrong = "Expected an e-mail address, such as ann@example.org."
        elif not 0 < len(name) <= _LONGEST_NAME:
            wrong = f"Expected a name of 1 to {_LONGEST_NAME} characters."
        else:
            return RedirectResponse(provider.consent(request, Person(email=email, name=name)), 303, _NO_STORE)
    except Untrusted as error:
        return HTMLResponse(page.refusal(str(error)), 400, page.headers())
    shown = page.consent(request, asked, email=email, name=name, wrong=wrong)
    return HTMLResponse(shown, 422, page.headers(asked))


def _ask(provider: IdentityProvider, asked: Asked) -> Response:
    try:
        request_id = provider.ask(asked)
    except Untrusted as error:
        return HTMLResponse(page.refusal(str(error)), 400, page.headers())
    except Declined as error:
        return RedirectResponse(error.url, 303, _NO_STORE)
    return HTMLResponse(page.consent(request_id, asked), headers=page.headers(asked))


# --- what a client asks ------------------------------------------------------------------------------


@router.get("/google/.well-known/openid-configuration")
async def configuration(request: Request) -> Configuration:
    """Say where everything is."""
    issuer = f"{request.app.state.settings.idp}/google"
    return Configuration(
        issuer=issuer,
        authorization_endpoint=f"{issuer}/authorize",
        token_endpoint=f"{issuer}/token",
        userinfo_endpoint=f"{issuer}/userinfo",
        jwks_uri=f"{issuer}/certs",
    )


@router.get("/google/certs")
async def certificates(signature: SignatureDep) -> KeySet:
    """Publish the keys that ID tokens can be checked with."""
    return KeySet(keys=await signature.certificates())


@router.post("/google/token", response_model=TokenOut, responses={400: {"model": GrantError}})
async def google_token(request: Request, provider: ProviderDep, signature: SignatureDep) -> Response:
    """Exchange a code for an access token and an ID token."""
    try:
        token, grant = await _exchange(request, provider, Shape.GOOGLE)
    except GrantRefused as error:
        refused = GrantError(error=error.error, error_description=str(error))
        return JSONResponse(refused.model_dump(), 400, _NO_STORE)
    given = TokenOut(
        access_token=token,
        token_type="Bearer",  # noqa: S106 - what kind it is
        expires_in=TOKEN_S,
        scope=grant.asked.scope,
        id_token=await signature.id_token(grant, token, time.time()),
    )
    return JSONResponse(given.model_dump(), headers=_NO_STORE)


@router.post("/github/login/oauth/access_token", response_model=GithubTokenOut | GrantError)
async def github_token(request: Request, provider: ProviderDep) -> Response:
    """Exchange a code for an access token. As at GitHub an error is a 200, and a form unless JSON is asked for."""
    answer: GithubTokenOut | GrantError
    try:
        token, grant = await _exchange(request, provider, Shape.GITHUB)
    except GrantRefused as error:
        named = {"invalid_grant": "bad_verification_code", "invalid_client": "incorrect_client_credentials"}
        answer = GrantError(error=named.get(error.error, error.error), error_description=str(error))
    else:
        answer = GithubTokenOut(
            access_token=token,
            token_type="bearer",  # noqa: S106 - what kind it is
            scope=",".join(grant.asked.scope.split()),
        )
    if "json" in request.headers.get("accept", ""):
        return JSONResponse(answer.model_dump(), headers=_NO_STORE)
    form = "application/x-www-form-urlencoded"
    return Response(urlencode(answer.model_dump()), headers=_NO_STORE, media_type=form)


@router.get("/google/userinfo", responses=problems(401))
async def google_user(request: Request, provider: ProviderDep) -> UserInfo:
    """Say who gave an access token."""
    person = _whose(request, provider, Shape.GOOGLE)
    return UserInfo(sub=str(person.number), email=person.email, email_verified=True, name=person.name)


@router.get("/github/user", responses=problems(401))
async def github_user(request: Request, provider: ProviderDep) -> GithubUser:
    """Say who gave an access token."""
    person = _whose(request, provider, Shape.GITHUB)
    login = re.sub(r"[^A-Za-z0-9]+", "-", person.email.partition("@")[0]).strip("-")[:39] or "somebody"
    return GithubUser(id=person.number, login=login, name=person.name, email=person.email)


async def _exchange(request: Request, provider: IdentityProvider, shape: Shape) -> tuple[str, Grant]:
    """Read the form whatever is missing in it: a token endpoint answers in words of its own."""
    fields = parse_qs((await request.body()).decode("utf-8", "replace"), keep_blank_values=True)
    shown: dict[str, Any] = {name: values[0] for name, values in fields.items()}
    return provider.exchange(
        Exchange(
            shape=shape,
            client_id=shown.get("client_id", ""),
            client_secret=shown.get("client_secret", ""),
            grant_type=shown.get("grant_type", "authorization_code" if shape is Shape.GITHUB else ""),
            code=shown.get("code", ""),
            redirect_uri=shown.get("redirect_uri", ""),
            verifier=shown.get("code_verifier", ""),
        )
    )


def _whose(request: Request, provider: IdentityProvider, shape: Shape) -> Person:
    try:
        return provider.whose(shape, bearer(request.headers.get("authorization")) or "")
    except TokenUnknown as error:
        raise Problem(401, str(error), headers={"WWW-Authenticate": 'Bearer error="invalid_token"'}) from error
