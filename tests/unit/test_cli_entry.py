"""What the entry of the command line does with Ctrl-C."""

import signal
from collections.abc import Iterator

import pytest

from tracelab.cli import entry
from tracelab.errors import ExitCode

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Give pytest its own handlers back."""
    kept = {number: signal.getsignal(number) for number in _SIGNALS}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_waits_until_the_import_system_lets_go(number: signal.Signals) -> None:
    """Its callbacks print what is raised in them and go on, so that a Ctrl-C would be lost there."""
    assert entry.run(["--version"]) == ExitCode.OK  # takes the signals
    names: dict[str, object] = {"signal": signal, "number": number}
    text = "signal.raise_signal(number)\nwas_left_alone = True"
    exec(compile(text, "<frozen importlib._bootstrap>", "exec"), names)  # noqa: S102 -- a frame of that name
    assert names["was_left_alone"]
    with pytest.raises(KeyboardInterrupt):
        signal.pause()


def test_an_interrupt_is_raised_at_once_elsewhere() -> None:
    """Wherever else the program is."""
    assert entry.run(["--version"]) == ExitCode.OK
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
