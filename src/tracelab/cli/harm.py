"""Harm: chaos, with a command for each fault, and what looks at them and undoes them."""

from typing import Annotated

import typer

from tracelab.cli import complete
from tracelab.cli.app import app
from tracelab.cli.fault import From, Target, To, flag, harming, two
from tracelab.cli.option import Debug, Json, Name, NoColor, Quiet, examples, platform_name, voice

chaos = typer.Typer(
    no_args_is_help=True,
    help="Harm a running platform; every fault heals.",
    epilog=examples("tracelab chaos kill redis", "tracelab chaos status"),
)
app.add_typer(chaos, name="chaos", rich_help_panel="harm")

Baggage = Annotated[
    str | None,
    typer.Option(help="Only requests that carry this in their W3C baggage.", metavar="KEY=VALUE"),
]


@harming(chaos, "tracelab chaos kill redis", "tracelab chaos kill feed#1 --for 20s --no-load")
def kill(target: Target) -> dict[str, str | None]:
    """Kill a component and hold its restart until the fault ends (PostgreSQL: immediate shutdown)."""
    return {"target": target}


@harming(chaos, "tracelab chaos stop feed", "tracelab chaos stop messaging --for 10s")
def stop(target: Target) -> dict[str, str | None]:
    """Stop a component gracefully (SIGTERM) and hold its restart until the fault ends."""
    return {"target": target}


@harming(chaos, "tracelab chaos pause feed-db", "tracelab chaos pause redis --for 10s")
def pause(target: Target) -> dict[str, str | None]:
    """Stop a component without ending it: connections stay, answers do not come."""
    return {"target": target}


@harming(chaos, "tracelab chaos cpu feed --to 20%", "tracelab chaos cpu feed-db --to 50% --for 20s")
def cpu(
    target: Target,
    to: Annotated[str | None, typer.Option(help="Of so much of the time (default 20%).", metavar="SHARE")] = None,
) -> dict[str, str | None]:
    """Let a component run in a share of the time only."""
    return {"target": target, "to": to}


@harming(
    chaos, "tracelab chaos partition feed profile --one-way", "tracelab chaos partition feed media --mode blackhole"
)
def partition(
    first: Target,
    second: Annotated[
        str | None,
        typer.Argument(
            help="The other side; without it, everybody.", autocompletion=complete.targets, metavar="[TARGET]"
        ),
    ] = None,
    mode: Annotated[
        str | None, typer.Option(help="'refuse' (default), 'blackhole' or 'reset'.", metavar="MODE")
    ] = None,
    one_way: Annotated[bool, typer.Option("--one-way", help="Only calls from the first to the second.")] = False,
) -> dict[str, str | None]:
    """Cut the edges between two components, or between one and everybody else."""
    return {"target": two(first, second), "mode": mode, "one-way": flag(one_way)}


@harming(chaos, "tracelab chaos slow feed-db --latency 300ms --jitter 50ms", "tracelab chaos slow feed media")
def slow(
    first: From,
    second: To = None,
    latency: Annotated[str | None, typer.Option(help="So much later (default 300ms).", metavar="TIME")] = None,
    jitter: Annotated[str | None, typer.Option(help="Give or take so much.", metavar="TIME")] = None,
    baggage: Baggage = None,
) -> dict[str, str | None]:
    """Let every answer of a component come later."""
    return {"target": two(first, second), "latency": latency, "jitter": jitter, "baggage": baggage}


@harming(
    chaos,
    "tracelab chaos errors media --status 503 --share 20%",
    "tracelab chaos errors feed media --baggage tracelab.harm=media",
)
def errors(
    first: From,
    second: To = None,
    status: Annotated[str | None, typer.Option(help="The answer (default 503).", metavar="STATUS")] = None,
    share: Annotated[str | None, typer.Option(help="Of so many requests (default 100%).", metavar="SHARE")] = None,
    baggage: Baggage = None,
) -> dict[str, str | None]:
    """Answer requests to a component with an error, in its place."""
    return {"target": two(first, second), "status": status, "share": share, "baggage": baggage}


