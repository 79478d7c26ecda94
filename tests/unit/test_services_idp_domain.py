"""The identity provider's rules: requests, codes and tokens, each for its time, and pages that run nothing."""

from dataclasses import replace

import pytest

from tracelab.services.idp import page
from tracelab.services.idp.domain import (
    CODE_S,
    TOKEN_S,
    Asked,
    Client,
    Declined,
    Exchange,
    Grant,
    GrantRefused,
    IdentityProvider,
    Person,
    Shape,
    TokenUnknown,
    Untrusted,
    challenge_of,
)
from tracelab.services.idp.repository import Memory

HERE = "http://127.0.0.1:1/api/auth/google/callback"
VERIFIER = "v" * 43
ANN = Person(email="ann@example.org", name="Ann")
ASKED = Asked(
    shape=Shape.GOOGLE,
    client_id="tracelab",
    redirect_uri=HERE,
    response_type="code",
    scope="openid email",
    state="a state & more",
    nonce="n",
    challenge=challenge_of(VERIFIER),
    challenge_method="S256",
)
SHOWN = Exchange(
    shape=Shape.GOOGLE,
    client_id="tracelab",
    client_secret="secret",
    grant_type="authorization_code",
    code="",
    redirect_uri=HERE,
    verifier=VERIFIER,
)


class World:
    """A provider and its clock."""

    def __init__(self, secret: str = SHOWN.client_secret) -> None:
        self.now_s = 0.0
        self.count = 0
        requests: Memory[Asked] = Memory(lambda: self.now_s)
        codes: Memory[Grant] = Memory(lambda: self.now_s)
        spent: Memory[str] = Memory(lambda: self.now_s)
        tokens: Memory[Grant] = Memory(lambda: self.now_s)
        self.provider = IdentityProvider(
            client=Client(id="tracelab", secret=secret, redirects=frozenset([HERE])),
            requests=requests,
            codes=codes,
            spent=spent,
            tokens=tokens,
            new_secret=self.secret,
        )

    def secret(self) -> str:
        """Return another secret."""
        self.count += 1
        return f"s{self.count}"

    def code(self) -> str:
        """Have Ann consent, and return the code."""
        url = self.provider.consent(self.provider.ask(ASKED), ANN)
        return url.partition("code=")[2].partition("&")[0]


def test_the_challenge_is_that_of_the_standard() -> None:
    """RFC 7636, appendix B."""
    verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    assert challenge_of(verifier) == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


def test_consent_goes_back_with_the_clients_state() -> None:
    """Whatever the state is, it comes back whole; a request is answered once."""
    world = World()
    request = world.provider.ask(ASKED)
    url = world.provider.consent(request, ANN)
    assert url.startswith(f"{HERE}?code=")
    assert url.endswith("&state=a+state+%26+more")
    with pytest.raises(Untrusted):
        world.provider.consent(request, ANN)
    with pytest.raises(Untrusted):
        world.provider.deny(request)


@pytest.mark.parametrize(
    "change", [{"client_id": "x"}, {"redirect_uri": f"{HERE}/"}, {"redirect_uri": "https://evil.example"}], ids=str
)
def test_strangers_are_told_nothing(change: dict[str, str]) -> None:
    """No redirect for an unknown client, or to an unknown place."""
    with pytest.raises(Untrusted):
        World().provider.ask(replace(ASKED, **change))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change",
    [{"response_type": "token"}, {"scope": "email"}, {"challenge_method": "plain"}, {"challenge": "short"}],
    ids=str,
)
def test_what_is_no_flow_of_ours_is_declined(change: dict[str, str]) -> None:
    """By a redirect, with the state."""
    with pytest.raises(Declined) as declined:
        World().provider.ask(replace(ASKED, **change))  # type: ignore[arg-type]
    assert declined.value.url.startswith(f"{HERE}?error=")
    assert "state=" in declined.value.url


def test_a_code_lasts_a_minute_and_a_token_ten() -> None:
    """And not a moment longer."""
    world = World()
    code = world.code()
    world.now_s += CODE_S
    with pytest.raises(GrantRefused):
        world.provider.exchange(replace(SHOWN, code=code))
    token, grant = world.provider.exchange(replace(SHOWN, code=world.code()))
    assert grant.person == ANN
    world.now_s += TOKEN_S - 1
    assert world.provider.whose(Shape.GOOGLE, token) == ANN
    world.now_s += 1
    with pytest.raises(TokenUnknown):
        world.provider.whose(Shape.GOOGLE, token)


def test_a_code_shown_twice_takes_back_what_it_gave() -> None:
    """Somebody stole it, before or after."""
    world = World()
    shown = replace(SHOWN, code=world.code())
    token, _ = world.provider.exchange(shown)
    with pytest.raises(GrantRefused):
        world.provider.exchange(shown)
    with pytest.raises(TokenUnknown):
        world.provider.whose(Shape.GOOGLE, token)


def test_a_code_of_one_shape_is_none_of_the_other() -> None:
    """And a token neither."""
    world = World()
    with pytest.raises(GrantRefused):
        world.provider.exchange(replace(SHOWN, shape=Shape.GITHUB, code=world.code()))
    token, _ = world.provider.exchange(replace(SHOWN, code=world.code()))
    with pytest.raises(TokenUnknown):
        world.provider.whose(Shape.GITHUB, token)


def test_a_provider_that_was_given_no_secret_takes_none() -> None:
    """An empty secret is not right because none was set."""
    world = World(secret="")
    with pytest.raises(GrantRefused, match="secret"):
        world.provider.exchange(replace(SHOWN, client_secret="", code=world.code()))


def test_an_address_is_one_person_in_any_case() -> None:
    """The number is stable, positive, and fits what JSON readers take for an integer."""
    assert ANN.number == Person(email="ANN@example.org", name="Other").number
    assert ANN.number != Person(email="bob@example.org", name="Ann").number
    assert 0 < ANN.number < 2**53


def test_memory_is_bounded() -> None:
    """Beyond the most that is kept, the oldest go."""
    memory: Memory[int] = Memory(lambda: 0.0, most=3)
    for number in range(5):
        memory.put(str(number), number, for_s=1)
    assert [memory.get(str(number)) for number in range(5)] == [None, None, 2, 3, 4]
    assert memory.take("4") == 4
    assert memory.take("4") is None


def test_a_page_shows_what_people_typed_and_runs_none_of_it() -> None:
    """Whatever comes from a query or a form is text."""
    hostile = "\"><script>alert('x')</script>"
    asked = replace(ASKED, client_id=hostile, login_hint=hostile, scope=f"openid {hostile}")
    for shown in (
        page.consent(hostile, asked),
        page.consent("r", asked, email=hostile, name=hostile, wrong=hostile),
        page.refusal(hostile),
    ):
        assert "<script" not in shown
        assert "alert(" in shown


def test_a_page_may_send_its_form_to_the_client_alone() -> None:
    """Browsers apply the policy to the redirect as well; no other origin is in it."""
    policy = page.headers(ASKED)["Content-Security-Policy"]
    assert "form-action 'self' http://127.0.0.1:1;" in policy
    assert "form-action 'none'" in page.headers()["Content-Security-Policy"]
