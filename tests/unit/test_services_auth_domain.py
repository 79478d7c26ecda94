"""Rules of auth that need neither a server nor a clock: sessions, names, flows, keys, the queue of passwords."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest

from tracelab.services.auth.admission import Reception
from tracelab.services.auth.domain import (
    SESSION_S,
    TOKEN_S,
    Account,
    Auth,
    Claims,
    EmailTaken,
    Identity,
    IdentityTaken,
    NameTaken,
    Newcomer,
    NewProfile,
    Session,
    SessionEnded,
    TokenInvalid,
    TooBusy,
    TooMany,
    Unreachable,
)
from tracelab.services.auth.hashing import Bcrypt
from tracelab.services.auth.oauth import Flow, FlowBroken, Flows, LoginRefused
from tracelab.services.auth.sealing import Seal
from tracelab.services.auth.signing import KeyMissing, Keys, Rotation, StoredKey
from tracelab.services.kit.identifier import new_id

NOW_S = 1_800_000_000.0
ANN = Identity(provider="github", subject="7", email="ann@example.org", login="ann", name="Ann")


@dataclass
class World:
    """Everything that auth asks, in memory; what is switched off behaves as its real counterpart would."""

    now_s: float = NOW_S
    has_profile: bool = True
    is_cache_there: bool = True
    newcomers: list[Newcomer] = field(default_factory=list)
    sessions: dict[str, Session] = field(default_factory=dict)
    forgotten: list[str] = field(default_factory=list)
    secrets: int = 0

    def secret(self) -> str:
        """Return another secret."""
        self.secrets += 1
        return f"secret{self.secrets:040}"

    # Accounts
    async def add(self, newcomer: Newcomer) -> None:
        """Store, as the table's indexes allow."""
        for other in self.newcomers:
            if other.identity == newcomer.identity and newcomer.identity is not None:
                raise IdentityTaken
            if other.account.username.lower() == newcomer.account.username.lower():
                raise NameTaken
            if other.account.email.lower() == newcomer.account.email.lower():
                raise EmailTaken
        self.newcomers.append(newcomer)
        self.sessions[newcomer.session.id] = newcomer.session

    async def by_login(self, login: str) -> tuple[Account, str | None] | None:
        """Find by name or address."""
        found = (n for n in self.newcomers if login in (n.account.username, n.account.email))
        return next(((n.account, n.password_hash) for n in found), None)

    async def by_identity(self, provider: str, subject: str) -> Account | None:
        """Find by identity."""
        known = ((n.identity, n.account) for n in self.newcomers if n.identity is not None)
        return next((a for i, a in known if (i.provider, i.subject) == (provider, subject)), None)

    async def by_id(self, user_id: str) -> Account:
        """Find by id."""
        return next(n.account for n in self.newcomers if n.account.id == user_id)

    async def add_session(self, session: Session) -> None:
        """Store a session."""
        self.sessions[session.id] = session

    async def end_session(self, session_id: str) -> None:
        """Drop a session."""
        self.sessions.pop(session_id, None)

    async def end_sessions(self, user_id: str) -> Sequence[str]:
        """Drop a person's sessions."""
        ended = [s.id for s in self.sessions.values() if s.user_id == user_id]
        for session_id in ended:
            del self.sessions[session_id]
        return ended

    # Sessions
    async def keep(self, session: Session) -> None:
        """Keep nothing beside the table."""

    async def get(self, session_id: str) -> Session:
        """Read the table."""
        if session_id not in self.sessions:
            raise SessionEnded
        return self.sessions[session_id]

    async def forget(self, session_ids: Sequence[str]) -> bool:  # noqa: ARG002 -- the port's signature
        """Say whether the cache is there."""
        return self.is_cache_there

    # Profiles
    async def create(self, profile: NewProfile) -> None:  # noqa: ARG002 -- the port's signature
        """Create, or not."""
        if not self.has_profile:
            raise Unreachable

    # Signer
    def sign(self, claims: Claims) -> str:
        """Return the claims as they are."""
        return f"{claims.user_id} {claims.session_id} {claims.expires_at_s}"

    async def read(self, token: str) -> Claims:
        """Read them again."""
        user_id, session_id, expires_at_s = token.split()
        if int(expires_at_s) <= self.now_s:
            raise TokenInvalid
        return Claims(user_id=user_id, session_id=session_id, expires_at_s=int(expires_at_s))

    # Attempts
    async def count(self, account: str, address: str) -> None:  # noqa: ARG002 -- the port's signature
        """Refuse one address."""
        if address == "flooded":
            raise TooMany(7)

    # Passwords
    async def hash(self, password: str) -> str:
        """Hash nothing."""
        return password

    async def is_right(self, password: str, hashed: str | None) -> bool:
        """Compare."""
        return password == hashed


