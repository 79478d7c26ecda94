"""Tend a platform that is up: restart parts of it, bring its data to a known state."""

from contextlib import suppress
from typing import Any

from tracelab.errors import InfrastructureError, UsageError
from tracelab.experiment.collecting import CollectorClient
from tracelab.experiment.injection import topology_of
from tracelab.experiment.record import is_recording
from tracelab.platform.handle import Platform
from tracelab.runtimes.port import Capability, OnEvent, Runtime, Tending


def observed(platform: Platform) -> dict[str, Any]:
    """Return what the collector knows of caches, stores and the backend beside ours; empty where it does not answer."""
    if platform.collector:
        with suppress(InfrastructureError):
            return CollectorClient(platform.collector).status()
    return {}


def restart(platform: Platform, runtime: Runtime, word: str, on_event: OnEvent) -> tuple[str, ...]:
    """Restart what a word means, one instance after another; return the instances.

    Raises:
        UnknownName: the word names nothing that is up.
        UsageError: the runtime cannot.
    """
    tending = _tending(runtime, Capability.RESTART)
    instances = topology_of(platform).targets(word)
    tending.restart(platform, instances, on_event)
    return instances


def reset(platform: Platform, runtime: Runtime, on_event: OnEvent) -> None:
    """Remove everything that people left: accounts, posts, messages, objects, cached values, sessions.

    Raises:
        UsageError: the runtime cannot, or a Run is being recorded, which would be one of two platforms.
    """
    tending = _tending(runtime, Capability.RESET)
    busy = is_recording(platform)
    if busy is not None:
        raise UsageError(f"run {busy} is being recorded on this platform", hint="tracelab reset, when it has ended")
    tending.reset(platform, on_event)


def _tending(runtime: Runtime, capability: Capability) -> Tending:
    if capability not in runtime.capabilities or not isinstance(runtime, Tending):
        raise UsageError(f"runtime {runtime.name} cannot {capability}", hint="tracelab up --runtime embedded")
    return runtime
