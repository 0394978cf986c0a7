"""The command line, what people hold: it waits, looks, shows and simulates, and is all that knows typer and rich.

Both come with the extra `cli`. Nothing is imported until `main` is called, so that a library user who lacks them never
notices, and one who calls the command is told what to install.
"""

import sys

#: What the extra `cli` brings.
_EXTRA = ("rich", "typer")
#: As for any wrong use of a command.
_EXIT_USAGE = 2


def main() -> None:
    """Run the command line: the console script `acetasks`, and `python -m acetasks`."""
    try:
        from acetasks.cli.app import run  # noqa: PLC0415  # the extra may be missing
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in _EXTRA:
            raise
        sys.stderr.write(f"acetasks: {missing} is not installed: python -m pip install 'acetasks[cli]'\n")
        sys.exit(_EXIT_USAGE)
    run()
