"""`acetasks providers`: prints the table of provider specs."""

from __future__ import annotations

import msgspec
import typer
from rich.table import Table

from acetasks.cli.exit_codes import ExitCode
from acetasks.cli.options import AsJson
from acetasks.cli.runner import run_command
from acetasks.cli.screen import Screen
from acetasks.providers import ProviderSpec, specs

_HINT = (
    "Any other provider is polled at /<provider>/tasks with default settings; submit needs --path for it.\n"
    "Python programs can define its settings with acetasks.providers.register."
)
#: From this many seconds on, whole seconds are precise enough.
_WHOLE_SECONDS_FROM = 100


class ProviderLine(msgspec.Struct, frozen=True, kw_only=True):
    """JSON object of a provider; its keys are explained at `acetasks.providers.ProviderSpec`."""

    slug: str
    service: str
    submit_paths: tuple[str, ...]
    tasks_path: str
    has_batch: bool
    typical_duration: float
    interval: float


def providers(context: typer.Context, *, as_json: AsJson = False) -> None:
    """List the providers, with their submit paths and poll settings."""
    screen: Screen = context.obj
    raise typer.Exit(run_command(screen, lambda: list_providers(screen, as_json=as_json)))


def list_providers(screen: Screen, *, as_json: bool) -> ExitCode:
    """Print every registered provider.

    Args:
        screen: Prints the table.
        as_json: Whether to print one JSON object per line instead of a table.

    Returns:
        The exit code.
    """
    lines = [_provider_line(spec) for spec in specs()]
    if as_json:
        for line in lines:
            screen.print_json(msgspec.json.encode(line))
    else:
        screen.out.print(_provider_table(lines))
        screen.out.print(f"\n{_HINT}", soft_wrap=True)
    return ExitCode.OK


def _provider_line(spec: ProviderSpec) -> ProviderLine:
    return ProviderLine(
        slug=spec.slug,
        service=spec.service,
        submit_paths=spec.submit_paths,
        tasks_path=spec.path,
        has_batch=spec.has_batch,
        typical_duration=spec.typical_duration,
        interval=spec.poll_interval(None),
    )


def _provider_table(lines: list[ProviderLine]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("provider", "service", "submit path", "polling"):
        table.add_column(name, no_wrap=True)
    for name in ("typical", "interval"):
        table.add_column(name, justify="right")
    for line in lines:
        more = f" +{len(line.submit_paths) - 1}" if len(line.submit_paths) > 1 else ""
        table.add_row(
            line.slug,
            line.service,
            f"{line.submit_paths[0]}{more}" if line.submit_paths else "",
            "batch" if line.has_batch else "single",
            _format_seconds(line.typical_duration),
            _format_seconds(line.interval),
        )
    return table


def _format_seconds(seconds: float) -> str:
    """Format seconds with two significant digits, or as whole seconds, so that a column can be compared."""
    return f"{seconds:,.0f} s" if seconds >= _WHOLE_SECONDS_FROM else f"{seconds:.2g} s"