def parts(world: World) -> tuple[Auth, Reception]:
    """Return the rules over a world."""
    auth = Auth(
        accounts=world,
        sessions=world,
        signer=world,
        on_forgotten=world.forgotten.extend,
        new_id=new_id,
        new_secret=world.secret,
        now_s=lambda: world.now_s,
    )
    reception = Reception(
        auth=auth,
        accounts=world,
        profiles=world,
        passwords=world,
        attempts=world,
        on_delivered=lambda _: None,
        new_id=new_id,
        new_secret=world.secret,
    )
    return auth, reception


async def test_a_token_ends_before_its_session_does() -> None:
    """15 minutes, and less when the session has less left; a session of 24 h is over after 24 h."""
    world = World()
    auth, reception = parts(world)
    admission = await reception.enter(ANN)
    world.now_s += SESSION_S - 60
    renewal = await auth.refresh(admission.refresh_token)
    assert renewal.lasts_s == 60
    assert (await auth.check(renewal.token)).expires_at_s == admission.session.expires_at_s
    world.now_s += 60
    with pytest.raises(SessionEnded):
        await auth.refresh(admission.refresh_token)
    with pytest.raises(TokenInvalid):
        await auth.check(renewal.token)


async def test_a_refresh_token_is_not_kept_as_it_is() -> None:
    """The session knows a hash, and the token is none of it."""
    world = World()
    _, reception = parts(world)
    admission = await reception.enter(ANN)
    secret = admission.refresh_token.partition(".")[2]
    assert secret not in admission.session.refresh_hash
    assert TOKEN_S < SESSION_S


@pytest.mark.parametrize("is_cache_there", [True, False])
async def test_what_the_cache_could_not_forget_is_left_to_the_outbox(is_cache_there: bool) -> None:
    """Only sessions that are gone from the cache are reported as such."""
    world = World(is_cache_there=is_cache_there)
    auth, reception = parts(world)
    first, second = await reception.enter(ANN), await reception.enter(ANN)
    await auth.logout_everywhere(first.account.id)
    assert world.sessions == {}
    assert set(world.forgotten) == ({first.session.id, second.session.id} if is_cache_there else set())


async def test_a_newcomer_by_a_provider_resembles_the_one_there() -> None:
    """A free name is taken as it is, another gets an ending, and odd ones become names."""
    world = World(has_profile=False)
    _, reception = parts(world)
    assert (await reception.enter(ANN)).profile == "pending"
    names = []
    for number, login in enumerate(("ann", "!!", "a", "Zoë O'Neil", "x" * 60)):
        identity = replace(ANN, subject=f"s{number}", email=f"{number}@example.org", login=login)
        names.append((await reception.enter(identity)).account.username)
    assert names[0].startswith("ann_")
    assert names[1:] == ["user", "a__", "Zo_O_Neil", "x" * 40]


async def test_an_address_of_somebody_else_is_refused_and_a_twin_is_not() -> None:
    """The same identity finds its account whatever its address is by now; another one with the address does not."""
    world = World()
    _, reception = parts(world)
    admission = await reception.enter(ANN)
    again = await reception.enter(replace(ANN, email="new@example.org"))
    assert again.account == admission.account
    with pytest.raises(EmailTaken):
        await reception.enter(replace(ANN, subject="8", login="other"))


