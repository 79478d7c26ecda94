"""Words that cannot be understood, and commands that need what is not there: nothing is started for any of them."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from tracelab.testing.command import CommandLine

NEED_A_PLATFORM = (
    ("status",),
    ("down",),
    ("logs", "feed"),
    ("scenario", "timeline"),
    ("chaos", "kill", "redis"),
    ("chaos", "stop", "feed"),
    ("chaos", "status"),
    ("chaos", "heal"),
    ("trace", "--run", "live"),
    ("urls",),
    ("restart", "feed"),
    ("reset",),
)
COMMANDS = (
    (),
    ("demo",),
    ("up",),
    ("status",),
    ("logs",),
    ("down",),
    ("scenario",),
    ("chaos",),
    ("chaos", "kill"),
    ("chaos", "stop"),
    ("chaos", "status"),
    ("chaos", "heal"),
    ("trace",),
    ("check",),
    ("gate",),
    ("urls",),
    ("restart",),
    ("reset",),
    ("doctor",),
    ("runs",),
    ("runs", "list"),
    ("runs", "show"),
    ("runs", "rm"),
    ("runs", "export"),
    ("runs", "import"),
)


@pytest.fixture
def command(tmp_path: Path) -> CommandLine:
    """A command line over a state folder that does not exist yet."""
    return CommandLine(tmp_path / "home", os.environ)


@pytest.mark.parametrize("words", NEED_A_PLATFORM, ids=" ".join)
def test_a_command_that_needs_a_platform_says_how_to_get_one(command: CommandLine, words: tuple[str, ...]) -> None:
    """None is up: exit 2, the platform's name, and the command that boots it; nothing is written."""
    reply = command.refuses(*words)
    assert reply.message == "no platform called 'default' is up"
    assert reply.hint == "tracelab up"
    assert reply.out == ""
    assert not command.home.exists()


def test_the_platform_that_is_missing_is_named(command: CommandLine) -> None:
    """`--name` and `TRACELAB_PLATFORM` choose it."""
    assert "'two'" in command.refuses("status", "--name", "two").message
    assert "'three'" in command.refuses("status", environment={"TRACELAB_PLATFORM": "three"}).message


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("scenario", "timelin"), "no scenario is called 'timelin'; did you mean 'timeline'?"),
        (("scenario", "./mine.py"), "there is no scenario file ./mine.py"),
        (("chaos", "kill", "redi"), "no component is called 'redi'; did you mean 'redis'"),
        (("chaos", "kill", "feed#7"), "no component is called 'feed#7'; did you mean 'feed#1'"),
        (("chaos", "kill", "redis", "--expect", "redis.dow"), "no promise is called 'redis.dow'; did you mean"),
        (("up", "--port", "gatway=8080"), "no component is called 'gatway'; did you mean 'gateway'?"),
        (("up", "--runtime", "embeded"), "no runtime is called 'embeded'; did you mean 'embedded'?"),
        (("scenari", "timeline"), "No such command 'scenari'. Did you mean 'scenario'?"),
        (("chaos", "kil", "redis"), "No such command 'kil'. Did you mean 'kill'?"),
        (("check", "--run", "20261124"), "no run is called '20261124'; there is no run yet"),
    ],
)
def test_an_unknown_name_lists_the_near_ones(command: CommandLine, words: tuple[str, ...], message: str) -> None:
    """What was typed is quoted, beside what may have been meant."""
    assert message in command.refuses(*words).message


@pytest.mark.parametrize("words", [("check",), ("trace",), ("runs", "show"), ("runs", "rm", "last")], ids=" ".join)
def test_no_run_yet_says_what_records_one(command: CommandLine, words: tuple[str, ...]) -> None:
    """The shortest way to a Run is the demo."""
    reply = command.refuses(*words)
    assert reply.message == "there is no finished Run yet"
    assert reply.hint == "tracelab demo"


