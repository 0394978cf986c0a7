"""The command as a whole: its two ways in, its help, and what it says without its extra."""

from __future__ import annotations

import contextlib
import io
import logging
import subprocess
import sys
from importlib import metadata

import pytest
from typer.testing import CliRunner

import acetasks
from acetasks.cli.app import app
from acetasks.cli.running import CommandError, Exit, run
from acetasks.cli.screen import Screen, opened_screen


def test_the_module_runs_the_command_line() -> None:
    """`python -m acetasks` is the same as the console script."""
    done = subprocess.run([sys.executable, "-m", "acetasks", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"acetasks {acetasks.__version__}\n"


def test_the_console_script_is_the_same() -> None:
    """The installed package names the function; a source tree that is not installed has no script to check."""
    scripts = [script for script in metadata.entry_points(group="console_scripts") if script.name == "acetasks"]
    assert [script.value for script in scripts] in ([], ["acetasks.cli:main"])


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_without_the_extra_it_says_what_to_install(missing: str) -> None:
    """In one line, without a traceback."""
    code = f"import sys; sys.modules[{missing!r}] = None; from acetasks.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == f"acetasks: {missing} is not installed: python -m pip install 'acetasks[cli]'\n"


def test_another_missing_module_is_a_fault_of_ours() -> None:
    """It is not explained away."""
    code = "import sys; sys.modules['acetasks.cli.demo'] = None; from acetasks.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "ModuleNotFoundError" in done.stderr


def test_the_library_does_not_import_the_extra() -> None:
    """Neither at `import acetasks` nor at `import acetasks.cli`, nor does the demo's service need it."""
    code = """if True:
        import sys, acetasks, acetasks.cli, acetasks.cli.stage
        sys.exit(bool({'typer', 'rich'} & set(sys.modules)))
    """
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("command", ["wait", "get", "serve", "providers", "demo"])
def test_every_command_has_help_with_an_example(command: str) -> None:
    """The example is of that command."""
    result = CliRunner().invoke(app, [command, "--help"])
    assert result.exit_code == 0
    assert f"Example: acetasks {command}" in result.stdout


def test_it_says_its_commands() -> None:
    """The top help names each."""
    result = CliRunner().invoke(app, ["--help"])
    assert all(command in result.stdout for command in ("wait", "get", "serve", "providers", "demo"))


def interrupted() -> Exit:
    """Be interrupted, as by Ctrl-C."""
    raise KeyboardInterrupt


def piped_away() -> Exit:
    """Find stdout closed."""
    raise BrokenPipeError


def refused() -> Exit:
    """Refuse, with an error that a terminal must not be steered by."""
    raise CommandError("no\x1b[2J\nway", code=Exit.FAILED)


@pytest.mark.parametrize(
    ("action", "code", "text"),
    [(interrupted, 130, "stopped\n"), (piped_away, 141, ""), (refused, 1, "error: no?[2J way\n")],
)
def test_whatever_ends_a_command_has_its_code(
    action: object, code: int, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """And one line on stderr at most."""
    assert run(Screen(), action, interrupted="stopped") == code
    assert capsys.readouterr().err == text


def test_a_warning_that_cannot_be_shown_disturbs_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Such as on a stderr that was closed; streams that have no encoding will do too."""

    def fail(_: str) -> None:
        raise BrokenPipeError("nobody reads this")

    with contextlib.redirect_stdout(io.StringIO()), opened_screen() as screen:
        monkeypatch.setattr(screen, "warn", fail)
        logging.getLogger("acetasks").warning("look out")
    assert "nobody reads this" in capsys.readouterr().err
