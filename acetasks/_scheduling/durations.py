"""Learned durations of all profiles of tasks, with a JSON form to carry over to the next client."""

from __future__ import annotations

import itertools
import math

import msgspec

from acetasks._records import DECODE_ERRORS, ECHO_LIMIT
from acetasks._scheduling.hazard import HazardCounts, HazardEstimator
from acetasks._scheduling.timetable import ENOUGH
from acetasks.models import ProtocolError, Task
from acetasks.providers import lookup, read_record

#: Profiles with an estimator of their own. A client has a few dozen, unless model names are made up.
MOST_PROFILES = 512
#: Version of the JSON form, which includes the age bins.
_SAVED_VERSION = 1

#: The prior alone.
_NOTHING_LEARNED = HazardEstimator()


class _SavedEstimator(HazardCounts, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Counts of one profile."""

    provider: str
    model: str
    action: str


class _SavedVersion(msgspec.Struct, frozen=True):
    """The version alone, read first."""

    version: int


class _Saved(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The JSON form; its names are kept for files that are saved already."""

    version: int
    laws: list[_SavedEstimator]


class Durations:
    """Learned durations of tasks, for each provider, model and action.

    A client learns while it polls. Save the result and pass it to the next client, which then times its polls well
    from the first task on.
    """

    def __init__(self) -> None:
        self._estimators: dict[tuple[str, str, str], HazardEstimator] = {}

    def __repr__(self) -> str:
        ends = sum(estimator.evidence for estimator in self._estimators.values())
        return f"<Durations of {len(self._estimators)} profiles, {ends} ends>"

    def hazard(self, provider: str, model: str = "", action: str = "") -> HazardEstimator:
        """Return the hazard estimator of one profile, the same object each time.

        A new profile beyond the first `MOST_PROFILES` shares the estimator of its provider as a whole, whose model and
        action are empty.
        """
        profile = (provider, model, action)
        if profile not in self._estimators and len(self._estimators) >= MOST_PROFILES:
            profile = (provider, "", "")
        if profile not in self._estimators:
            self._estimators[profile] = HazardEstimator()
        return self._estimators[profile]

    def expected_left(self, task: Task, age: float) -> float | None:
        """Return the expected seconds until a task ends, given that it has not ended yet.

        It is the median: half of the tasks of the same provider, model and action that are as old end within that
        time. While fewer than eight ends of them are known, all tasks of the provider count, and before those the
        provider's usual duration decides (`ProviderSpec.typical_duration`). The time left does not shrink to zero: a
        task that takes longer than the others is expected to take longer still.

        Args:
            task: The task as last polled; without a record, it counts as any task of its provider.
            age: Seconds since its submission, such as `time.time() - task.created_at`.

        Returns:
            Seconds, or None if the task has ended or nothing indicates that it will within a day of its submission.

        Raises:
            UnknownProviderError: The task's provider is not a valid slug.
        """
        if task.state.is_terminal or math.isnan(age):
            return None
        spec = lookup(task.provider)
        left = self._source(task).median_left(age, spec.typical_duration)
        return None if left == math.inf else left

    def _source(self, task: Task) -> HazardEstimator:
        """Return the estimator of a task's profile, or of its provider if that is better founded."""
        parent = self._estimators.get((task.provider, "", ""), _NOTHING_LEARNED)
        try:
            kind = read_record(lookup(task.provider), task.raw).kind
        except ProtocolError:
            return parent
        own = self._estimators.get((task.provider, *kind), parent)
        return parent if own.evidence < ENOUGH <= parent.evidence else own

    def to_json(self) -> bytes:
        """Return what was learned as JSON, a few kilobytes for each profile."""
        saved = [
            _SavedEstimator(**msgspec.structs.asdict(estimator.counts()), provider=provider, model=model, action=action)
            for (provider, model, action), estimator in self._estimators.items()
        ]
        return msgspec.json.encode(_Saved(_SAVED_VERSION, saved))

    @classmethod
    def from_json(cls, data: bytes | str) -> Durations:
        """Load what `to_json` has saved.

        Raises:
            ValueError: It was not saved by this version of `to_json`. Retrying does not help; starting with nothing
                learned costs a few dozen tasks that are noticed a little later.
        """
        durations = cls()
        for saved in _read_saved(data):
            profile = (saved.provider, saved.model, saved.action)
            if profile in durations._estimators:
                raise _build_error(f"duplicate profile {profile} - at `$.laws`")
            durations._estimators[profile] = HazardEstimator(saved)
        return durations


def _read_saved(data: bytes | str) -> list[_SavedEstimator]:
    try:
        version = msgspec.json.decode(data, type=_SavedVersion).version
        if version != _SAVED_VERSION:
            raise _build_error(f"expected version {_SAVED_VERSION}, got {version} - at `$.version`")
        saved = msgspec.json.decode(data, type=_Saved).laws
    except (*DECODE_ERRORS, UnicodeEncodeError, TypeError) as error:
        raise _build_error(str(error)) from error
    if sum(bool(profile.model or profile.action) for profile in saved) > MOST_PROFILES:
        raise _build_error(f"more than {MOST_PROFILES} profiles - at `$.laws`")
    for number, profile in enumerate(saved):
        for name, bins in (("ends", profile.ends), ("alive", profile.alive)):
            if any(left >= right for (left, _), (right, _) in itertools.pairwise(bins)):
                raise _build_error(f"unordered bins - at `$.laws[{number}].{name}`")
    return saved


def _build_error(reason: str) -> ValueError:
    return ValueError(
        f"cannot load durations: {reason[:ECHO_LIMIT]}; pass the output of `to_json` of this version, or start with "
        "new `Durations()`"
    )
