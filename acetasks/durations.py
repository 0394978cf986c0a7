"""How long tasks take, of every kind that a client has met; saved by one client, and handed to the next."""

from __future__ import annotations

import itertools

import msgspec

from acetasks._records import DECODE_ERRORS, ECHO_LIMIT
from acetasks.law import Counts, Law

#: Kinds of task with a law of their own; a client has a few dozen, unless somebody makes names up.
MOST_KINDS = 512
#: The version of what is saved, of which the bins are a part.
_SAVED_VERSION = 1


class _SavedLaw(Counts, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a law has counted, and of what."""

    provider: str
    model: str
    action: str


class _SavedVersion(msgspec.Struct, frozen=True):
    """Which version something saved is of, whatever else there is."""

    version: int


class _Saved(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All that is saved."""

    version: int
    laws: list[_SavedLaw]


class Durations:
    """How long tasks take, of every kind that a client has met.

    A client learns by itself, and what it has learned goes with it. Save it and hand it to the next, which then knows
    from its first task on when it is worth looking.
    """

    __slots__ = ("_laws",)

    def __init__(self) -> None:
        """Start with nothing known."""
        self._laws: dict[tuple[str, str, str], Law] = {}

    def __repr__(self) -> str:
        """Show how many kinds of task have a law, and how many ends they were made of."""
        return f"<Durations of {len(self._laws)} kinds, {sum(law.evidence for law in self._laws.values())} ends>"

    def law(self, provider: str, model: str = "", action: str = "") -> Law:
        """Give the law of one kind of task, the same each time.

        Args:
            provider: The provider's slug.
            model: The model, or nothing for all of them.
            action: What is done with it, or nothing for all that can be.

        Returns:
            The kind's own law; or the provider's, of all models and actions, for new kinds once there are
            `MOST_KINDS`.
        """
        kind = (provider, model, action)
        if kind not in self._laws and len(self._laws) >= MOST_KINDS:
            kind = (provider, "", "")
        law = self._laws.get(kind)
        if law is None:
            law = self._laws[kind] = Law()
        return law

    def to_json(self) -> bytes:
        """Write down what is known, for `from_json` to read.

        Returns:
            JSON; a few kilobytes for each kind of task.
        """
        laws = [
            _SavedLaw(**msgspec.structs.asdict(law.counts()), provider=provider, model=model, action=action)
            for (provider, model, action), law in self._laws.items()
        ]
        return msgspec.json.encode(_Saved(_SAVED_VERSION, laws))

    @classmethod
    def from_json(cls, data: bytes | str) -> Durations:
        """Read what `to_json` wrote.

        Args:
            data: The JSON.

        Returns:
            What was known; every law tells the same as the one that was saved.

        Raises:
            ValueError: When it is not what this version of `to_json` writes. Trying again does not help; to begin with
                nothing known costs no more than a few dozen tasks that are looked at in vain a little longer.
        """
        durations = cls()
        for saved in _read_saved(data):
            kind = (saved.provider, saved.model, saved.action)
            if kind in durations._laws:
                raise _build_refusal(f"a second law of {kind}")
            durations._laws[kind] = Law(saved)
        return durations


def _read_saved(data: bytes | str) -> list[_SavedLaw]:
    """Read laws, each of which is possible in itself."""
    try:
        version = msgspec.json.decode(data, type=_SavedVersion).version
        if version != _SAVED_VERSION:
            raise _build_refusal(f"version {version}, where {_SAVED_VERSION} is read - at `$.version`")
        laws = msgspec.json.decode(data, type=_Saved).laws
    except (*DECODE_ERRORS, UnicodeEncodeError, TypeError) as error:
        raise _build_refusal(str(error)) from error
    if sum(bool(law.model or law.action) for law in laws) > MOST_KINDS:
        raise _build_refusal(f"more than {MOST_KINDS} kinds of task - at `$.laws`")
    for number, law in enumerate(laws):
        for name, bins in (("ends", law.ends), ("alive", law.alive)):
            if any(left >= right for (left, _), (right, _) in itertools.pairwise(bins)):
                raise _build_refusal(f"bins that are out of order - at `$.laws[{number}].{name}`")
    return laws


def _build_refusal(reason: str) -> ValueError:
    return ValueError(
        f"cannot load these durations: {reason[:ECHO_LIMIT]}; load what `to_json` of this version has written, "
        "or begin with new `Durations()`"
    )