async def test_an_account_without_a_password_has_no_password() -> None:
    """Not even the empty one; and a flooded address is refused before anything is compared."""
    world = World()
    _, reception = parts(world)
    await reception.enter(ANN)
    with pytest.raises(Exception, match="wrong"):
        await reception.login("ann", "", address="here")
    with pytest.raises(TooMany) as refused:
        await reception.login("ann", "", address="flooded")
    assert refused.value.retry_after_s == 7


# --- flows -------------------------------------------------------------------------------------------


class Sure:
    """A provider that knows everybody."""

    async def authorize_url(self, *, redirect_uri: str, state: str, nonce: str, challenge: str) -> str:
        """Return what it was given."""
        return f"{redirect_uri} {state} {nonce} {challenge}"

    async def identify(self, *, code: str, redirect_uri: str, verifier: str, nonce: str) -> Identity:
        """Return Ann."""
        return ANN if all((code, redirect_uri, verifier, nonce)) else replace(ANN, subject="nobody")


async def begun(then: str = "") -> tuple[Flows, Flow]:
    """Return a flow under way."""
    world = World()
    flows = Flows({"github": Sure(), "google": Sure()}, new_secret=world.secret)
    _, flow = await flows.begin("github", origin="http://here", then=then)
    return flows, flow


async def test_a_flow_ends_where_it_began() -> None:
    """State and provider are its own, and an error or no code lets nobody in."""
    flows, flow = await begun()
    assert await flows.end(flow, provider="github", state=flow.state, code="c", error="") == ANN
    for provider, state in (("google", flow.state), ("github", "x"), ("github", ""), ("github", "é")):
        with pytest.raises(FlowBroken):
            await flows.end(flow, provider=provider, state=state, code="c", error="")
    for code, error in (("", ""), ("c", "access_denied")):
        with pytest.raises(LoginRefused):
            await flows.end(flow, provider="github", state=flow.state, code=code, error=error)


async def test_secrets_of_a_flow_are_three() -> None:
    """State, nonce and verifier are not the same, and the verifier is not sent."""
    flows, flow = await begun()
    assert len({flow.state, flow.nonce, flow.verifier}) == 3
    url, again = await flows.begin("google", origin="http://here", then="")
    assert again.verifier not in url


@pytest.mark.parametrize(
    ("then", "kept"),
    [
        ("/", "/"),
        ("/home?tab=1#top", "/home?tab=1#top"),
        ("", ""),
        ("home", ""),
        ("//evil.example", ""),
        ("/\\evil.example", ""),
        ("https://evil.example", ""),
        ("javascript:alert(1)", ""),
        ("/a\r\nSet-Cookie: x=y", ""),
        ("/\t/evil.example", ""),
    ],
)
async def test_afterwards_nobody_is_sent_to_another_site(then: str, kept: str) -> None:
    """Only a path of this site is kept."""
    _, flow = await begun(then)
    assert flow.then == kept


async def test_a_sealed_flow_is_opened_by_the_platform_alone() -> None:
    """It does not show its secrets, and neither another platform's nor a changed one is opened."""
    _, flow = await begun()
    seal = Seal("service token")
    sealed = seal.close(flow)
    assert seal.open(sealed) == flow
    assert Seal("service token").open(sealed) == flow  # another instance
    assert flow.verifier not in sealed
    for wrong in (Seal("another platform").close(flow), sealed[:-4] + "AAA=", "", "é", "x.y.z"):
        with pytest.raises(FlowBroken):
            seal.open(wrong)


# --- keys --------------------------------------------------------------------------------------------


