"""The command tree: groups as a reader looks for them."""

from typing import Annotated

import typer

from tracelab import __version__
from tracelab.cli.option import examples

app = typer.Typer(
    name="tracelab",
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Boot a real social platform, drive it, harm it, and judge its architecture's promises from its traces.",
    epilog=examples("tracelab demo", "tracelab up"),
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tracelab {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Boot a real social platform, drive it, harm it, and judge its architecture's promises from its traces."""


# Each module registers its commands on `app`, in the order in which help shows them; heavy imports stand inside.
# isort: off
from tracelab.cli import start  # noqa: E402, F401
from tracelab.cli import drive  # noqa: E402, F401
from tracelab.cli import harm  # noqa: E402, F401
from tracelab.cli import promise  # noqa: E402, F401
from tracelab.cli import proxy  # noqa: E402, F401
from tracelab.cli import see  # noqa: E402, F401
from tracelab.cli import judge  # noqa: E402, F401
from tracelab.cli import keep  # noqa: E402, F401