@pytest.mark.parametrize(
    ("words", "quoted"),
    [
        (("scenario", "timeline", "--duration", "20"), "time '20' has no unit"),
        (("scenario", "timeline", "--warmup", "5"), "time '5' has no unit"),
        (("scenario", "timeline", "--rate", "40"), "rate '40' has no unit"),
        (("chaos", "kill", "redis", "--for", "30"), "time '30' has no unit"),
        (("gate", "--max-time", "180"), "time '180' has no unit"),
        (("up", "--timeout", "60"), "time '60' has no unit"),
        (("chaos", "kill", "redis", "--for", "30q"), "unknown unit 'q'"),
        (("scenario", "timeline", "--duration", "long"), "'long' is not a time"),
    ],
)
def test_a_number_without_a_unit_is_refused(command: CommandLine, words: tuple[str, ...], quoted: str) -> None:
    """The message shows how it is written, the hint where the options are explained."""
    reply = command.refuses(*words)
    assert quoted in reply.message
    assert "e.g. " in reply.message
    verb = words[:2] if words[0] == "chaos" else words[:1]
    assert reply.hint == f"tracelab {' '.join(verb)} --help"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("scenario", "timeline", "--users", "5", "--rate", "40/s"), "--users (closed model) and --rate (open model)"),
        (("scenario", "timeline", "--users", "0"), "Invalid value for '--users'"),
        (("scenario", "timeline", "--duration", "0s"), "expected more than nothing"),
        (("scenario", "timeline", "--fail-on", "sometimes"), "expected 'fail', 'inconclusive' or both"),
        (("chaos", "kill", "redis", "--for", "0s"), "a fault lasts more than nothing"),
        (("chaos", "kill"), "Missing argument"),
        (("scenario", "timeline", "--loud"), "No such option: --loud"),
        (("up", "--port", "gateway"), "expected COMPONENT=PORT"),
        (("up", "--port", "gateway=99999"), "expected COMPONENT=PORT"),
        (("up", "--otlp-to", "localhost:4318"), "expected the URL of an OTLP/HTTP receiver"),
        (("up", "--otlp-to", "grpc://127.0.0.1:4317"), "expected the URL of an OTLP/HTTP receiver"),
        (("up", "--telemetry", "loud"), "expected 'sdk' or 'off'"),
        (("up", "--chaos", "loud"), "expected 'on' or 'off'"),
        (("up", "--chaos", "on", "--runtime", "containers"), "runtime containers starts no edge proxy"),
        (("chaos", "partition", "feed", "web"), "no component is called 'web'"),
        (("promises", "redis.dwon"), "did you mean 'redis.down'"),
        (("up", "--name", "../elsewhere"), "expected 1 to 40 letters"),
        (("gate", "--max-time", "10s"), "expected at least 50s"),
        (("gate", "--fail-on", "never"), "expected 'fail', 'inconclusive' or both"),
        (("gate", "--scenario", "timelin"), "did you mean 'timeline'?"),
        (("logs", "--json", "-f"), "--json is one document"),
        (("logs", "feed", "--trace", "4f2a"), "neither a component nor --follow goes with it"),
        (("logs", "--run", "last"), "--run goes with --trace"),
        (("runs", "import", "nothing.tar.zst"), "there is no archive nothing.tar.zst"),
    ],
)
def test_what_makes_no_sense_is_refused(command: CommandLine, words: tuple[str, ...], message: str) -> None:
    """Before anything is started or written."""
    assert message in command.refuses(*words).message
    assert not command.home.exists()


@pytest.mark.parametrize("words", [("gate", "--junit"), ("chaos", "kill", "redis", "--dry-run", "--save")])
def test_a_file_that_cannot_be_written_is_said_at_once(
    command: CommandLine, tmp_path: Path, words: tuple[str, ...]
) -> None:
    """Before anything is booted or harmed; the file is named."""
    path = tmp_path / "nowhere" / "file"
    reply = command.refuses(*words, str(path))
    assert str(path) in reply.message
    assert "No such file or directory" in reply.message


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help_ends_with_examples(command: CommandLine, words: tuple[str, ...]) -> None:
    """Two commands that work, on the last line."""
    reply = command.run(*words, "--help")
    assert reply.code == 0
    last = reply.out.strip().splitlines()[-1].strip()
    assert last.startswith("Examples: tracelab ")
    assert last.count("tracelab ") >= 2
    assert reply.err == ""


@pytest.mark.parametrize("words", [(), ("chaos",), ("runs",)], ids=" ".join)
def test_a_group_typed_alone_shows_its_help(command: CommandLine, words: tuple[str, ...]) -> None:
    """It is no command, so exit 2, but no error message either."""
    reply = command.run(*words)
    assert reply.code == 2
    assert "Examples: tracelab" in reply.out
    assert reply.err == ""


def test_json_leaves_stdout_to_the_document(command: CommandLine) -> None:
    """An error goes to stderr, a rehearsal is a document."""
    assert command.refuses("status", "--json").out == ""
    assert command.refuses("check", "--json").out == ""
    would = command.run("chaos", "kill", "redis", "--dry-run", "--json").document()
    assert would["schema"] == "tracelab/1"
    assert any("feed-redis#1" in line for line in would["would"])
    assert command.run("down", "--all", "--json").document() == {"schema": "tracelab/1", "stopped": []}