@harming(chaos, "tracelab chaos readonly feed-db", "tracelab chaos readonly postgres --for 10s")
def readonly(target: Target) -> dict[str, str | None]:
    """Let a database take no writes."""
    return {"target": target}


@harming(chaos, "tracelab chaos lock feed-db --table posts", "tracelab chaos lock user-db --table profiles --for 5s")
def lock(
    target: Target,
    table: Annotated[str | None, typer.Option(help="Which table.", metavar="TABLE")] = None,
) -> dict[str, str | None]:
    """Lock a table of a database, so that reads and writes of it wait."""
    return {"target": target, "table": table}


@harming(chaos, "tracelab chaos exhaust feed-db", "tracelab chaos exhaust auth-db --for 10s")
def exhaust(target: Target) -> dict[str, str | None]:
    """Take every session that a database still has."""
    return {"target": target}


@harming(chaos, "tracelab chaos lag feed-db-replica", "tracelab chaos lag db-replicas --for 10s")
def lag(target: Target) -> dict[str, str | None]:
    """Let a standby follow its primary no more."""
    return {"target": target}


@harming(chaos, "tracelab chaos hang feed-redis", "tracelab chaos hang redis --for 10s")
def hang(target: Target) -> dict[str, str | None]:
    """Let a cache accept everything and answer nothing for up to a second at a time."""
    return {"target": target}


@harming(chaos, "tracelab chaos full feed-redis", "tracelab chaos full redis --for 10s")
def full(target: Target) -> dict[str, str | None]:
    """Let a cache be out of memory: it answers reads and refuses writes."""
    return {"target": target}


@harming(chaos, "tracelab chaos flush feed-redis", "tracelab chaos flush redis --for 10s")
def flush(target: Target) -> dict[str, str | None]:
    """Empty a cache, so that everything is a miss; this one is not undone, it fills again."""
    return {"target": target}


@chaos.command(epilog=examples("tracelab chaos status", "tracelab chaos status --json"))
def status(
    name: Name = None, json: Json = False, quiet: Quiet = False, no_color: NoColor = False, debug: Debug = False
) -> int:
    """Show the faults that hold now."""
    from tracelab.experiment import boot, harm

    platform, _ = boot.attach(platform_name(name))
    active = harm.active(platform)
    if json:
        voice(json=True).document({"schema": "tracelab/1", "active": active})
    elif not active and not quiet:
        typer.echo("no fault holds")
    for fault in [] if json else active:
        typer.echo(
            f"{fault['fault']} {fault['target']}: since {fault['since']}, heals at {fault['expires']} at the latest"
        )
    return 0


@chaos.command(epilog=examples("tracelab chaos edges", "tracelab chaos edges --json"))
def edges(
    name: Name = None, json: Json = False, quiet: Quiet = False, no_color: NoColor = False, debug: Debug = False
) -> int:
    """Show live connections and bytes of every edge, and what harms it."""
    from tracelab.cli.render import show_edges
    from tracelab.experiment import boot
    from tracelab.experiment import edges as edges_

    platform, _ = boot.attach(platform_name(name))
    return show_edges(edges_.seen(platform), voice(json=json, quiet=quiet, no_color=no_color))


@chaos.command(epilog=examples("tracelab chaos heal", "tracelab chaos heal --name two"))
def heal(
    name: Name = None, json: Json = False, quiet: Quiet = False, no_color: NoColor = False, debug: Debug = False
) -> int:
    """Undo every fault of the ledger; safe to repeat."""
    from tracelab.experiment import boot, harm

    platform, runtime = boot.attach(platform_name(name))
    healed = harm.heal(platform, runtime)
    if json:
        voice(json=True).document({"schema": "tracelab/1", "healed": healed})
    elif not quiet:
        typer.echo(f"healed: {', '.join(healed)}" if healed else "nothing to heal")
    return 0
