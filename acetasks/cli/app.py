"""The application: its commands, which have a module each, and what all of them share."""

from __future__ import annotations

import errno
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from acetasks import __version__
from acetasks.cli import download, get, history, normalize, providers, report_page, resume, serve, submit, wait, watch
from acetasks.cli import run as run_
from acetasks.cli.demo import SPEED, run_demo
from acetasks.cli.demo_service import TASK_SHARES, DemoConfig
from acetasks.cli.exit_codes import ExitCode
from acetasks.cli.help import PlainCommand, PlainGroup, examples, expand_options, help_of
from acetasks.cli.runner import discard_stdout, run_command
from acetasks.cli.screen import Screen, open_screen

if TYPE_CHECKING:
    from collections.abc import Callable

# Plain tracebacks: rich's show local variables, which may include a token.
app = typer.Typer(
    name="acetasks",
    cls=PlainGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 success, 1 a task failed, 2 wrong usage or bad token, 3 timed out, 4 a submission is"
    " uncertain, 5 the output cannot be written, 130 Ctrl-C, 143 SIGTERM.",
)

DemoTasks = Annotated[int, typer.Option(min=len(TASK_SHARES), max=5000, help="Number of tasks, over five providers.")]
Seed = Annotated[int, typer.Option(help="Random seed; the same seed gives the same ids and durations.")]
# For tests: at the default speed the longest task takes 20 seconds.
DemoSpeed = Annotated[float, typer.Option(hidden=True, min=1)]


def run() -> None:
    """Run the command line and exit."""
    try:
        app(prog_name="acetasks")
    except OSError as error:
        # Only the help and the version are printed here: commands handle their own errors.
        if error.errno not in {errno.ENOSPC, errno.EIO, errno.EPIPE}:
            raise
        discard_stdout()
        sys.stderr.write(f"error: cannot write to stdout: {error.strerror}\n")
        sys.exit(ExitCode.OUTPUT)


def _show_version(requested: bool) -> None:
    if requested:
        typer.echo(f"acetasks {__version__}")
        raise typer.Exit


@app.callback()
def start(
    context: typer.Context,
    *,
    version: Annotated[  # noqa: ARG001  # handled by its callback
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Submit, await and download generation tasks on Ace Data Cloud and useapi.net.

    Tokens are read from ACEDATACLOUD_API_TOKEN and USEAPI_API_TOKEN.
    """
    context.obj = context.with_resource(open_screen())


#: Each command with its examples, in the order of the help.
_COMMANDS: dict[Callable[..., None], tuple[str, ...]] = {
    submit.submit: (
        "acetasks submit luma prompt='a cat' loop=true --wait",
        "acetasks submit flux --json-file payload.json --download pictures",
        "acetasks submit suno lyric=@song.txt custom:=true | acetasks wait - --json",
        "acetasks submit luma prompt='a cat' --journal tasks.db --key order-4711",
    ),
    run_.run: (
        "acetasks run prompts.csv --provider flux --download pictures",
        "acetasks run jobs.jsonl --concurrency 20 --json > results.jsonl",
    ),
    wait.wait: (
        "acetasks wait luma 7489df4c-ef03-4de0-b598-e9a590793434 --timeout 10m",
        "acetasks wait luma:7489df4c veo:46b52e46 --download files",
        "acetasks wait flux @ids.txt --any",
        "cat ids.txt | acetasks wait - --json",
    ),
    watch.watch: (
        "acetasks watch luma:7489df4c veo:46b52e46 --timeout 1h",
        "acetasks watch flux @ids.txt",
    ),
    get.get: (
        "acetasks get veo 7489df4c-ef03-4de0-b598-e9a590793434 --json",
        "acetasks get luma:7489df4c captcha:46b52e46",
    ),
    resume.resume: ("acetasks resume --journal tasks.db --download files",),
    history.history: (
        "acetasks history luma --since yesterday",
        "acetasks history flux --since 2h --json | acetasks wait -",
        "acetasks history --journal tasks.db",
    ),
    report_page.report: ("acetasks report --journal tasks.db -o report.html",),
    download.download: (
        "acetasks download luma:7489df4c flux:46b52e46 files",
        "acetasks download flux @ids.txt files --all-roles",
    ),
    normalize.normalize: ("acetasks normalize luma callback.json --json",),
    providers.providers: ("acetasks providers --json",),
    serve.serve: ("acetasks serve --port 8080 --speed 10 --failure-rate 0.1",),
}
for _command, _examples in _COMMANDS.items():
    app.command(cls=PlainCommand, help=help_of(_command), epilog=examples(*_examples))(expand_options(_command))


@app.command(cls=PlainCommand, epilog=examples("acetasks demo --tasks 200"))
def demo(context: typer.Context, *, tasks: DemoTasks = 1000, seed: Seed = 0, speed: DemoSpeed = SPEED) -> None:
    """Show one client awaiting a thousand tasks of a simulated service."""
    screen: Screen = context.obj
    config = DemoConfig(tasks=tasks, seed=seed, speed=speed)
    raise typer.Exit(run_command(screen, lambda: run_demo(screen, config), how_to_go_on="the demo has stopped"))
