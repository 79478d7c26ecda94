"""Look at an address the way a caller would: does it accept, how soon does it answer, and with what."""

import socket
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tracelab.conventions import HEADER_FAULT
from tracelab.platform.topology import Protocol

CONNECT_S: Final = 0.5
_SSL_REQUEST: Final = (8).to_bytes(4, "big") + (80877103).to_bytes(4, "big")


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """How one attempt ended: ``accepted``, ``answered``, ``refused``, ``reset``, ``timed out``, ``failed (...)``.

    `status` is that of an HTTP answer, else 0; `fault` the name of the toxic that answered in the server's place.
    """

    outcome: str
    took_ms: float
    status: int = 0
    fault: str = ""


def connect(address: str, *, timeout_s: float = CONNECT_S) -> Seen:
    """Connect, and hang up."""
    return _attempt(address, b"", timeout_s)


def ask(address: str, protocol: Protocol, *, timeout_s: float, headers: Mapping[str, str] | None = None) -> Seen:
    """Connect and ask something harmless of that protocol, in no trace; ends with the first bytes of an answer."""
    if protocol is Protocol.POSTGRESQL:
        question = _SSL_REQUEST
    elif protocol is Protocol.REDIS:
        question = b"PING\r\n"
    else:
        lines = [f"{name}: {value}\r\n" for name, value in (headers or {}).items()]
        head = f"GET /health/live HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{''.join(lines)}\r\n"
        question = head.encode()
    return _attempt(address, question, timeout_s)


def answer_ms(
    address: str, protocol: Protocol, *, timeout_s: float, attempts: int, headers: Mapping[str, str] | None = None
) -> float | None:
    """Return the median time of some answers in ms; None where none came."""
    seen = [ask(address, protocol, timeout_s=timeout_s, headers=headers) for _ in range(attempts)]
    times = [each.took_ms for each in seen if each.outcome == "answered"]
    return statistics.median(times) if times else None


def _attempt(address: str, question: bytes, timeout_s: float) -> Seen:
    host, _, port = address.rpartition(":")
    begun = time.perf_counter()
    answer = b""
    try:
        with socket.create_connection((host, int(port)), timeout=timeout_s) as peer:
            if question:
                peer.sendall(question)
                answer = peer.recv(4096)
        outcome = "accepted" if not question else "answered" if answer else "hung up"
    except ConnectionRefusedError:
        outcome = "refused"
    except (ConnectionResetError, BrokenPipeError):
        outcome = "reset"
    except TimeoutError:
        outcome = "timed out"
    except OSError as cause:
        outcome = f"failed ({cause.strerror})"
    took_ms = (time.perf_counter() - begun) * 1000
    status, fault = _http(answer)
    return Seen(outcome=outcome, took_ms=took_ms, status=status, fault=fault)


def _http(answer: bytes) -> tuple[int, str]:
    lines = answer.decode("latin-1").split("\r\n")
    words = lines[0].split()
    if len(words) < 2 or not words[0].startswith("HTTP/") or not words[1].isdigit():
        return 0, ""
    named = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    return int(words[1]), named.get(HEADER_FAULT.lower(), "")
