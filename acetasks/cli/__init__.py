"""Command line: waits for tasks, retrieves them, lists providers, and runs the simulated service and the demo.

The only package that uses typer and rich, which the extra `cli` installs. They are imported when `main` is called, so
the library works without them, and the command reports what to install.
"""

import sys

#: Packages that the extra `cli` installs.
_EXTRA = ("rich", "typer")
#: Exit code of a usage error; `exit_codes` may not be importable yet.
_EXIT_USAGE = 2


def main() -> None:
    """Run the command line: entry point of the console script and of `python -m acetasks`."""
    try:
        from acetasks.cli.app import run  # noqa: PLC0415  # the extra may be missing
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in _EXTRA:
            raise
        sys.stderr.write(f"acetasks: {missing} is not installed: python -m pip install {' '.join(_EXTRA)}\n")
        sys.exit(_EXIT_USAGE)
    run()
