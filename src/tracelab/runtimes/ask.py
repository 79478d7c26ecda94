"""Ask a server of this machine whether it is ready: ``python -m tracelab.runtimes.ask PROTOCOL PORT [WORD]``.

A container's health check: it says why not on standard output, and ends with 1. It imports next to nothing, since an
engine runs it again and again beside what is measured.
"""

import socket
import sys

from tracelab.runtimes import answer

_TIMEOUT_S = 3.0
_ENOUGH_BYTES = 16384


def why_not(protocol: str, port: int, word: str = "") -> str | None:
    """Ask as `tracelab.runtimes.probe.Question` does, without an event loop; None when it is ready."""
    question = {
        "http": answer.http_question,
        "redis": answer.redis_question,
        "postgresql": answer.postgresql_question,
    }[protocol](word)
    try:
        reply = _exchange(port, question, enough=1 if protocol == "postgresql" else _ENOUGH_BYTES)
    except OSError as cause:
        return f"port {port}: {cause.strerror or cause}"
    if protocol == "http":
        return answer.http_why_not(word, reply)
    return answer.redis_why_not(reply) if protocol == "redis" else answer.postgresql_why_not(reply)


def _exchange(port: int, question: bytes, *, enough: int) -> bytes:
    with socket.create_connection((answer.HOST, port), timeout=_TIMEOUT_S) as connection:
        connection.sendall(question)
        reply = b""
        while len(reply) < enough and (part := connection.recv(4096)):
            reply += part
        return reply


if __name__ == "__main__":
    refusal = why_not(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
    sys.stdout.write(f"{refusal or 'ready'}\n")
    sys.exit(1 if refusal else 0)
