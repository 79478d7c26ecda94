"""The promise turns red when what it rests on is broken on purpose; a green one that cannot is worth nothing."""

from collections.abc import Iterator

import pytest

from tracelab import settings
from tracelab.experiment import boot, harm
from tracelab.experiment.event import Event
from tracelab.platform.handle import Platform
from tracelab.platform.social import SOCIAL
from tracelab.runtimes.port import UpOptions
from tracelab.verdict import Finding, Verdict


def _silent(_event: Event) -> None:
    """Take an event and do nothing."""


@pytest.fixture
def broken(platform: Platform) -> Iterator[Platform]:
    """A platform whose services do not fall back when a cache is away."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRACELAB_TEST_BREAK", "cache-fallback")
        options = UpOptions(home=settings.home(), name="broken")
        booted = boot.up(SOCIAL, options, runtime_name="embedded", on_event=_silent)
    yield booted
    boot.down(booted, _silent)


def _kill_the_caches(platform: Platform) -> list[Finding]:
    options = harm.Options(fault="kill", target="redis", hold_s=12, seed=5)
    told = harm.harm(platform, boot.runtime(platform.runtime), options, on_event=_silent)
    assert told.findings is not None
    return [f for f in told.findings if f.id == "redis.down"]


@pytest.mark.platform
def test_any_cache_may_die(platform: Platform) -> None:
    """With the caches killed everybody is served, from the database, without a stampede, and it is over soon."""
    findings = _kill_the_caches(platform)
    assert findings
    assert {f.verdict for f in findings} <= {Verdict.PASS, Verdict.INCONCLUSIVE}, [f.message for f in findings]
    kept = {f.subject for f in findings if f.verdict is Verdict.PASS}
    assert "users: *" in kept, [f.message for f in findings]  # the fault is lengthened until this is decided


@pytest.mark.platform
def test_the_promise_is_broken_where_the_fallback_is(broken: Platform) -> None:
    """Without the fallback people get errors, and the verdict says so."""
    findings = _kill_the_caches(broken)
    assert Verdict.FAIL in {f.verdict for f in findings}
