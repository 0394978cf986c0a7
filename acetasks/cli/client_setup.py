"""Setup of the client of a command, with all arguments validated before any request is sent."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from acetasks import Client, PollPolicy, UnknownProviderError
from acetasks.cli.exit_codes import CommandError
from acetasks.cli.shell_words import describe_error
from acetasks.providers import Service, lookup

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from acetasks import Observer
    from acetasks.cli.options import ClientOptions
    from acetasks.cli.targets import Key


def build_client(
    options: ClientOptions,
    *,
    providers: Collection[str] = (),
    targets: Collection[Key] = (),
    journal: str | None = None,
    interval: float | None = None,
    observers: Iterable[Observer] = (),
) -> Client:
    """Return a client, not opened.

    Args:
        options: The options of the command.
        providers: Providers that the command uses, besides those of `targets`.
        targets: Provider and id of each task that the command names.
        journal: Path or URL of the journal if the options have none; None for none.
        interval: Seconds between two polls of a task; None for the provider's.
        observers: As for `Client`.

    Raises:
        CommandError: A provider's name, an id, the interval, the base URL or the token is invalid.
    """
    with checked_arguments():
        services = {lookup(slug).service for slug in (*providers, *(provider for provider, _ in targets))}
        client = Client(
            # A base URL is that of the provider's service; without a provider, as in `resume`, of Ace Data Cloud.
            base_url=options.base_url if services != {Service.USEAPI} else None,
            useapi_base_url=options.base_url if Service.USEAPI in services else None,
            policy=PollPolicy(interval=interval),
            observers=observers,
            journal=options.journal or journal,
            allow_insecure=options.allow_insecure,
        )
        for target in targets:
            client.handle(*target)
    return client


@contextlib.contextmanager
def checked_arguments() -> Iterator[None]:
    """Report what the library says of wrong arguments as an error of usage.

    Raises:
        CommandError: An argument is invalid.
    """
    try:
        yield
    except (ValueError, TypeError, UnknownProviderError) as error:
        raise CommandError(describe_error(error)) from error


def find_journal(options: ClientOptions) -> str:
    """Return the path of the journal, which must exist, or the URL of its database.

    Raises:
        CommandError: There is none.
    """
    if options.journal is None:
        raise CommandError("no journal: name its file with --journal or the environment variable ACETASKS_JOURNAL")
    check_journal(options.journal)
    return options.journal


def check_journal(journal: str) -> None:
    """Check that a journal in a file exists: opening it would create the file.

    Raises:
        CommandError: There is no such file.
    """
    if not is_database(journal) and not Path(journal).is_file():
        raise CommandError(f"there is no journal {journal!r}")


def name_journal(journal: str) -> str:
    """Return a journal as messages name it: without a URL, which may have a password."""
    return "postgresql://..." if is_database(journal) else journal


def is_database(journal: str) -> bool:
    """Return whether a journal is the URL of a database rather than the path of a file."""
    return "://" in journal
