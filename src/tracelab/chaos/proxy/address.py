"""Addresses as Go's net package reads, resolves, binds and writes them, with its error texts."""

import asyncio
import ipaddress
import os
import socket
from dataclasses import dataclass

_BACKLOG = 1024  # with 100, a thousand clients at once took 7 s to connect
_PORTS = range(65536)


class AddressError(ValueError):
    """What Go would say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A resolved address; `ip` is empty for every address of the machine."""

    ip: str
    port: int

    def __str__(self) -> str:
        return f"[{self.ip}]:{self.port}" if ":" in self.ip else f"{self.ip}:{self.port}"

    @property
    def is_wildcard(self) -> bool:
        """Claim that it means every address of the machine."""
        return not self.ip or ipaddress.ip_address(self.ip).is_unspecified

    @property
    def family(self) -> socket.AddressFamily:
        """Return the family of a socket for it."""
        return socket.AF_INET6 if ":" in self.ip else socket.AF_INET


def split(text: str) -> tuple[str, str]:
    """Return host and port of ``host:port`` or ``[v6]:port``.

    Raises:
        AddressError: it is neither.
    """

    def wrong(why: str) -> AddressError:
        return AddressError(f"address {text}: {why}")

    colon = text.rfind(":")
    if colon < 0:
        raise wrong("missing port in address")
    if text.startswith("["):
        end = text.find("]")
        if end < 0:
            raise wrong("missing ']' in address")
        if end + 1 == len(text):
            raise wrong("missing port in address")
        if end + 1 != colon:
            raise wrong("too many colons in address" if text[end + 1] == ":" else "missing port in address")
        host, rest_open, rest_close = text[1:end], text[1:], text[end + 1 :]
    else:
        host, rest_open, rest_close = text[:colon], text, text
        if ":" in host:
            raise wrong("too many colons in address")
    if "[" in rest_open:
        raise wrong("unexpected '[' in address")
    if "]" in rest_close:
        raise wrong("unexpected ']' in address")
    return host, text[colon + 1 :]


def _port(text: str) -> int:
    digits = text[1:] if text[:1] in ("+", "-") else text
    if not digits:
        if text:
            raise AddressError(f"lookup tcp/{text}: unknown port")
        return 0
    if digits.isascii() and digits.isdigit():
        number = int(digits[:12]) * (-1 if text[0] == "-" else 1)
        if number not in _PORTS:
            raise AddressError(f"address {text}: invalid port")
        return number
    try:
        return socket.getservbyname(text, "tcp")
    except (OSError, ValueError):
        raise AddressError(f"lookup tcp/{text}: unknown port") from None


def is_literal(host: str) -> bool:
    """Claim that a host is an IP address, so that there is nothing to look up."""
    return _literal(host) is not None


def _literal(host: str) -> str | None:
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return None


async def resolve(text: str) -> Address:
    """Return what an address means; a name's first IPv4 address, if it has one.

    Only names need the network, and a thread.

    Raises:
        AddressError: it has no host or port that can be understood.
    """
    return (await resolve_all(text))[0]


async def resolve_all(text: str) -> list[Address]:
    """Return every address that a text means, IPv4 first.

    Raises:
        AddressError: it has no host or port that can be understood.
    """
    if not text:
        return [Address(ip="", port=0)]
    host, port_text = split(text)
    port = _port(port_text)
    if not host:
        return [Address(ip="", port=port)]
    if (ip := _literal(host)) is not None:
        return [Address(ip=ip, port=port)]
    try:
        infos = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, ValueError):
        raise AddressError(f"lookup {host}: no such host") from None
    found = {str(info[4][0]): info[0] for info in infos}
    ordered = sorted(found, key=lambda each: found[each] != socket.AF_INET)
    return [Address(ip=each, port=port) for each in ordered]


async def listen(text: str) -> tuple[socket.socket, str]:
    """Bind and listen; return the socket and the address that it got. A wildcard means IPv4 and IPv6, if there is any.

    Raises:
        AddressError: it could not; the text is Go's.
    """
    try:
        address = await resolve(text)
    except AddressError as cause:
        raise AddressError(f"listen tcp: {cause}") from None
    if address.is_wildcard and address.ip != "::":
        address = Address(ip="::" if socket.has_ipv6 and socket.has_dualstack_ipv6() else "0.0.0.0", port=address.port)  # noqa: S104
    listener = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if address.family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not address.is_wildcard)
        listener.bind((address.ip, address.port))
        listener.listen(_BACKLOG)
    except OSError as cause:
        listener.close()
        why = os.strerror(cause.errno or 0)
        shown = Address(ip="" if address.is_wildcard else address.ip, port=address.port)
        raise AddressError(f"listen tcp {shown}: bind: {why[:1].lower()}{why[1:]}") from None
    listener.setblocking(False)
    ip, port = listener.getsockname()[:2]
    return listener, str(Address(ip=ip, port=port))


def hush(listener: socket.socket) -> socket.socket:
    """Make a listener deaf: its queue is full, so that the system drops every attempt to connect.

    Return the connection that fills it; `listen_again` undoes it.
    """
    listener.listen(0)  # one connection fills it
    ip, port = listener.getsockname()[:2]
    host = ("::1" if ip == "::" else "127.0.0.1") if Address(ip=ip, port=port).is_wildcard else ip
    filler = socket.socket(listener.family, socket.SOCK_STREAM)
    filler.setblocking(False)
    filler.connect_ex((host, port))
    return filler


def listen_again(listener: socket.socket, filler: socket.socket) -> object:
    """Undo `hush`; return the address of the connection that will be accepted and is nobody's."""
    name: object = filler.getsockname()
    filler.close()
    listener.listen(_BACKLOG)
    return name
