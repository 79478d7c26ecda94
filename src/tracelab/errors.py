"""One tree of errors; each says what was expected, what was seen, and what to type next."""

import difflib
from collections.abc import Iterable
from enum import IntEnum


class ExitCode(IntEnum):
    """What a command's exit status means; 5 outranks 130, which outranks 2, then 1, 4, 3."""

    OK = 0
    FAILED = 1
    USAGE = 2
    INCONCLUSIVE = 3
    INVALID = 4
    NOT_UNDONE = 5
    INTERRUPTED = 130


class TracelabError(Exception):
    """Anything that a person can mend: a message, and a hint that names the next command to type."""

    exit_code: ExitCode = ExitCode.USAGE

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(TracelabError):
    """What was typed, or what a file says, cannot be understood."""


class UnknownName(UsageError):
    """A word that names nothing; the message lists the near ones."""

    def __init__(self, kind: str, name: str, known: Iterable[str], *, hint: str | None = None) -> None:
        names = sorted(known)
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
        if near:
            tail = "did you mean " + " or ".join(repr(n) for n in near) + "?"
        elif names:
            tail = "known: " + ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
        else:
            tail = f"there is no {kind} yet"
        super().__init__(f"no {kind} is called {name!r}; {tail}", hint=hint)
        self.near = near


class InfrastructureError(TracelabError):
    """The machine refused something: a port, a binary, a disk, a process that never became ready."""


class PlatformDown(InfrastructureError):
    """A command needs a running platform and there is none."""


class InvalidRun(TracelabError):
    """A Run that cannot be judged: a lost platform, a saturated generator, unexplained span loss."""

    exit_code = ExitCode.INVALID


class NotUndone(TracelabError):
    """A fault is still there although everything that could heal it was tried."""

    exit_code = ExitCode.NOT_UNDONE
