"""`acetasks providers`: the table of providers, printed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from rich.table import Table

from acetasks.cli.running import Exit
from acetasks.providers import ProviderSpec, specs

if TYPE_CHECKING:
    from acetasks.cli.screen import Screen

_HINT = (
    "Any other provider is asked in the standard way, at /<provider>/tasks.\n"
    "To give one a row of its own: acetasks.providers.register(ProviderSpec(...))"
)


class ProviderLine(msgspec.Struct, frozen=True, kw_only=True):
    """A provider in a line of JSON; see `acetasks.providers.ProviderSpec` for what each key means."""

    slug: str
    service: str
    submit_paths: tuple[str, ...]
    tasks_path: str
    has_batch: bool
    typical_duration: float
    interval: float


def list_providers(screen: Screen, *, as_json: bool) -> Exit:
    """Print every provider that has a row.

    Args:
        screen: Where to.
        as_json: Whether as one JSON object a line.

    Returns:
        The exit code.
    """
    if as_json:
        for spec in specs():
            screen.write_json(msgspec.json.encode(_line(spec)))
        return Exit.OK
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("provider", "service", "submits to", "asked"):
        table.add_column(name, no_wrap=True)
    for name in ("typical", "every"):
        table.add_column(name, justify="right")
    for spec in specs():
        line = _line(spec)
        more = f" +{len(line.submit_paths) - 1}" if len(line.submit_paths) > 1 else ""
        table.add_row(
            line.slug,
            line.service,
            f"{line.submit_paths[0]}{more}" if line.submit_paths else "",
            "batch" if line.has_batch else "single",
            _seconds(line.typical_duration),
            _seconds(line.interval),
        )
    screen.out.print(table)
    screen.out.print(f"\n{_HINT}", soft_wrap=True)
    return Exit.OK


def _line(spec: ProviderSpec) -> ProviderLine:
    return ProviderLine(
        slug=spec.slug,
        service=spec.service,
        submit_paths=spec.submit_paths,
        tasks_path=spec.path,
        has_batch=spec.has_batch,
        typical_duration=spec.typical_duration,
        interval=spec.poll_interval(None),
    )


def _seconds(seconds: float) -> str:
    """Write seconds so that a column of them can be compared: two or three digits that count."""
    return f"{seconds:,.0f} s" if seconds >= 100 else f"{seconds:.2g} s"  # noqa: PLR2004  # as said
