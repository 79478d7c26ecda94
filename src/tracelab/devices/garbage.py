"""A socket that says what no phone has reason to say."""

import socket
import ssl
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

OPERATION: Final = "garbage"
_PATH: Final = "/socket.io/?EIO=4&transport=websocket"
_PATIENCE_S: Final = 5.0


def is_closed_by(
    frame: str | bytes,
    *,
    gateway: str,
    headers: Mapping[str, str],
    source: tuple[str, int] | None,
    trust: ssl.SSLContext | None = None,
) -> bool:
    """Open a socket, send a frame, and claim that the other side closes it within 5 s.

    Raises:
        OSError: the socket was not opened; whoever floods is not let in either.
    """
    import websocket  # not above: who only judges samples need not wait for it

    parts = urlsplit(gateway)
    host = parts.hostname or "127.0.0.1"
    address = (host, parts.port or (80 if trust is None else 443))
    kind = websocket.ABNF.OPCODE_BINARY if isinstance(frame, bytes) else websocket.ABNF.OPCODE_TEXT
    plain = socket.create_connection(address, timeout=_PATIENCE_S, source_address=source)
    with plain if trust is None else trust.wrap_socket(plain, server_hostname=host) as line:
        try:
            opened = websocket.create_connection(
                f"ws://{parts.netloc}{_PATH}",
                socket=line,
                header=[f"{name}: {value}" for name, value in headers.items()],
                timeout=_PATIENCE_S,
            )
        except websocket.WebSocketException as cause:
            raise ConnectionRefusedError(f"the socket was refused: {cause}") from cause
        try:
            opened.send(frame, kind)
            code = websocket.ABNF.OPCODE_TEXT
            while code != websocket.ABNF.OPCODE_CLOSE:  # what the server says first is its OPEN
                code, _ = opened.recv_data(control_frame=True)
        except (websocket.WebSocketTimeoutException, TimeoutError):
            return False
        except (websocket.WebSocketException, OSError):
            return True
    return True
