"""The pages that people see: consent, and why there is nothing to consent to."""

import base64
from collections.abc import Mapping
from hashlib import sha256
from html import escape
from typing import Final
from urllib.parse import urlsplit

from tracelab.services.idp.domain import Asked, Shape

_STYLE: Final = """
:root { color-scheme: light dark; --ink: #0f172a; --soft: #64748b; --line: #cbd5e1; --paper: #fff; --back: #f1f5f9 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #f1f5f9; --soft: #94a3b8; --line: #334155; --paper: #0f172a; --back: #020617 }
}
* { box-sizing: border-box }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; background: var(--back); color: var(--ink);
  font: 16px/1.5 ui-sans-serif, system-ui, sans-serif }
main { width: min(26rem, calc(100vw - 2rem)); padding: 2rem; background: var(--paper); border: 1px solid var(--line);
  border-radius: 1rem; border-top: .35rem solid var(--accent) }
.google { --accent: #1a73e8 } .github { --accent: #238636 } .none { --accent: #be123c }
h1 { margin: 0 0 .25rem; font-size: 1.35rem } p { margin: 0 0 1rem; color: var(--soft) }
ul { margin: 0 0 1.25rem; padding-left: 1.2rem; color: var(--soft) }
label { display: block; margin-bottom: .9rem; font-size: .875rem; font-weight: 600 }
input { width: 100%; margin-top: .25rem; padding: .6rem .75rem; font: inherit; color: inherit; background: transparent;
  border: 1px solid var(--line); border-radius: .5rem }
input:focus-visible, button:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px }
div { display: flex; gap: .75rem; justify-content: flex-end; margin-top: 1.5rem }
button { padding: .6rem 1.2rem; font: inherit; font-weight: 600; border-radius: .5rem; cursor: pointer;
  color: var(--ink); background: transparent; border: 1px solid var(--line) }
button.yes { color: #fff; background: var(--accent); border-color: var(--accent) }
.wrong { padding: .5rem .75rem; border-radius: .5rem; color: #fff; background: #be123c }
footer { margin-top: 1.5rem; font-size: .75rem; color: var(--soft) }
"""
_STYLE_HASH: Final = base64.b64encode(sha256(_STYLE.encode()).digest()).decode()
_NAMES: Final = {Shape.GOOGLE: "Google", Shape.GITHUB: "GitHub"}
_SCOPES: Final = {
    "openid": "who you are",
    "email": "your e-mail address",
    "profile": "your name",
    "read:user": "your name and account number",
    "user:email": "your e-mail address",
}
_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main class="{tone}">
{content}
<footer>This is a local identity provider of a test platform. It asks for no password and knows nobody.</footer>
</main>
</body>
</html>
"""
_CONSENT: Final = """<h1>Sign in to {client}</h1>
<p>{client} asks this {shape}-shaped account for:</p>
<ul>{scopes}</ul>
{wrong}<form method="post" action="/consent">
<input type="hidden" name="request" value="{request}">
<label>E-mail address
<input type="email" name="email" value="{email}" required maxlength="254" autocomplete="email" autofocus></label>
<label>Name
<input type="text" name="name" value="{name}" required maxlength="80" autocomplete="name"></label>
<div>
<button name="decision" value="deny" formnovalidate>Deny</button>
<button name="decision" value="allow" class="yes">Allow</button>
</div>
</form>"""


def consent(request_id: str, asked: Asked, *, email: str = "", name: str = "", wrong: str = "") -> str:
    """Return the page that asks whether somebody consents; `wrong` says what was wrong with their answer."""
    scopes = [_SCOPES[word] for word in asked.scope.split() if word in _SCOPES]
    content = _CONSENT.format(
        client=escape(asked.client_id),
        shape=_NAMES[asked.shape],
        scopes="".join(f"<li>{escape(scope)}</li>" for scope in scopes),
        wrong=f'<p class="wrong" role="alert">{escape(wrong)}</p>\n' if wrong else "",
        request=escape(request_id),
        email=escape(email or asked.login_hint),
        name=escape(name),
    )
    return _PAGE.format(title=f"Sign in to {escape(asked.client_id)}", style=_STYLE, tone=asked.shape, content=content)


def refusal(why: str) -> str:
    """Return the page for a request that leads nowhere."""
    content = f"<h1>This cannot go on</h1>\n<p>{escape(why[:1].upper() + why[1:])}.</p>"
    return _PAGE.format(title="This cannot go on", style=_STYLE, tone="none", content=content)


def headers(asked: Asked | None = None) -> Mapping[str, str]:
    """Return what a browser is told about a page: nothing runs in it, frames it, or keeps it.

    Browsers hold the redirect that follows a form to ``form-action`` too, hence the client's origin.
    """
    action = "'none'"
    if asked is not None:
        parts = urlsplit(asked.redirect_uri)
        action = f"'self' {parts.scheme}://{parts.netloc}"
    policy = f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action {action}; frame-ancestors 'none'"
    return {
        "Content-Security-Policy": f"{policy}; base-uri 'none'",
        "Cache-Control": "no-store",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }
