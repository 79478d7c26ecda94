"""The contract, held against the embedded platform; a twin's tests look like this file."""

from collections.abc import AsyncIterator, Sequence
from functools import partial
from urllib.request import urlopen

import pytest

from tracelab.experiment.collecting import CollectorClient
from tracelab.platform.handle import Platform
from tracelab.store.logs import read_logs
from tracelab.store.reader import open_spans
from tracelab.testing.contract.auth import AuthContract
from tracelab.testing.contract.feed import FeedContract
from tracelab.testing.contract.flows import FlowContract
from tracelab.testing.contract.gateway import GatewayContract
from tracelab.testing.contract.inside import SERVICES, InsideContract
from tracelab.testing.contract.media import MediaContract
from tracelab.testing.contract.messaging import MessagingContract
from tracelab.testing.contract.profile import ProfileContract
from tracelab.testing.contract.signals import SignalContract
from tracelab.testing.contract.target import Contract, Log, Target, contract_of
from tracelab.traces.span import Span

pytestmark = pytest.mark.platform


def spans(platform: Platform, since_ns: int) -> Sequence[Span]:
    """Return what the collector has, once everything is there."""
    CollectorClient(platform.collector).flush()
    since_ns -= 1_000_000_000  # the gateway's own times are coarse where it has to wait for a processor
    return [s for s in open_spans(platform.folder / "traffic" / "spans").spans() if s.start_ns >= since_ns]


def logs(platform: Platform) -> Sequence[Log]:
    """Return all records, once everything is there."""
    CollectorClient(platform.collector).flush()
    return list(read_logs(platform.folder / "traffic" / "logs"))


def metrics(platform: Platform) -> str:
    """Return Prometheus' text."""
    with urlopen(platform.urls["metrics"], timeout=10) as reply:
        return str(reply.read().decode())


@pytest.fixture
async def contract(platform: Platform) -> AsyncIterator[Contract]:
    """The platform, and people who use it."""
    target = Target(
        gateway=platform.gateway,
        services={name: f"http://127.0.0.1:{platform.instances[f'{name}#1']}" for name in SERVICES},
        service_token=platform.service_token,
        spans=partial(spans, platform),
        logs=partial(logs, platform),
        metrics=partial(metrics, platform),
    )
    async with contract_of(target) as opened:
        yield opened


class TestAuth(AuthContract):
    """Our auth."""


class TestProfile(ProfileContract):
    """Our profile."""


class TestFeed(FeedContract):
    """Our feed."""


class TestMessaging(MessagingContract):
    """Our messaging."""


class TestMedia(MediaContract):
    """Our media."""


class TestGateway(GatewayContract):
    """Our gateway."""


class TestInside(InsideContract):
    """Our instances."""


class TestFlows(FlowContract):
    """Our traces."""


class TestSignals(SignalContract):
    """Our metrics and logs."""
