"""The authority of one platform: it vouches for its own gateway, and for nothing else."""

import datetime as dt
import ipaddress
import socket
import ssl
import threading
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from tracelab.runtimes.authority import Credentials, establish


@pytest.fixture
def credentials(tmp_path: Path) -> Credentials:
    """An authority's credentials."""
    return establish(tmp_path / "tls", "default")


def shaken(credentials: Credentials, trusted: Path, name: str) -> str | None:
    """Shake hands, as a client that trusts one authority and expects a name; return what speaks, None if refused."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(credentials.certificate, credentials.key)
    ours, theirs = socket.socketpair()

    def serve() -> None:
        with theirs:
            try:
                with context.wrap_socket(theirs, server_side=True) as served:
                    served.recv(1)
            except OSError:  # the client went away: that is what it says then
                return

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with ours, ssl.create_default_context(cafile=trusted).wrap_socket(ours, server_hostname=name) as client:
            return client.version()
    except ssl.SSLError:
        return None
    finally:
        thread.join(10)


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_the_gateway_is_trusted_by_whoever_trusts_its_authority(credentials: Credentials, name: str) -> None:
    """By address and by name, in the newest version."""
    assert shaken(credentials, credentials.ca, name) == "TLSv1.3"


def test_nobody_elses_authority_will_do(credentials: Credentials, tmp_path: Path) -> None:
    """Not even that of another platform, which has the same names."""
    other = establish(tmp_path / "other", "default")
    assert shaken(credentials, other.ca, "127.0.0.1") is None


@pytest.mark.parametrize("name", ["127.0.0.2", "example.org"])
def test_it_is_nobody_else(credentials: Credentials, name: str) -> None:
    """Neither another address of this machine nor a site."""
    assert shaken(credentials, credentials.ca, name) is None


def test_the_authority_can_vouch_for_loopback_alone(credentials: Credentials) -> None:
    """Its certificate says so, and who shakes hands holds it to that; nothing below it may sign."""
    ca = x509.load_pem_x509_certificate(credentials.ca.read_bytes())
    constraints = ca.extensions.get_extension_for_class(x509.NameConstraints)
    assert constraints.critical
    assert {str(n.value) for n in constraints.value.permitted_subtrees or ()} == {
        "localhost",
        "127.0.0.1/32",
        "::1/128",
    }
    basic = ca.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert (basic.ca, basic.path_length) == (True, 0)
    own = x509.load_pem_x509_certificate(credentials.certificate.read_bytes())
    own.verify_directly_issued_by(ca)
    assert not own.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    usage = own.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.SERVER_AUTH]
    names = own.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.IPAddress) == [
        ipaddress.ip_address("127.0.0.1"),
        ipaddress.ip_address("::1"),
    ]
    assert own.not_valid_after_utc - own.not_valid_before_utc < dt.timedelta(days=398)  # more, and browsers refuse it


def test_the_authoritys_key_is_kept_nowhere(credentials: Credentials, tmp_path: Path) -> None:
    """Three files, for the owner alone; the only key is the gateway's."""
    folder = tmp_path / "tls"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {p.name for p in folder.iterdir()} == {"ca.pem", "gateway.pem", "gateway.key"}
    for path in folder.iterdir():
        assert path.stat().st_mode & 0o777 == 0o600
        assert (b"PRIVATE KEY" in path.read_bytes()) is (path == credentials.key)
