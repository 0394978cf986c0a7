"""Outcome and timing of simulated tasks to be created."""

from __future__ import annotations

import enum
import math
from typing import TYPE_CHECKING, Any, TypedDict

import msgspec

from acetasks.testing.checks import choose

if TYPE_CHECKING:
    from typing import Unpack


class Outcome(enum.StrEnum):
    """Outcome of a scripted task."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    #: Some of the requested files are generated, and the rest fails.
    PARTIAL = "partial"
    #: The task is never visible to the tasks call.
    NOT_FOUND = "not_found"
    #: The task never ends.
    FOREVER = "forever"


class Rule(msgspec.Struct, frozen=True):
    """Outcome and timing of a task to be created: the options of `AceServer.add` and `AceServer.script`.

    Times are in seconds, before division by the server's `speed`.

    Attributes:
        after: From submission to end; None draws a duration around the provider's typical one.
        outcome: An `Outcome` or its name; None means succeeded, or failed at the server's failure rate.
        visible_after: From submission until the task is visible to the tasks call.
        queued_for: From submission until the work starts; None means a tenth of `after`, at most 5.
        progress: Progress shown while running, in percent, if the provider's records have any; None means the elapsed
            share of the duration.
        error: Code and message of a failed or partial task; None means those of the provider's sample.
        timestamps: Whether the record has the times of the work, such as `finished_at`. Most providers
            have stamped them since August 2026 only.
        undocumented_failure: Whether a failed task's record has the provider's own form of a failure, as observed,
            instead of the documented one.
    """

    after: float | None = None
    outcome: Outcome | None = None
    visible_after: float = 0.0
    queued_for: float | None = None
    progress: float | None = None
    error: tuple[str, str] | None = None
    timestamps: bool = True
    undocumented_failure: bool = False

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            ValueError: A number is negative or not finite.
        """
        for name in ("after", "visible_after", "queued_for", "progress"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name} must be a finite number of at least 0, got {value!r}")


class RuleOptions(TypedDict, total=False):
    """The options of `AceServer.add` and `AceServer.script` that make a `Rule`, which describes them."""

    after: float | None
    outcome: Outcome | str | None
    visible_after: float
    queued_for: float | None
    progress: float | None
    error: tuple[str, str] | None
    timestamps: bool
    undocumented_failure: bool


def build_rule(**options: Unpack[RuleOptions]) -> Rule:
    """Return the rule of some options.

    Raises:
        TypeError: There is no such option.
        ValueError: A number is negative or not finite, or the outcome is unknown.
    """
    values: dict[str, Any] = {**options, "outcome": choose(Outcome, options.get("outcome"))}
    return Rule(**values)
