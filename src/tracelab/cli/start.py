"""Start: demo, up, status, logs, down."""

from typing import Annotated

import typer

from tracelab.cli.app import app
from tracelab.cli.option import Debug, Json, Name, NoColor, Quiet, examples, platform_name, voice

_PANEL = "start"


@app.command(
    rich_help_panel=_PANEL,
    epilog=examples("tracelab demo", "tracelab demo --seed 7 --keep"),
)
def demo(
    seed: Annotated[int | None, typer.Option(help="Other people and other words with another seed.")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the platform up.")] = False,
    name: Name = None,
    json: Json = False,
    quiet: Quiet = False,
    no_color: NoColor = False,
    debug: Debug = False,
) -> int:
    """Boot, drive, kill the caches, judge, take down: the main job in one command."""
    from tracelab.cli.render import Renderer, show_demo
    from tracelab.experiment.demo import demo as run_demo

    speech = voice(json=json, quiet=quiet, no_color=no_color)
    with Renderer(speech) as renderer:
        told = run_demo(name=name or "demo", seed=seed, keep=keep, on_event=renderer.on_event)
    return show_demo(told, speech)


@app.command(
    rich_help_panel=_PANEL,
    epilog=examples(
        "tracelab up", "tracelab up --name two --port gateway=8080", "tracelab up --replicas 2 --db-replicas"
    ),
)
def up(
    runtime: Annotated[str | None, typer.Option(help="How the platform is started.", metavar="RUNTIME")] = None,
    port: Annotated[
        list[str] | None, typer.Option("--port", help="Fix a component's port.", metavar="COMPONENT=PORT")
    ] = None,
    replicas: Annotated[int, typer.Option(min=1, max=8, help="How many instances of every service.")] = 1,
    db_replicas: Annotated[
        bool, typer.Option("--db-replicas", help="A standby of every database, read when its primary is away.")
    ] = False,
    use: Annotated[
        list[str] | None,
        typer.Option("--use", help="A store that somebody else runs, by its URL.", metavar="COMPONENT=URL"),
    ] = None,
    images: Annotated[
        str | None, typer.Option(help="Containers: 'bundled' (one image, ours) or 'upstream'.", metavar="SET")
    ] = None,
    telemetry: Annotated[str, typer.Option(help="'sdk', or 'off' to see what observing costs.")] = "sdk",
    timeout: Annotated[str, typer.Option(help="How long everything may take to become ready.")] = "60s",
    name: Name = None,
    json: Json = False,
    quiet: Quiet = False,
    no_color: NoColor = False,
    debug: Debug = False,
) -> int:
    """Boot everything, show progress, print URLs, return."""
    from tracelab import settings
    from tracelab.cli.render import Renderer, show_status
    from tracelab.errors import UsageError
    from tracelab.experiment import boot
    from tracelab.platform import used
    from tracelab.platform.social import SOCIAL, databases, replicated
    from tracelab.quantity import duration_s
    from tracelab.runtimes.port import UpOptions

    speech = voice(json=json, quiet=quiet, no_color=no_color)
    if telemetry not in ("sdk", "off"):
        raise UsageError(f"--telemetry {telemetry}: expected 'sdk' or 'off'", hint="tracelab up --telemetry sdk")
    options = UpOptions(
        home=settings.home(),
        name=platform_name(name),
        ports=_ports(port or []),
        telemetry=telemetry,
        timeout_s=duration_s(timeout),
        images=images,
        use=used.read(SOCIAL, use or []),
    )
    chosen, why = boot.choose_runtime(runtime, name=options.name, images=images)
    with Renderer(speech) as renderer:
        renderer.say(f"runtime: {chosen} ({why})")
        standbys = databases(but_not=options.use) if db_replicas else ()
        topology = replicated(replicas, replicas_of=standbys)
        platform = boot.up(topology, options, runtime_name=chosen, on_event=renderer.on_event)
    return show_status(platform, speech, is_fresh=True)


def _ports(words: list[str]) -> dict[str, int]:
    from tracelab.errors import UsageError
    from tracelab.platform.social import WHOLE

    ports = {}
    for word in words:
        component, _, number = word.partition("=")
        if not number.isdigit() or not 0 < int(number) < 65536:
            raise UsageError(f"--port {word}: expected COMPONENT=PORT", hint="tracelab up --port gateway=8080")
        ports[WHOLE.component(component).name] = int(number)
    return ports


@app.command(rich_help_panel=_PANEL, epilog=examples("tracelab status", "tracelab status --json"))
def status(
    name: Name = None, json: Json = False, quiet: Quiet = False, no_color: NoColor = False, debug: Debug = False
) -> int:
    """Show what is running: state, ports, restarts, memory."""
    from tracelab.cli.render import show_status
    from tracelab.experiment import boot

    platform, runtime = boot.attach(platform_name(name))
    return show_status(runtime.status(platform), voice(json=json, quiet=quiet, no_color=no_color))


@app.command(rich_help_panel=_PANEL, epilog=examples("tracelab logs feed", "tracelab logs gateway -f"))
def logs(
    component: Annotated[str | None, typer.Argument(help="A component; all of them where none is named.")] = None,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on showing new lines.")] = False,
    lines: Annotated[int, typer.Option("-n", "--lines", min=1, help="How many lines to begin with.")] = 50,
    name: Name = None,
    json: Json = False,
    quiet: Quiet = False,
    no_color: NoColor = False,
    debug: Debug = False,
) -> None:
    """Show the log of a component."""
    from tracelab.errors import UnknownName, UsageError
    from tracelab.experiment import boot

    speech = voice(json=json, quiet=quiet, no_color=no_color)
    if json and follow:
        raise UsageError("--json is one document, and --follow never ends", hint="tracelab logs --json")
    platform, runtime = boot.attach(platform_name(name))
    known = [c.name for c in runtime.status(platform).components]
    if component is not None and component not in known:
        raise UnknownName("component", component, known, hint="tracelab status")
    wanted = [component] if component else known
    if json:
        logs = {each: list(runtime.logs(platform, each, follow=False, lines=lines)) for each in wanted}
        speech.document({"schema": "tracelab/1", "platform": platform.name, "logs": logs})
        return
    for each in wanted:
        prefix = "" if component else f"{each:>15} | "
        for line in runtime.logs(platform, each, follow=follow and component is not None, lines=lines):
            if not speech.line(f"{prefix}{line}"):
                return


@app.command(rich_help_panel=_PANEL, epilog=examples("tracelab down", "tracelab down --all"))
def down(
    every: Annotated[bool, typer.Option("--all", help="Every platform of this user.")] = False,
    keep_data: Annotated[bool, typer.Option("--keep-data", help="Keep the databases for the next up.")] = False,
    purge: Annotated[
        bool, typer.Option("--purge", help="Remove Runs and caches too: everything that tracelab ever wrote.")
    ] = False,
    name: Name = None,
    json: Json = False,
    quiet: Quiet = False,
    no_color: NoColor = False,
    debug: Debug = False,
) -> int:
    """Stop everything; Runs stay, databases go."""
    from tracelab import settings
    from tracelab.cli.render import Renderer
    from tracelab.experiment import boot

    speech = voice(json=json, quiet=quiet, no_color=no_color)
    home = settings.home()
    stopped = []
    with Renderer(speech) as renderer:
        for each in boot.names(home) if every or purge else [platform_name(name)]:
            boot.down_by_name(each, renderer.on_event, keep_data=keep_data and not purge)
            stopped.append(each)
    if purge:
        boot.purge(home)
    if json:
        speech.document({"schema": "tracelab/1", "stopped": stopped})
    elif not quiet:
        typer.echo(f"down: {', '.join(stopped) or 'nothing was up'}" + ("; all state removed" if purge else ""))
    return 0
