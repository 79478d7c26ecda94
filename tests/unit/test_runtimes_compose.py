"""The compose file as data: committed as rendered, the same platform as in containers, open only to this machine."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

import tracelab
from tracelab import settings
from tracelab.errors import InfrastructureError, UsageError
from tracelab.experiment import boot
from tracelab.platform.social import SOCIAL, social
from tracelab.platform.stack.full import stack
from tracelab.platform.topology import Kind
from tracelab.runtimes import answer
from tracelab.runtimes.compose import program, render, service, variable
from tracelab.runtimes.containers import image, label, plan
from tracelab.runtimes.port import UpOptions
from tracelab.runtimes.postgresql import Passwords

ROOT = Path(tracelab.__file__).parents[2]
REFERENCE = re.compile(r"\$\{(\w+):-([^}]*)\}")


def document(text: str | None = None) -> dict[str, Any]:
    """Return the compose file, as a program reads it before it looks at variables."""
    return dict(yaml.safe_load(text or render.files(SOCIAL)[render.FILE]))


def filled(value: Any, **given: str) -> Any:
    """Return a document with its variables replaced, as both compose programs do it."""
    if isinstance(value, dict):
        return {key: filled(each, **given) for key, each in value.items()}
    if isinstance(value, list):
        return [filled(each, **given) for each in value]
    if not isinstance(value, str):
        return value
    parts = [REFERENCE.sub(lambda found: given.get(found[1]) or found[2], part) for part in value.split("$$")]
    return "$".join(parts)


def test_the_committed_file_is_the_rendered_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """`just render` makes it, and everything that it mounts, whoever runs that; nothing else is in that folder."""
    for name in (*settings.TUNED, "TRACELAB_TEST_BREAK", "TRACELAB_FFMPEG_BIN"):
        monkeypatch.setenv(name, "7")
    rendered = render.files(SOCIAL)
    for name, text in rendered.items():
        assert (ROOT / name).read_text(encoding="utf-8") == text, f"{name}: just render"
    committed = {str(path.relative_to(ROOT)) for path in (ROOT / service.FOLDER).rglob("*") if path.is_file()}
    assert committed == {name for name in rendered if name.startswith(f"{service.FOLDER}/")}


def test_every_component_is_a_service() -> None:
    """All instances, the telemetry stack, load and sources; what is no part of the platform has a profile."""
    services = document()["services"]
    assert {s for s in services if "profiles" not in services[s]} == {c.name for c in SOCIAL.components}
    profiles = {name: s["profiles"] for name, s in services.items() if "profiles" in s}
    assert profiles == {**{c.name: ["telemetry"] for c in stack()}, "load": ["load"], "dev": ["dev"]}
    several = document(render.files(social(instances={"messaging": 2}))[render.FILE])["services"]
    assert "messaging-2" in several
    assert set(document()["networks"]) == {"platform", "telemetry"}


def test_nothing_is_open_to_other_machines() -> None:
    """Every published port is on loopback, no two are the same, and a variable changes each."""
    ports = [port for s in document()["services"].values() for port in s.get("ports", ())]
    assert all(port.startswith("127.0.0.1:${TRACELAB_PORT_") for port in ports)
    published = [filled(port).split(":")[1] for port in ports]
    assert len(set(published)) == len(published)
    assert "127.0.0.1:28080:8080" in filled(ports)


def test_every_image_can_be_replaced_and_one_service_builds() -> None:
    """Without any variable there is one image, ours; the service that builds it is started before all others."""
    services = document()["services"]
    ours = {name: s for name, s in services.items() if "telemetry" not in s.get("profiles", ())}
    assert {filled(s["image"]) for s in ours.values()} == {f"tracelab:{tracelab.__version__}"}
    assert all(REFERENCE.fullmatch(s["image"]) for s in services.values())
    variables = {REFERENCE.fullmatch(s["image"])[1] for s in services.values()}  # type: ignore[index]
    assert variables == {image.variable(word) for word in (image.TRACELAB, *image.locked())}
    assert [name for name, s in services.items() if "build" in s] == ["collector"]
    for name, s in ours.items():
        assert name in ("collector", "load", "dev") or "collector" in s["depends_on"], name


def test_variables_have_defaults_and_are_not_nested() -> None:
    """The older program cannot nest them; what is no variable and has a dollar has two."""
    text = render.files(SOCIAL)[render.FILE]
    for found in re.finditer(r"\$(.)", text.replace("$$", "")):
        assert found[1] == "{"
    references = REFERENCE.findall(text)
    assert text.replace("$$", "").count("${") == len(references)
    assert all("$" not in default for _, default in references)
    assert {default for name, default in references if "PASSWORD" in name or "SECRET" in name or "TOKEN" in name} == {
        default for name, default in references if default.startswith("local-only") and "ACCESS" not in name
    }


def test_a_service_is_given_what_it_is_given_in_containers() -> None:
    """One URL per edge, by addresses that are fixed; secrets on both sides of an edge are the same variable."""
    services = filled(document()["services"], TRACELAB_NETWORK="10.1.2", TRACELAB_PASSWORD_FEED_DB="other")
    environment = services["feed"]["environment"]
    database = services["feed-db"]
    address = database["networks"]["platform"]["ipv4_address"]
    assert environment["TRACELAB_EDGE_FEED_DB"] == f"postgresql://feed_db:other@{address}:5432/feed_db"
    assert database["environment"]["TRACELAB_PASSWORD"] == "other"
    for name, s in services.items():
        addresses = [n.get("ipv4_address") for n in (s.get("networks") or {}).values()]
        assert all(addresses), name
    found = [
        s["networks"]["platform"]["ipv4_address"] for s in services.values() if "platform" in s.get("networks", ())
    ]
    assert len(set(found)) == len(found)
    assert all(a.startswith("10.1.2.") for a in found)
    assert settings.service(environment).edges["profile"] == (
        f"http://{services['profile']['networks']['platform']['ipv4_address']}:8000",
    )
    for component in SOCIAL.of_kind(Kind.SERVICE):
        targets = {e.target for e in SOCIAL.edges_from(component.name) if not e.is_telemetry}
        given = settings.service(services[component.name]["environment"])
        assert set(given.edges) == targets
        assert given.bcrypt_cost == 10


def test_the_gateways_configuration_knows_no_network() -> None:
    """It is mounted as it stands, and the network's numbers are put in at the start."""
    text = render.files(SOCIAL)["compose/tracelab/nginx.conf"]
    assert "@network@." in text
    assert variable.NETWORK not in text
    assert "set_real_ip_from @network@.1;" in text
    services = filled(document()["services"], TRACELAB_NETWORK="10.1.2")
    assert services["gateway"]["environment"]["TRACELAB_NETWORK"] == "10.1.2"
    assert "10.1.2" in services["gateway"]["command"]
    assert any("s/@network@/$4/g" in word for word in services["gateway"]["command"])


