"""Words that a shell completes: scenarios, components, promises, platforms, Runs.

A shell asks after each press of a key, so nothing heavy is imported here, and no word is worth an error.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

from tracelab import settings

_RUNS = 30

Names = list[tuple[str, str]]  # word and what it is


def _quietly(names: Callable[[], Iterator[tuple[str, str]]]) -> Callable[[str], Names]:
    """Return a completion of the names that begin as what was typed; where they cannot be read there are none."""

    def complete(incomplete: str) -> Names:
        try:
            return [(name, help_) for name, help_ in names() if name.startswith(incomplete)]
        except Exception:  # noqa: BLE001 -- the shell would write a traceback into what is being typed
            return []

    complete.__doc__ = names.__doc__
    return complete


@_quietly
def scenarios() -> Iterator[tuple[str, str]]:
    """Yield the scenarios."""
    from tracelab.load.scenario import names

    for name in names():
        yield name, ""


@_quietly
def components() -> Iterator[tuple[str, str]]:
    """Yield the components and parts of the runtime that have a log."""
    from tracelab.platform.social import SOCIAL

    for component in SOCIAL.components:
        yield component.name, component.kind.value
    for part in ("proxy", "supervisor", "watchdog", "zygote"):
        yield part, "runtime"


@_quietly
def targets() -> Iterator[tuple[str, str]]:
    """Yield what can be harmed or restarted: groups, components, and instances as far as a platform is up."""
    from tracelab.platform import handle
    from tracelab.platform.social import SOCIAL

    groups = dict.fromkeys(c.group for c in SOCIAL.components if c.group)
    for group in groups:
        yield group, " ".join(c.name for c in SOCIAL.components if c.group == group)
    for component in SOCIAL.components:
        yield component.name, component.kind.value
    if settings.platform_name() in handle.names(settings.home()):
        platform = handle.load(settings.home(), settings.platform_name())
    else:
        return
    for instance in sorted(platform.instances):
        yield instance, "instance"


@_quietly
def promises() -> Iterator[tuple[str, str]]:
    """Yield the promises that we ship, by the names of their files."""
    import tracelab

    package = Path(tracelab.__file__).parent
    bundled = package / "_bundled" / "chaos"
    for path in sorted((bundled if bundled.is_dir() else package.parents[1] / "chaos").glob("*.yaml")):
        yield path.stem, ""


@_quietly
def platforms() -> Iterator[tuple[str, str]]:
    """Yield the platforms that are up."""
    from tracelab.platform import handle

    for name in handle.names(settings.home()):
        yield name, ""


@_quietly
def runs() -> Iterator[tuple[str, str]]:
    """Yield the newest Runs by their folders' names, without reading them, and `last`."""
    from tracelab.platform.handle import runs_folder

    yield "last", "the newest finished"
    folder = runs_folder(settings.home())
    names = sorted((p.name for p in folder.iterdir() if not p.name.startswith(".")), reverse=True)
    for name in names[:_RUNS]:
        yield name, ""
