"""The containers runtime's parts that need no engine: specs, images, stores of others, what refusals mean."""

import re
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tracelab.errors import UnknownName, UsageError
from tracelab.experiment import boot
from tracelab.platform import used
from tracelab.platform.social import SOCIAL, social
from tracelab.runtimes import wiring
from tracelab.runtimes.containers import component, glance, image, label, plan, stack
from tracelab.runtimes.containers.spec import Spec
from tracelab.runtimes.ports import Ports

ROOT = Path(image.__file__).parents[4]


def specs(
    images: str, *, instances: dict[str, int] | None = None, use: dict[str, str] | None = None
) -> dict[str, Spec]:
    """Return the specs of the social platform, by instance."""
    topology = social(instances=instances or {})
    ports = Ports()
    try:
        plan.reserve(topology, ports, images)
        made = plan.Planner(
            topology=topology,
            ports=ports,
            secrets=wiring.make_secrets(topology),
            subnet=IPv4Network("10.213.7.0/24"),
            name="default",
            telemetry="sdk",
            images=images,
            life="1234",
            used=use or {},
        ).specs()
    finally:
        ports.close()
    return {spec.instance: spec for spec in made}


@pytest.mark.parametrize("images", [image.BUNDLED, image.UPSTREAM])
def test_every_instance_has_an_address_and_a_port_of_its_own(images: str) -> None:
    """No two containers share an address, and nothing is published twice."""
    made = specs(images, instances={"messaging": 2})
    assert {i for c in social(instances={"messaging": 2}).components for i in c.instance_ids} <= set(made)
    addresses = [spec.address for spec in made.values()]
    published = [port for spec in made.values() for port in spec.published.values()]
    assert len(set(addresses)) == len(addresses)
    assert len(set(published)) == len(published)
    assert all(spec.question.port in spec.published.values() for spec in made.values())


def test_edges_are_addresses_and_no_names() -> None:
    """Nothing that a service is given has to be resolved."""
    made = specs(image.BUNDLED, instances={"profile": 2})
    environment = made["feed#1"].environment
    assert environment["TRACELAB_EDGE_PROFILE"] == ",".join(
        f"http://{made[f'profile#{n}'].address}:8000" for n in (1, 2)
    )
    assert f"@{made['feed-db#1'].address}:5432/feed_db" in environment["TRACELAB_EDGE_FEED_DB"]
    urls = [url for value in environment.values() if "://" in value for url in value.split(",")]
    assert len(urls) > 6
    assert all(IPv4Address(urlsplit(url).hostname or "") in IPv4Network("10.213.7.0/24") for url in urls)


def test_the_bundled_set_needs_one_image() -> None:
    """All components run from it, and nothing else is asked of an engine."""
    assert {spec.image for spec in specs(image.BUNDLED).values()} == {image.reference(image.TRACELAB)}
    assert plan.words(SOCIAL, image.BUNDLED, {}) == (image.TRACELAB,)
    kinds = {spec.command[0] for spec in specs(image.BUNDLED).values()}
    assert kinds == {"database", "cache", "object-store", "gateway", "collector", "service", "identity-provider"}


@pytest.mark.parametrize("images", [image.BUNDLED, image.UPSTREAM])
def test_a_database_has_three_roles_by_passwords_of_their_own(images: str) -> None:
    """Whoever serves people owns nothing and is no superuser; the service is given all three, each its own password."""
    made = specs(images)
    environment = made["feed#1"].environment
    service = urlsplit(environment["TRACELAB_EDGE_FEED_DB"])
    owner, system = (login.split(":") for login in environment["TRACELAB_ROLES_FEED_DB"].split(","))
    assert (service.username, owner[0], system[0]) == ("feed_db", "feed_db_owner", "feed_db_system")
    passwords = {service.password, owner[1], system[1]}
    assert len(passwords) == 3
    database = made["feed-db#1"]
    if images == image.BUNDLED:
        assert {database.environment[f"TRACELAB_{n}PASSWORD"] for n in ("", "OWNER_", "SYSTEM_")} == passwords
    else:
        assert database.environment["POSTGRES_USER"] == "postgres"
        assert database.environment["POSTGRES_PASSWORD"] not in passwords
        (script,) = database.files.values()
        assert all(f"PASSWORD '{password}'" in script for password in passwords)