def test_another_image_gets_its_own_words() -> None:
    """Commands begin with options, which the makers' entry points give to their server; ours goes by TRACELAB_KIND."""
    services = filled(document()["services"])
    for component in SOCIAL.of_kind(Kind.DATABASE, Kind.CACHE, Kind.OBJECT_STORE):
        assert services[component.name]["command"][0].startswith("-")
        assert services[component.name]["environment"]["TRACELAB_KIND"] == component.kind.value
    assert "valkey-server" not in str(services)
    assert "load_module" in services["gateway"]["command"][-1]


def test_postgresqls_own_image_makes_the_same_roles() -> None:
    """Its entry point sources a script, which says with the given passwords what our image says."""
    services = filled(document()["services"])
    environment = services["feed-db"]["environment"]
    assert f"./compose{service.ROLES}:{service.ROLES}:ro" in services["feed-db"]["volumes"]
    script = f"docker_process_sql() {{ cat; }}\n{render.files(SOCIAL)[f'compose{service.ROLES}']}"
    done = subprocess.run(["sh", "-c", script], env=environment, capture_output=True, text=True, check=True)
    owner, system = (environment[f"TRACELAB_{name}_PASSWORD"] for name in ("OWNER", "SYSTEM"))
    passwords = Passwords(service=environment["TRACELAB_PASSWORD"], owner=owner, system=system)
    assert done.stdout == plan.roles("feed_db", passwords, environment["TRACELAB_MONITOR_PASSWORD"])
    given = settings.service(services["feed"]["environment"]).roles["feed-db"]
    assert (given.owner.password, given.system.password) == (owner, system)
    assert len({owner, system, passwords.service, environment["POSTGRES_PASSWORD"]}) == 4


def test_every_component_is_asked_itself() -> None:
    """A health check speaks the component's own protocol; services wait for their stores."""
    services = filled(document()["services"])
    for component in SOCIAL.components:
        test = services[component.name]["healthcheck"]["test"][1]
        protocol = {Kind.DATABASE: "postgresql", Kind.CACHE: "redis"}.get(component.kind, "http")
        assert f"tracelab.runtimes.ask {protocol} " in test
        assert services[component.name]["labels"][label.QUESTION].split()[0] == protocol
        if component.kind is Kind.CACHE:
            assert services[component.name]["environment"]["TRACELAB_PASSWORD"] not in test
    waits = services["feed"]["depends_on"]
    assert waits["feed-db"] == waits["feed-redis"] == {"condition": "service_healthy"}


