"""Setup of the client of a command, with all arguments validated before any request is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from acetasks import Client, PollPolicy, UnknownProviderError
from acetasks.cli.exit_codes import CommandError
from acetasks.cli.shell_words import describe_error
from acetasks.providers import Service, lookup

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import Path

    from acetasks import Observer
    from acetasks.cli.options import ClientOptions
    from acetasks.cli.targets import Key


def build_client(
    options: ClientOptions,
    *,
    providers: Collection[str] = (),
    targets: Collection[Key] = (),
    journal: Path | None = None,
    interval: float | None = None,
    observers: Iterable[Observer] = (),
) -> Client:
    """Return a client, not opened.

    Args:
        options: The options of the command.
        providers: Providers that the command uses, besides those of `targets`.
        targets: Provider and id of each task that the command names.
        journal: Path of the journal if the options have none; None for none.
        interval: Seconds between two polls of a task; None for the provider's.
        observers: As for `Client`.

    Raises:
        CommandError: A provider's name, an id, the interval, the base URL or the token is invalid.
    """
    try:
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
    except (ValueError, UnknownProviderError) as error:
        raise CommandError(describe_error(error)) from error
    return client
