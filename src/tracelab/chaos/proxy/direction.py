"""The two directions of a connection, as Toxiproxy names them."""

from enum import StrEnum


class Direction(StrEnum):
    """Which way bytes flow."""

    UPSTREAM = "upstream"  # from the client to the server
    DOWNSTREAM = "downstream"  # from the server to the client