def test_the_telemetry_stack_is_one_file_of_variables_away() -> None:
    """With it spans and StatsD go by the stack, at the stack's addresses; without it straight to our collector."""
    given = render.assignments(render.files(SOCIAL)[render.TELEMETRY_ENV])
    assert given["COMPOSE_PROFILES"] == "telemetry"
    services = filled(document()["services"], **given)
    otel, statsd = services["otel-collector"], services["statsd-exporter"]
    environment = services["feed"]["environment"]
    assert environment["TRACELAB_OTLP_HTTP"] == f"http://{otel['networks']['platform']['ipv4_address']}:4318"
    assert environment["TRACELAB_STATSD"] == f"{statsd['networks']['platform']['ipv4_address']}:9125"
    collector = services["collector"]
    assert environment["TRACELAB_COLLECTOR"] == f"http://{collector['networks']['platform']['ipv4_address']}:4318"
    assert collector["environment"]["TRACELAB_ONWARD"] == "http://otel-collector:4319"
    plain = filled(document()["services"])["feed"]["environment"]
    assert plain["TRACELAB_OTLP_HTTP"] == plain["TRACELAB_COLLECTOR"]
    mounted = [v for name in ("otel-collector", "prometheus", "grafana", "loki") for v in services[name]["volumes"]]
    for volume in mounted:
        assert (ROOT / volume.split(":")[0]).exists(), volume


def test_a_store_of_somebody_else_is_no_service() -> None:
    """Its URL stands in the file that `up --use` renders."""
    url = "redis://cache.example.org/0"
    services = document(render.files(SOCIAL, used={"feed-redis": url})[render.FILE])["services"]
    assert "feed-redis" not in services
    assert services["feed"]["environment"]["TRACELAB_EDGE_FEED_REDIS"] == url
    assert "feed-redis" not in services["feed"]["depends_on"]


def test_answers_are_understood() -> None:
    """Ready or why not, from the bytes of each protocol."""
    assert answer.http_why_not("/x", b"HTTP/1.1 200 OK\r\n\r\n") is None
    assert answer.http_why_not("/x", b"HTTP/1.1 503 No\r\n\r\nwait") == "GET /x answered 503: wait"
    assert answer.http_why_not("/x", b"") == "GET /x answered nothing: "
    assert answer.redis_why_not(b"+OK\r\n+PONG\r\n+OK\r\n") is None
    assert "WRONGPASS" in (answer.redis_why_not(b"-WRONGPASS no\r\n") or "")
    assert answer.postgresql_why_not(b"R\0\0\0") is None
    assert answer.postgresql_why_not(b"E\0\0\0\x30SFATAL\0Mstarting up\0\0") == "PostgreSQL says 'starting up'"
    question = answer.postgresql_question("feed_db")
    assert int.from_bytes(question[:4], "big") == len(question)


def test_a_place_is_for_the_external_runtime(tmp_path: Path) -> None:
    """Naming a URL chooses it, and a runtime that boots refuses one."""
    assert boot.choose_runtime(None, is_elsewhere=True)[0] == "external"
    options = UpOptions(home=tmp_path, at={"gateway": "http://127.0.0.1:1"})
    with pytest.raises(UsageError, match="--gateway says where a platform is"):
        boot.up(SOCIAL, options, runtime_name="embedded", on_event=lambda _event: None)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("1.25.0", r"expected a compose program of version 1\.29 or later, got \S+ 1\.25\.0$"),
        ("", r"expected a compose program of version 1\.29 or later, got \S+ that names no version$"),
    ],
)
def test_an_old_program_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, why: str) -> None:
    """Before anything is rendered, with its version; so is a program that is none."""
    old = tmp_path / "compose"
    old.write_text(f"#!/bin/sh\necho {said}\n")
    old.chmod(0o755)
    monkeypatch.setenv("TRACELAB_COMPOSE_BIN", str(old))
    with pytest.raises(InfrastructureError, match=why):
        program.find()


@pytest.mark.parametrize("said", ["1.29.2", "2.0.1", "v5.6.0"])
def test_a_program_is_known_by_its_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    """Both that are spoken of, however they write it."""
    new = tmp_path / "compose"
    new.write_text(f"#!/bin/sh\necho {said}\n")
    new.chmod(0o755)
    monkeypatch.setenv("TRACELAB_COMPOSE_BIN", str(new))
    assert program.find().version == f"{new} {said}"
