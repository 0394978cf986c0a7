"""The command as a whole: entry points, help, missing dependencies, and how errors end it."""

from __future__ import annotations

import contextlib
import io
import logging
import re
import subprocess
import sys
from importlib import metadata

import pytest
from typer.testing import CliRunner

import acetasks
from acetasks.cli.app import app
from acetasks.cli.exit_codes import CommandError, ExitCode
from acetasks.cli.runner import run_command
from acetasks.cli.screen import Screen, open_screen

COMMANDS = [
    *("submit", "run", "wait", "watch", "get", "resume", "history", "download", "normalize"),
    *("providers", "serve", "demo"),
]


def test_the_module_runs_the_command_line() -> None:
    """`python -m acetasks` runs the command line."""
    done = subprocess.run([sys.executable, "-m", "acetasks", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"acetasks {acetasks.__version__}\n"


def test_the_console_script_runs_the_command_line() -> None:
    """The installed console script calls `main`; a source tree that is not installed has no script."""
    scripts = [script for script in metadata.entry_points(group="console_scripts") if script.name == "acetasks"]
    assert [script.value for script in scripts] in ([], ["acetasks.cli:main"])


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_a_missing_extra_is_reported_with_the_install_command(missing: str) -> None:
    """A missing package of the extra prints one line, without a traceback, and exits with 2."""
    code = f"import sys; sys.modules[{missing!r}] = None; from acetasks.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == f"acetasks: {missing} is not installed: python -m pip install rich typer\n"


def test_any_other_missing_module_raises() -> None:
    """A missing module outside the extra is shown with its traceback."""
    code = "import sys; sys.modules['acetasks.cli.demo'] = None; from acetasks.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "ModuleNotFoundError" in done.stderr


def test_the_library_does_not_import_the_extra() -> None:
    """`acetasks`, `acetasks.cli` and the demo's service import neither typer nor rich."""
    code = """if True:
        import sys, acetasks, acetasks.cli, acetasks.cli.demo_service
        sys.exit(bool({'typer', 'rich'} & set(sys.modules)))
    """
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command: str) -> None:
    """The help of each command ends with an example of that command."""
    result = CliRunner().invoke(app, [command, "-h"])
    assert result.exit_code == 0
    assert re.search(rf"Examples?:\s+acetasks {command}", result.stdout)
    assert not re.search("[{}]|<bool>", result.stdout)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_fits_40_columns(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No name of an option is cut off, and only examples are longer than a line."""
    monkeypatch.setenv("COLUMNS", "40")
    lines = CliRunner().invoke(app, [command, "--help"]).stdout.splitlines()
    assert "…" not in "".join(lines)
    assert [line for line in lines if len(line) > 40 and not line.startswith("    acetasks ")] == []


def test_the_help_lists_every_command() -> None:
    """`acetasks --help` names each command."""
    result = CliRunner().invoke(app, ["--help"])
    assert all(command in result.stdout for command in COMMANDS)


def interrupted() -> ExitCode:
    """Raise the exception of Ctrl-C."""
    raise KeyboardInterrupt


def pipe_closed() -> ExitCode:
    """Raise the exception of a closed stdout."""
    raise BrokenPipeError


def failed() -> ExitCode:
    """Raise an error with control characters in its text."""
    raise CommandError("no\x1b[2J\nway", code=ExitCode.FAILED)


@pytest.mark.parametrize(
    ("action", "code", "text"),
    [
        (interrupted, 130, "interrupted: go on\n"),
        (pipe_closed, 141, ""),
        (failed, 1, r"error: no\u001b[2J\nway" + "\n"),
    ],
)
def test_errors_are_mapped_to_exit_codes(
    action: object, code: int, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each error has its exit code and prints at most one line without control characters on stderr."""
    assert run_command(Screen(), action, how_to_go_on="go on") == code
    assert capsys.readouterr().err == text


def test_a_failing_log_handler_does_not_raise(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A warning that cannot be printed is reported by logging; streams without an encoding are accepted."""

    def fail(_: str) -> None:
        raise BrokenPipeError("stderr is closed")

    with contextlib.redirect_stdout(io.StringIO()), open_screen() as screen:
        monkeypatch.setattr(screen, "warning", fail)
        logging.getLogger("acetasks").warning("a warning")
    assert "stderr is closed" in capsys.readouterr().err
