"""The command line as a person meets it: a process of its own, what it says, and how it ends."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any

_RUNTIME = "TRACELAB_RUNTIME"
_TRACELAB = (sys.executable, "-m", "tracelab")
_ERROR = re.compile(r"^error: (?P<message>.*?)\nnext:  (?P<hint>.*)\Z", re.DOTALL | re.MULTILINE)
_COMMAND = re.compile(r"(?P<command>tracelab(?: [^;,( |]+)*)")
_POLL_S = 0.01
_can_be_typed: set[str] = set()  # hints that were tried


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """How a command ended. Neither of its two outputs holds a traceback."""

    code: int
    out: str
    err: str

    def __post_init__(self) -> None:
        assert "Traceback" not in self.out + self.err, self.out + self.err

    @property
    def message(self) -> str:
        """Return what the error said was wrong; the assertion fails where it was no error, or had no hint."""
        return self._error()["message"]

    @property
    def hint(self) -> str:
        """Return what the error said to type next."""
        return self._error()["hint"]

    def document(self) -> Any:
        """Return the one JSON document that stdout is."""
        return json.loads(self.out)

    def _error(self) -> dict[str, str]:
        found = _ERROR.search(self.err.strip())
        assert found, f"expected 'error: ...' and 'next:  ...' on stderr, seen: {self.err!r}"
        return found.groupdict()


class Running:
    """A command that has not ended, in a session of its own, as a shell's foreground job is."""

    def __init__(self, words: Sequence[str], environment: Mapping[str, str]) -> None:
        self._out = tempfile.NamedTemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 -- closed by `end`
        self._process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=self._out,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            start_new_session=True,
        )

    @property
    def said(self) -> str:
        """Return everything that it said so far, on both outputs."""
        return Path(self._out.name).read_text(encoding="utf-8")

    def until(self, text: str, *, timeout_s: float = 60.0) -> None:
        """Wait until it said something; the assertion fails where it ends before, or takes too long."""
        deadline = time.monotonic() + timeout_s
        while text not in self.said:
            is_over = self._process.poll() is not None or time.monotonic() > deadline
            assert not is_over or text in self.said, f"{text!r} was never said: {self.said}"
            time.sleep(_POLL_S)

    def interrupt(self, number: int = signal.SIGINT) -> None:
        """Send what the terminal sends on Ctrl-C: SIGINT to the command and to whatever it started."""
        os.killpg(self._process.pid, number)

    def end(self, *, timeout_s: float = 60.0) -> Reply:
        """Wait until it ends."""
        try:
            code = self._process.wait(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            raise AssertionError(f"still running after {timeout_s:g} s: {self.said}") from None
        said = self.said
        self._out.close()
        return Reply(code=code, out="", err=said)


class CommandLine:
    """Types commands over one state folder, with `environ` but for what is set for tracelab there.

    Of that, the choice of a runtime stays: whether an engine answers must not choose another one. Lines are wide, so
    that messages are not broken.
    """

    def __init__(self, home: Path, environ: Mapping[str, str]) -> None:
        self.home = home
        kept = {k: v for k, v in environ.items() if k == _RUNTIME or not (k.startswith("TRACELAB_") or k == "NO_COLOR")}
        ours = {"TRACELAB_HOME": str(home), "TRACELAB_BCRYPT_COST": "4", "COLUMNS": "400"}
        self.environment = {**kept, **ours}

    def run(
        self,
        *words: str,
        environment: Mapping[str, str] = MappingProxyType({}),
        before: Sequence[str] = (),
        out: IO[bytes] | None = None,
        timeout_s: float = 120.0,
    ) -> Reply:
        """Type a command and wait until it ends.

        `before` are words of a program that runs it (``unshare ...``); `out` takes stdout, instead of the reply.
        """
        done = subprocess.run(
            [*before, *_TRACELAB, *words],
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if out is None else out,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            timeout=timeout_s,
            env={**self.environment, **environment},
        )
        return Reply(code=done.returncode, out=done.stdout or "", err=done.stderr)

    def start(self, *words: str, environment: Mapping[str, str] = MappingProxyType({})) -> Running:
        """Type a command and go on."""
        return Running([*_TRACELAB, *words], {**self.environment, **environment})

    def refuses(
        self,
        *words: str,
        environment: Mapping[str, str] = MappingProxyType({}),
        before: Sequence[str] = (),
    ) -> Reply:
        """Type a command that must be refused: exit code 2, a message, and a hint that can be typed in turn."""
        reply = self.run(*words, environment=environment, before=before)
        assert reply.code == 2, reply
        found = _COMMAND.match(reply.hint)
        if found and found["command"] not in _can_be_typed:
            assert self.run(*found["command"].split()[1:], "--help").code == 0, f"{reply.hint!r} cannot be typed"
            _can_be_typed.add(found["command"])
        return reply
