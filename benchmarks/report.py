"""What is kept of a run of the benchmark: the machine, every result, and what is drawn and written from them."""

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
    """Where and when it was measured.

    Attributes:
        processor: The processor's model.
        cores: How many of its cores could be used.
        system: The operating system.
        python: The version of Python.
        packages: The versions of what takes part.
        date: The day, in UTC.
        load: How many processes wanted a core before anything was measured, on average over a minute.
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
        """Everything in one line."""
        packages = ", ".join(f"{name} {version}" for name, version in self.packages.items())
        cores = f"{self.cores} core{'s' if self.cores != 1 else ''}"
        return f"{self.processor}, {cores}, {self.system}, Python {self.python}, {packages}; {self.date}"


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that was measured in one run.

    Attributes:
        machine: On which machine.
        results: Of the trials beside the competitors.
        study: Of the schedules.
    """

    machine: Machine
    results: list[Result]
    study: Study = Study()


def describe_machine() -> Machine:
    """Describe this machine."""
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
    """Write everything as Markdown."""
    return f"Measured on {report.machine.name}.\n\n{render_tables(report.results, report.study)}\n"


def write(report: Report, directory: Path) -> None:
    """Write the results, the tables and the charts into a directory."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "results.json").write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")
    (directory / "results.md").write_text(render(report), encoding="utf-8")
    for name, chart in build_charts(report.results):
        (directory / f"{name}.svg").write_text(draw(chart), encoding="utf-8")
    for name, dots in build_dot_charts(report.study):
        (directory / f"{name}.svg").write_text(draw_dots(dots), encoding="utf-8")


def _find_versions() -> dict[str, str]:
    """Find the versions of the packages that are there."""
    versions = {}
    for package in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return versions
