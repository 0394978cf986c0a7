"""Report of a benchmark run: the machine, all results, tables and charts."""

from __future__ import annotations

import contextlib
import datetime as dt
import importlib.metadata
import os
import platform
from typing import TYPE_CHECKING

import msgspec
from arena import Result
from charts import build_charts, build_dot_charts
from learn import Study
from meters import name_processor
from svg import draw, draw_dots
from tables import render_tables

import acetasks

if TYPE_CHECKING:
    from pathlib import Path

_PACKAGES = ("aiohttp", "msgspec", "anyio", "acedatacloud", "httpx")


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """Machine, software versions and date of the measurements.

    Attributes:
        processor: Model of the processor.
        cores: Number of usable cores.
        system: Operating system.
        python: Python version.
        packages: Versions of the involved packages.
        date: Date in UTC.
        load: Load average over one minute before the measurements.
    """

    processor: str
    cores: int
    system: str
    python: str
    packages: dict[str, str]
    date: str
    load: float

    @property
    def name(self) -> str:
        """Description in one line."""
        packages = ", ".join(f"{name} {version}" for name, version in self.packages.items())
        cores = f"{self.cores} core{'s' if self.cores != 1 else ''}"
        return f"{self.processor}, {cores}, {self.system}, Python {self.python}, {packages}; {self.date}"


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """All measurements of one run.

    Attributes:
        machine: The machine.
        results: Results of the trials.
        study: Simulations of the polling schedules.
    """

    machine: Machine
    results: list[Result]
    study: Study = Study()


def describe_machine() -> Machine:
    """Return a description of this machine."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Machine(
        processor=name_processor(),
        cores=cores,
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        packages={"acetasks": acetasks.__version__, **_find_versions()},
        date=dt.datetime.now(dt.UTC).date().isoformat(),
        load=os.getloadavg()[0],
    )


def render(report: Report) -> str:
    """Return the report as Markdown."""
    return f"Measured on {report.machine.name}.\n\n{render_tables(report.results, report.study)}\n"


def write(report: Report, directory: Path, charts: Path) -> None:
    """Write the results and tables into one directory, and the charts into another."""
    directory.mkdir(parents=True, exist_ok=True)
    charts.mkdir(parents=True, exist_ok=True)
    (directory / "results.json").write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")
    (directory / "results.md").write_text(render(report), encoding="utf-8")
    for name, chart in build_charts(report.results):
        (charts / f"{name}.svg").write_text(draw(chart), encoding="utf-8")
    for name, dots in build_dot_charts(report.study):
        (charts / f"{name}.svg").write_text(draw_dots(dots), encoding="utf-8")


def _find_versions() -> dict[str, str]:
    """Return the versions of the installed packages."""
    versions = {}
    for package in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return versions