class Table:
    """The table of keys, shared by instances."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.keys: list[StoredKey] = []
        self.reads = 0

    async def share(self, kid: str, pem: str) -> Sequence[StoredKey]:
        """Store the first key."""
        if not self.keys:
            self._add(kid, pem, 0.0)
        return list(self.keys)

    async def all(self) -> Sequence[StoredKey]:
        """Read."""
        self.reads += 1
        await asyncio.sleep(0)
        return list(self.keys)

    async def rotate(self, kid: str, pem: str, plan: Rotation) -> Sequence[StoredKey]:
        """Store a key that follows."""
        gone_at_s = self.world.now_s + plan.signs_in_s + plan.keeps_s
        self.keys = [replace(k, gone_at_s=k.gone_at_s or gone_at_s) for k in self.keys]
        self._add(kid, pem, plan.signs_in_s)
        return list(self.keys)

    def _add(self, kid: str, pem: str, signs_in_s: float) -> None:
        now_s = self.world.now_s
        self.keys.append(
            StoredKey(kid=kid, pem=pem, created_at_s=now_s, signs_from_s=now_s + signs_in_s, gone_at_s=None)
        )


def ids(keys: Keys) -> list[str]:
    """Return what is published."""
    return [str(key["kid"]) for key in keys.published()]


async def test_a_key_is_known_before_it_signs_and_after_it_signed() -> None:
    """Published at once, signing when its time has come; the one before is good for checking until it is gone."""
    world = World(now_s=time.time())
    claims = Claims(user_id="u", session_id="s", expires_at_s=int(world.now_s) + 900)
    keys = Keys(Table(world), lambda: world.now_s)
    with pytest.raises(KeyMissing):
        keys.sign(claims)
    with pytest.raises(KeyMissing):
        await keys.read("x.y.z")
    await keys.load()
    old = keys.sign(claims)
    await keys.rotate(Rotation(signs_in_s=10, keeps_s=20))
    assert len(ids(keys)) == 2
    assert keys.sign(claims) == old
    world.now_s += 10
    new = keys.sign(claims)
    assert new != old
    assert await keys.read(old) == await keys.read(new) == claims
    world.now_s += 20
    assert len(ids(keys)) == 1
    assert await keys.read(new) == claims
    with pytest.raises(TokenInvalid):
        await keys.read(old)


async def test_a_key_of_another_instance_is_looked_for_once() -> None:
    """However many tokens come with it at the same time, and however many forged ones come after it."""
    world = World(now_s=time.time())
    table = Table(world)
    claims = Claims(user_id="u", session_id="s", expires_at_s=int(world.now_s) + 900)
    ours, theirs, strangers = (
        Keys(table, lambda: world.now_s),
        Keys(table, lambda: world.now_s),
        Keys(Table(world), lambda: world.now_s),
    )
    for keys in (ours, theirs, strangers):
        await keys.load()
    await theirs.rotate(Rotation(signs_in_s=0, keeps_s=60))
    token = theirs.sign(claims)
    assert await asyncio.gather(*(ours.read(token) for _ in range(20))) == [claims] * 20
    assert table.reads == 1
    for _ in range(20):
        with pytest.raises(TokenInvalid):
            await ours.read(strangers.sign(claims))
    assert table.reads == 1


async def test_a_key_grows_old() -> None:
    """Only the newest counts."""
    world = World(now_s=time.time())
    keys = Keys(Table(world), lambda: world.now_s)
    assert not keys.is_due(0)
    await keys.load()
    world.now_s += 11
    assert keys.is_due(10)
    await keys.rotate(Rotation())
    assert not keys.is_due(10)


# --- the queue of passwords ----------------------------------------------------------------------------


async def test_passwords_beyond_the_queue_are_refused_at_once() -> None:
    """Two are hashed, eight wait, the eleventh is told to come again; afterwards there is room."""
    passwords = Bcrypt(8)
    try:
        outcomes = await asyncio.gather(*(passwords.hash("a password") for _ in range(13)), return_exceptions=True)
        assert [isinstance(outcome, TooBusy) for outcome in outcomes] == [False] * 10 + [True] * 3
        assert await passwords.is_right("a password", await passwords.hash("a password"))
        assert not await passwords.is_right("", None)
    finally:
        passwords.close()
