"""What is written is true: commands, examples, files, routes."""

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

import tracelab
from tracelab.cli.app import app
from tracelab.traces import spec

ROOT = Path(tracelab.__file__).parents[2]
PAGES = (*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md")
OF_A_REGISTRY = (
    "py" + "pi.org",
    "python" + "hosted",
    "npm" + "js.org",
    "docker" + ".io",
    "ghcr" + ".io",
    "crates" + ".io",
)
OF_A_MACHINE = ("/" + "work/", "/" + "root/", "/" + "home/")


def tree() -> Any:
    """Return the whole command line."""
    return typer.main.get_command(app)


def commands(group: Any, *above: str) -> Iterator[tuple[str, Any]]:
    """Yield every command with the words that reach it."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, *above, name)
        else:
            yield " ".join((*above, name)), command


def parse(line: str) -> None:
    """Parse a command line as if it had been typed."""
    command, words = tree(), shlex.split(line)[1:]
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        assert words[0] in command.commands, f"{line}: there is no command {words[0]!r}"
        command = command.commands[words.pop(0)]
    if "--help" not in words:
        command.make_context("tracelab", words, resilient_parsing=False)


def fences(language: str) -> Iterator[tuple[Path, str]]:
    """Yield the blocks of a language, of all pages."""
    for page in PAGES:
        for block in re.findall(
            rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
        ):
            yield page, block


def tracked() -> list[Path]:
    """Return the text files of the project."""
    try:
        listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.fail(f"{ROOT} is no checkout: these tests run in one")
    return [ROOT / name for name in listed.splitlines() if (ROOT / name).is_file() and name != "LICENSE"]


def test_every_command_is_documented() -> None:
    """The page of commands has an entry for each, and none for what does not exist."""
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    entries = set(re.findall(r"^- `tracelab ([a-z ]+)`", page, re.MULTILINE))
    assert entries == {name for name, _ in commands(tree())}


@pytest.mark.parametrize(("name", "command"), list(commands(tree())))
def test_every_help_ends_with_two_examples_that_parse(name: str, command: Any) -> None:
    """What help shows can be typed."""
    shown = re.findall(r"\[bold\](.*?)\[/bold\]", command.epilog or "")
    assert len(shown) >= 2
    for line in shown:
        parse(line)
        assert line.startswith(f"tracelab {name}")


def test_every_command_in_a_page_parses() -> None:
    """Consoles in README and docs show commands that exist, with options that exist."""
    lines = [
        line.removeprefix("$ ").split(" | ")[0].split("&& ")[-1]
        for _, block in fences("console")
        for line in block.splitlines()
        if line.startswith("$ ")
    ]
    ours = [line for line in lines if line.startswith("tracelab ")]
    assert ours
    for line in ours:
        parse(line)


def test_every_shape_in_a_page_compiles() -> None:
    """Blocks of YAML that are files of shapes are files of shapes."""
    for page, block in fences("yaml"):
        document = yaml.safe_load(block)
        if isinstance(document, dict) and document.get("kind") == "TraceSpec":
            spec.load(block, page.name)


def test_no_file_names_a_registry_or_a_machine() -> None:
    """Packages come from wherever the reader's pip looks, and paths are the reader's own."""
    for path in tracked():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for word in (*OF_A_REGISTRY, *OF_A_MACHINE):
            assert word not in text, f"{path.relative_to(ROOT)} names {word}"
