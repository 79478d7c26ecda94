"""Keep: runs list, show, rm, export, import."""

from pathlib import Path
from typing import Annotated

import typer

from tracelab.cli import complete
from tracelab.cli.app import app
from tracelab.cli.option import Debug, Json, NoColor, Quiet, examples, voice

runs = typer.Typer(
    no_args_is_help=True,
    help="Runs on disk: list, show, delete, take them elsewhere.",
    epilog=examples("tracelab runs list", "tracelab runs export last"),
)
app.add_typer(runs, name="runs", rich_help_panel="keep")

RunArgument = Annotated[
    str,
    typer.Argument(
        metavar="RUN",
        help="A Run: its id, a prefix, 'last' (the newest finished) or a folder.",
        autocompletion=complete.runs,
    ),
]


@runs.command("list", epilog=examples("tracelab runs list", "tracelab runs list --json"))
def list_(json: Json = False, quiet: Quiet = False, no_color: NoColor = False, debug: Debug = False) -> int:
    """List all Runs, newest first: state, length, verdict."""
    from tracelab.cli.render import show_runs
    from tracelab.experiment import keep

    speech = voice(json=json, quiet=quiet, no_color=no_color)
    return show_runs(keep.every(), speech)


@runs.command(epilog=examples("tracelab runs show", "tracelab runs show 20261124 --json"))
def show(
    run: RunArgument = "last",
    json: Json = False,
    quiet: Quiet = False,
    no_color: NoColor = False,
    debug: Debug = False,
) -> int:
    """Show what a Run was and what was found, without judging it again."""
    from tracelab.cli.render import show_run
    from tracelab.experiment import keep

    return show_run(keep.one(run), voice(json=json, quiet=quiet, no_color=no_color))


@runs.command(epilog=examples("tracelab runs rm 20261124-101530-demo-ab12", "tracelab runs rm last"))
def rm(
    run: Annotated[
        list[str],
        typer.Argument(metavar="RUN...", help="Runs: an id, a prefix or 'last'.", autocompletion=complete.runs),
    ],
    json: Json = False,
    quiet: Quiet = False,
    no_color: NoColor = False,
    debug: Debug = False,
) -> int:
    """Delete Runs; all that are named or, where one cannot be, none."""
    from tracelab.experiment import keep

    speech = voice(json=json, quiet=quiet, no_color=no_color)
    removed = [r.id for r in keep.remove(run)]
    if json:
        speech.document({"schema": "tracelab/1", "removed": removed})
    elif not quiet:
        speech.line(f"removed: {', '.join(removed)}")
    return 0


@runs.command(epilog=examples("tracelab runs export last", "tracelab runs export 20261124 yesterday.tar.gz"))
def export(
    run: RunArgument = "last",
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="NAME.tar.zst or NAME.tar.gz; by default RUN.tar.zst here.")
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
    no_color: NoColor = False,
    debug: Debug = False,
) -> int:
    """Write a Run to one file, to be judged on another machine."""
    from tracelab.experiment import keep

    speech = voice(json=json, quiet=quiet, no_color=no_color)
    exported, path, size_bytes = keep.export(run, file)
    if json:
        speech.document({"schema": "tracelab/1", "run": exported.id, "file": str(path), "size_bytes": size_bytes})
    elif quiet:
        speech.line(str(path))
    else:
        speech.line(f"{path}  {size_bytes / 1e6:.1f} MB\nnext, where it goes: tracelab runs import {path.name}")
    return 0


@runs.command("import", epilog=examples("tracelab runs import run.tar.zst", "tracelab runs import run.tar.gz --json"))
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file that `tracelab runs export` wrote.")],
    json: Json = False,
    quiet: Quiet = False,
    no_color: NoColor = False,
    debug: Debug = False,
) -> int:
    """Read a Run from a file; nothing of it lands outside of its folder."""
    from tracelab.experiment import keep

    speech = voice(json=json, quiet=quiet, no_color=no_color)
    imported = keep.import_(file)
    if json:
        speech.document({"schema": "tracelab/1", "run": imported.id, "folder": str(imported.folder)})
    elif quiet:
        speech.line(imported.id)
    else:
        speech.line(f"run {imported.id}\n{imported.folder}\nnext: tracelab check --run {imported.id}")
    return 0