def completed(command: CommandLine, line: str) -> list[str]:
    """Return what a shell would offer at the end of a line, by asking as bash does."""
    words = line.split(" ")
    asked = {"_TRACELAB_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    return command.run(environment=asked).out.split()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("tracelab sc", ["scenario"]),
        ("tracelab scenario t", ["timeline"]),
        ("tracelab scenario li", ["list"]),
        ("tracelab chaos kill fee", ["feed-db", "feed-redis", "feed"]),
        ("tracelab chaos kill po", ["postgres"]),
        ("tracelab chaos kill redis --expect r", ["redis.down"]),
        ("tracelab chaos kill redis --load t", ["timeline"]),
        ("tracelab gate --scenario t", ["timeline"]),
        ("tracelab logs zy", ["zygote"]),
        ("tracelab check --run 2026", ["20261125-a", "20261124-b"]),
        ("tracelab runs export la", ["last"]),
        ("tracelab status --name tw", ["two"]),
        ("tracelab scenario nothing-is-called-so", []),
    ],
)
def test_a_shell_completes_names(command: CommandLine, line: str, words: list[str]) -> None:
    """Scenarios, components, groups, promises, Runs (newest first) and platforms."""
    for run in ("20261124-b", "20261125-a"):
        (command.home / "runs" / run).mkdir(parents=True)
    (command.home / "platforms" / "two").mkdir(parents=True)
    (command.home / "platforms" / "two" / "platform.json").write_text("{}", encoding="utf-8")
    assert completed(command, line) == words


def test_a_completion_that_fails_offers_nothing(command: CommandLine) -> None:
    """Where the state cannot be read, the shell's line is left alone."""
    command.home.parent.mkdir(exist_ok=True)
    command.home.write_text("not a folder", encoding="utf-8")
    assert completed(command, "tracelab check --run 2") == []
    assert completed(command, "tracelab chaos kill me") == ["messages-db", "messages-redis", "messaging", "media"]


@pytest.mark.parametrize("line", ["tracelab scenario t", "tracelab chaos kill f", "tracelab check --run l"])
def test_a_completion_imports_next_to_nothing(command: CommandLine, line: str) -> None:
    """A shell asks at each press of a key: neither what draws, nor what drives, nor what judges is there."""
    shown = command.run(
        environment={
            "_TRACELAB_COMPLETE": "complete_bash",
            "COMP_WORDS": line,
            "COMP_CWORD": str(line.count(" ")),
            "PYTHONPROFILEIMPORTTIME": "1",
        }
    ).err
    imported = {row.rpartition("|")[2].strip() for row in shown.splitlines() if "|" in row}
    heavy = {"rich.console", "yaml", "urllib3", "google.protobuf", "opentelemetry.trace", "tracelab.experiment.boot"}
    assert "tracelab.cli.complete" in imported
    assert not imported & heavy


def test_scenarios_are_listed(command: CommandLine) -> None:
    """With what people do, how many, and what is judged."""
    (timeline,) = [
        s for s in command.run("scenario", "list", "--json").document()["scenarios"] if s["name"] == "timeline"
    ]
    assert timeline["users"] == 200
    assert timeline["people"] == {"reader": 7, "writer": 1}
    assert "timeline.cached" in timeline["expects"]
    shown = command.run("scenario", "list").out
    assert "timeline " in shown
    assert "200 people" in shown


@pytest.mark.parametrize(
    "words",
    [
        ("scenario", "timelin"),
        ("gate", "--max-time", "10s"),
        ("chaos", "kill", "redi"),
        ("check", "--run", "nope"),
        ("scenario", "--help"),
    ],
    ids=" ".join,
)
def test_what_is_mistyped_is_answered_without_the_heavy_libraries(command: CommandLine, words: tuple[str, ...]) -> None:
    """They take longer to import than everything else together, and only what works needs them."""
    shown = command.run(*words, environment={"PYTHONPROFILEIMPORTTIME": "1"}).err
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in shown.splitlines() if "|" in line}
    assert "tracelab" in imported
    assert not imported & {"scipy", "numpy", "aiohttp", "socketio", "engineio", "faker", "sqlalchemy", "fastapi"}


def on_a_terminal(command: CommandLine, *words: str, **environment: str) -> str:
    """Return what a command writes to a terminal, control sequences included."""
    ours, theirs = pty.openpty()
    try:
        subprocess.run(
            [sys.executable, "-m", "tracelab", *words],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**command.environment, "TERM": "xterm-256color", **environment},
            timeout=60,
        )
        return os.read(ours, 65536).decode()
    finally:
        os.close(ours)
        os.close(theirs)


def is_coloured(text: str) -> bool:
    """Claim that a foreground colour is set somewhere (SGR 30 to 37, 38, 90 to 97)."""
    codes = [code for part in text.split("\x1b[")[1:] for code in part.partition("m")[0].split(";") if code.isdigit()]
    return any(30 <= int(code) <= 38 or 90 <= int(code) <= 97 for code in codes)


def test_colour_is_for_terminals_that_want_it(command: CommandLine) -> None:
    """`NO_COLOR` and `--no-color` switch it off, and a pipe has none at all."""
    assert is_coloured(on_a_terminal(command, "status"))
    assert not is_coloured(on_a_terminal(command, "status", NO_COLOR="1"))
    assert not is_coloured(on_a_terminal(command, "status", "--no-color"))
    assert "\x1b" not in command.run("status").err
