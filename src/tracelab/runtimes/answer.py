"""What to say to a server, and what its answer means: is it ready? Pure bytes, and light to import: health checks are.

Each ``*_question`` returns what is sent, each ``*_why_not`` reads the answer: why the server is not ready, or None.
"""

HOST = "127.0.0.1"


def http_question(path: str) -> bytes:
    """GET a path."""
    return f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\nAccept: */*\r\n\r\n".encode()


def http_why_not(path: str, reply: bytes, *, expected: int | None = 200) -> str | None:
    """Read an HTTP answer; ready when the status is `expected` (any, where that is None)."""
    head, _, body = reply.decode(errors="replace").partition("\r\n\r\n")
    words = head.split(None, 2)
    status = words[1] if len(words) > 1 else "nothing"
    if words and words[0].startswith("HTTP/") and expected in (None, int(status) if status.isdigit() else -1):
        return None
    return f"GET {path} answered {status}: {' '.join(body.split())[:200]}"


def redis_question(password: str) -> bytes:
    """AUTH and PING."""
    return f"AUTH {password}\r\nPING\r\nQUIT\r\n".encode()


def redis_why_not(reply: bytes) -> str | None:
    """Read a cache's answer."""
    said = reply.decode(errors="replace")
    return None if "+PONG" in said else f"PING answered {' '.join(said.split())[:100]!r}"


def postgresql_question(role: str) -> bytes:
    """Begin to log in, as ``pg_isready`` does."""
    words = b"".join(f"{word}\0".encode() for word in ("user", role, "database", role)) + b"\0"
    return (8 + len(words)).to_bytes(4) + (196608).to_bytes(4) + words


def postgresql_why_not(reply: bytes) -> str | None:
    """Read a database's answer; it is ready when it asks for the password instead of refusing."""
    if reply.startswith(b"R"):
        return None
    fields = [field for field in reply[5:].decode(errors="replace").split("\0") if field.startswith("M")]
    return f"PostgreSQL says {fields[0][1:]!r}" if fields else "PostgreSQL hung up"
