"""Every fault by its verb. A new one is one module, and one line here."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

from tracelab.chaos import errors, kill, partition, pause, slow, storefault
from tracelab.chaos.fault import Fault
from tracelab.chaos.planned import PlannedHarm, Setting
from tracelab.chaos.site import Site
from tracelab.errors import UnknownName, UsageError


class Build(Protocol):
    """Makes a fault against a platform, or refuses before anything is harmed."""

    def __call__(self, site: Site, target: str, settings: Mapping[str, str], *, ttl_s: float) -> Fault:
        """Return the fault."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of fault: what can be said of it, and what a runtime must be able to do (a word of `Capability`).

    One that `is_alone` is refused where another fault harms the same; deaths may overlap, the last to end brings back.
    """

    name: str
    needs: str
    build: Build
    settings: tuple[Setting, ...] = ()
    is_alone: bool = True


def _to_store(kind: str, site: Site, target: str, settings: Mapping[str, str], *, ttl_s: float) -> Fault:
    return storefault.build(site, kind, target, settings, ttl_s=ttl_s)


KINDS: Final[dict[str, Kind]] = {
    kind.name: kind
    for kind in (
        Kind(name="kill", needs="kill", build=kill.build, is_alone=False),
        Kind(name="stop", needs="stop", build=kill.build_stop, is_alone=False),
        Kind(name="pause", needs="pause", build=pause.build),
        Kind(name="cpu", needs="squeeze", build=pause.build_cpu, settings=pause.CPU_SETTINGS),
        Kind(name="partition", needs="partition-edge", build=partition.build, settings=partition.SETTINGS),
        Kind(name="slow", needs="shape-edge", build=slow.build, settings=slow.SETTINGS),
        Kind(name="errors", needs="shape-edge", build=errors.build, settings=errors.SETTINGS),
        *(
            Kind(
                name=name,
                needs="enter-store",
                build=partial(_to_store, name),
                settings=storefault.LOCK_SETTINGS if name == "lock" else (),
            )
            for name in ("readonly", "lock", "exhaust", "lag", "hang", "full", "flush")
        ),
    )
}


def kind_of(name: str) -> Kind:
    """Return a kind of fault.

    Raises:
        UnknownName: no fault is called so.
    """
    if name not in KINDS:
        raise UnknownName("fault", name, KINDS, hint="tracelab chaos --help")
    return KINDS[name]


def settled(harm: PlannedHarm) -> PlannedHarm:
    """Return a harm whose settings are known and can be understood, without those that say the default.

    Raises:
        UnknownName: it says something that this fault does not know.
        UsageError: what it says cannot be understood.
    """
    known = {setting.name: setting for setting in kind_of(harm.fault).settings}
    settings = {}
    for name, value in harm.settings.items():
        if name not in known:
            raise UnknownName("setting", name, known, hint=f"tracelab chaos {harm.fault} --help")
        setting = known[name]
        if setting.is_flag and value not in ("true", "false"):
            raise UsageError(f"{name}: it is said (true) or not (false), not {value!r}")
        setting.read(value)
        if value != setting.default and not (setting.is_flag and value == "false"):
            settings[name] = value
    return PlannedHarm(fault=harm.fault, target=harm.target, for_s=harm.for_s, settings=settings)
