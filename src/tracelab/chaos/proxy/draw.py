"""Random decisions that can be repeated: each depends on what it decides about, not on what was decided before."""

import hashlib
import random
import struct

from tracelab.chaos.proxy.direction import Direction

_OF_64_BITS = 2.0**-64


def _digest(seed: int, proxy: str, connection: int, direction: Direction, toxic: str, number: int) -> int:
    text = "\0".join((str(seed), proxy, str(connection), direction, toxic, str(number)))
    (value,) = struct.unpack("<Q", hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest())
    return int(value)


def share(seed: int, proxy: str, connection: int, direction: Direction, toxic: str, number: int = 0) -> float:
    """Return a share, even over [0, 1); a toxic applies where it is less than the toxicity.

    So a connection that is hit at a toxicity of 0.2 stays hit when that grows to 0.5.
    """
    return (_digest(seed, proxy, connection, direction, toxic, number) >> 11) * 2048 * _OF_64_BITS


def numbers(seed: int, proxy: str, connection: int, direction: Direction, toxic: str) -> random.Random:
    """Return the random numbers of one toxic on one direction of one connection."""
    return random.Random(_digest(seed, proxy, connection, direction, toxic, -1))
