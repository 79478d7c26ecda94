"""A socket that says what no phone has reason to say."""

import socket
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

import websocket

OPERATION: Final = "garbage"
_PATH: Final = "/socket.io/?EIO=4&transport=websocket"
_PATIENCE_S: Final = 5.0


def is_closed_by(
    frame: str | bytes, *, gateway: str, headers: Mapping[str, str], source: tuple[str, int] | None
) -> bool:
    """Open a socket, send a frame, and claim that the other side closes it within 5 s.

    Raises:
        OSError: the socket was not opened; whoever floods is not let in either.
    """
    parts = urlsplit(gateway)
    address = (parts.hostname or "127.0.0.1", parts.port or 80)
    kind = websocket.ABNF.OPCODE_BINARY if isinstance(frame, bytes) else websocket.ABNF.OPCODE_TEXT
    with socket.create_connection(address, timeout=_PATIENCE_S, source_address=source) as line:
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