def test_the_upstream_set_is_the_lock_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every image of the lock file is used, pinned by a tag that is no moving one, and replaced by its setting."""
    locked = image.locked()
    assert set(plan.words(SOCIAL, image.UPSTREAM, {})) == {image.TRACELAB, *locked}
    assert {s.image for s in specs(image.UPSTREAM).values()} == {image.reference(image.TRACELAB), *locked.values()}
    for reference in locked.values():
        assert re.fullmatch(r"[\w./-]+:v?\d+\.\d+[\w.-]*", reference), reference
    monkeypatch.setenv("TRACELAB_IMAGE_VALKEY", "redis:8.0.3-bookworm")
    cache = specs(image.UPSTREAM)["feed-redis#1"]
    assert (cache.image, cache.command[0]) == ("redis:8.0.3-bookworm", "redis-server")
    monkeypatch.setenv("TRACELAB_IMAGE_OTEL_COLLECTOR", "mine:1")
    assert specs(image.UPSTREAM)["otel-collector"].image == "mine:1"


def test_the_upstream_set_has_the_telemetry_stack() -> None:
    """Services send to the stack's collector and StatsD exporter, heartbeats to ours; addresses, no names."""
    made = specs(image.UPSTREAM)
    assert set(stack.names()) <= set(made)
    environment = made["feed#1"].environment
    assert environment["TRACELAB_OTLP_HTTP"] == f"http://{made['otel-collector'].address}:4318"
    assert environment["TRACELAB_COLLECTOR"] == f"http://{made['collector#1'].address}:4318"
    assert environment["TRACELAB_STATSD"] == f"{made['statsd-exporter'].address}:9125"
    assert made["collector#1"].environment["TRACELAB_ONWARD"] == f"http://{made['otel-collector'].address}:4319"
    texts = "".join(text for name in ("otel-collector", "prometheus") for text in made[name].files.values())
    assert f"{made['jaeger'].address}:4317" in texts
    assert not re.search(r"(?:jaeger|loki|prometheus|statsd-exporter|otel-collector|//collector):\d{4}", texts)


def test_the_gateway_believes_the_engines_proxy() -> None:
    """Who comes through the published port has the network's first address, and says whose request it is."""
    text = specs(image.BUNDLED)["gateway#1"].files["/etc/tracelab/nginx.conf"]
    assert "set_real_ip_from 127.0.0.0/8;" in text
    assert "set_real_ip_from 10.213.7.1;" in text
    assert "listen 0.0.0.0:8080;" in text


def test_a_store_of_somebody_else_is_used_and_not_started() -> None:
    """Its URL is the edge; there is no spec and no image of its kind if it was the only one."""
    url = "redis://cache.example.org/0"
    made = specs(image.BUNDLED, use={"feed-redis": url})
    assert "feed-redis#1" not in made
    assert made["feed#1"].environment["TRACELAB_EDGE_FEED_REDIS"] == url
    assert "object-store" not in plan.words(SOCIAL, image.UPSTREAM, {"object-store": "http://a:b@s3.example.org/media"})


def test_what_can_be_used_is_read_strictly() -> None:
    """A store by a URL of its kind, by a name that is known."""
    assert used.read(SOCIAL, ["auth-db=postgresql://u:p@db/auth"]) == {"auth-db": "postgresql://u:p@db/auth"}
    with pytest.raises(UsageError, match="expected postgresql://"):
        used.read(SOCIAL, ["auth-db=mysql://db/auth"])
    with pytest.raises(UsageError, match="not of a service"):
        used.read(SOCIAL, ["feed=http://feed"])
    with pytest.raises(UnknownName, match="auth-db"):
        used.read(SOCIAL, ["auth-bd=postgresql://db/auth"])


def test_names_of_two_homes_never_meet(tmp_path: Path) -> None:
    """The same platform name in another home has another prefix and other labels."""
    assert label.prefix(tmp_path / "a", "default") != label.prefix(tmp_path / "b", "default")
    assert label.filters(tmp_path / "a") != label.filters(tmp_path / "b")


def test_without_a_socket_the_default_is_embedded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is chosen by its reason; asking, a set of images and the environment go before it, in this order."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    monkeypatch.setenv("TRACELAB_HOME", str(tmp_path))
    monkeypatch.delenv("TRACELAB_RUNTIME", raising=False)
    assert boot.choose_runtime(None)[0] == "embedded"
    assert "does not answer" in boot.choose_runtime(None)[1]
    assert not glance.is_answering()
    monkeypatch.setenv("TRACELAB_RUNTIME", "embedded")
    assert boot.choose_runtime(None) == ("embedded", "TRACELAB_RUNTIME")
    assert boot.choose_runtime(None, images="upstream") == ("containers", "--images upstream")
    assert boot.choose_runtime("embedded", images="upstream") == ("embedded", "asked for")


def test_a_component_says_what_it_was_not_given(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container that is started by hand names the variable that it lacks, and ends with 2."""
    monkeypatch.setattr("sys.argv", ["component", "cache"])
    monkeypatch.setenv("TRACELAB_DATA", "/nowhere")
    monkeypatch.delenv("TRACELAB_PORT", raising=False)
    assert component.main() == 2
    assert "TRACELAB_PORT is not set" in capsys.readouterr().err
    monkeypatch.setattr("sys.argv", ["component", "cashe"])
    assert component.main() == 2
    assert "did you mean 'cache'?" in capsys.readouterr().err


def test_the_image_needs_no_buildkit_and_no_root() -> None:
    """What the classic builder does not know is not there; the last user is not root; any base can be named."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert not re.search(r"--mount|--link|--chmod|<<EOF|^# syntax", text, re.MULTILINE)
    assert re.findall(r"^USER (\S+)", text, re.MULTILINE)[-1] == "tracelab"
    assert text.startswith("#")
    assert "ARG BASE_IMAGE=debian:bookworm-slim" in text
