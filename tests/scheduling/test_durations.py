"""Learned durations of all profiles, and their JSON form."""

from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from acetasks._scheduling.durations import MOST_PROFILES, Durations
from acetasks._scheduling.hazard import BINS, HazardEstimator
from acetasks.models import Task, TaskState
from acetasks.providers import lookup

#: Tasks: the ages at the first and the last poll, and whether the task had ended by then.
HISTORIES = st.lists(st.tuples(st.floats(0.0, 2000.0), st.floats(0.0, 2000.0), st.booleans()), max_size=60)


def observe(estimator: HazardEstimator, history: list[tuple[float, float, bool]]) -> HazardEstimator:
    """Observe tasks."""
    for start, end, has_ended in history:
        estimator.observe_exposure(start, end)
        if has_ended:
            estimator.observe_end(end)
    return estimator


class TestDurations:
    """`Durations`: an estimator for each profile."""

    def test_a_profile_has_one_estimator(self) -> None:
        """A profile is a provider, a model and an action."""
        durations = Durations()
        profiles = [
            ("luma",),
            ("luma", "ray-2"),
            ("luma", "", "extend"),
            ("luma", "ray-2", "extend"),
            ("suno", "ray-2"),
        ]
        estimators = [durations.hazard(*profile) for profile in profiles]

        assert len(set(estimators)) == 5
        assert [durations.hazard(*profile) for profile in profiles] == estimators

    def test_profiles_are_limited(self) -> None:
        """A new profile beyond the limit shares its provider's estimator; known ones keep their own."""
        durations = Durations()
        estimators = [durations.hazard("luma", f"model-{number}") for number in range(MOST_PROFILES)]

        shared = durations.hazard("luma", "one-more", "extend")
        assert shared is durations.hazard("luma")
        assert shared not in estimators
        assert durations.hazard("suno", "one-more") is durations.hazard("suno")
        assert durations.hazard("luma", "model-7") is estimators[7]
        assert Durations.from_json(durations.to_json()).to_json() == durations.to_json()

    def test_reprs_show_the_number_of_ends(self) -> None:
        """Of one estimator and of all."""
        durations = Durations()
        estimator = durations.hazard("luma")

        assert repr(estimator) == "<HazardEstimator without ends>"
        observe(estimator, [(0.0, 60.0, True)] * 3)
        assert repr(estimator) == "<HazardEstimator of 3 ends, half of them within 63.8 s>"
        assert repr(durations) == "<Durations of 1 profiles, 3 ends>"


def luma_task(record: str = "{}", state: TaskState = TaskState.RUNNING) -> Task:
    """Return a task of luma."""
    return Task(provider="luma", id="a", state=state, raw=record.encode())


class TestExpectedLeft:
    """`Durations.expected_left`: the median of the time left."""

    def test_without_ends_it_follows_the_usual_duration(self) -> None:
        """At first it is the provider's usual duration, and a look-up creates no profile."""
        durations = Durations()
        typical = lookup("luma").typical_duration

        assert durations.expected_left(luma_task(), 0.0) == pytest.approx(typical, rel=0.01)
        assert durations.expected_left(luma_task(), -3.0) == pytest.approx(typical, rel=0.01)
        assert durations.to_json() == Durations().to_json()

    def test_it_follows_what_was_learned_of_the_profile(self) -> None:
        """The profile counts from its eighth end on; before, the provider as a whole does."""
        durations = Durations()
        observe(durations.hazard("luma"), [(0.0, 100.0, True)] * 200)
        slow = luma_task('{"request": {"model": "ray-2", "action": "generate"}}')
        observe(durations.hazard("luma", "ray-2", "generate"), [(0.0, 300.0, True)] * 7)

        assert durations.expected_left(slow, 0.0) == pytest.approx(100.0, rel=0.1)
        assert durations.expected_left(luma_task(), 60.0) == pytest.approx(40.0, rel=0.1)
        observe(durations.hazard("luma", "ray-2", "generate"), [(0.0, 300.0, True)] * 40)
        assert durations.expected_left(slow, 0.0) == pytest.approx(300.0, rel=0.1)
        assert durations.expected_left(luma_task("no record"), 0.0) == pytest.approx(100.0, rel=0.1)

    def test_an_overdue_task_is_expected_to_take_longer_still(self) -> None:
        """The time left of a task that is older than the others grows again."""
        durations = Durations()
        observe(durations.hazard("luma"), [(0.0, 100.0, True)] * 200)

        assert durations.expected_left(luma_task(), 90.0) < 15.0
        assert durations.expected_left(luma_task(), 300.0) > 60.0

    @pytest.mark.parametrize("age", [86_000.0, 90_000.0, math.inf, math.nan])
    def test_after_a_day_nothing_is_expected(self, age: float) -> None:
        """Neither of a task that is so old, nor of one that would end only then."""
        assert Durations().expected_left(luma_task(), age) is None

    def test_an_ended_task_has_nothing_left(self) -> None:
        """Whatever its state."""
        assert Durations().expected_left(luma_task(state=TaskState.FAILED), 10.0) is None


def saved(**changes: object) -> bytes:
    """Return the JSON of one estimator with some fields changed."""
    estimator = {
        "provider": "luma",
        "model": "",
        "action": "",
        "evidence": 1,
        "ends": [[3, 1.0]],
        "alive": [[0, 1], [3, 9]],
    }
    return msgspec.json.encode({"version": 1, "laws": [estimator | changes]})


class TestJson:
    """`Durations.to_json` and `from_json`: from one client to the next."""

    @given(histories=st.lists(HISTORIES, max_size=3), typical=st.floats(1.0, 1000.0))
    def test_loaded_estimators_are_the_same(
        self, histories: list[list[tuple[float, float, bool]]], typical: float
    ) -> None:
        """Each has exactly the same hazards, and is saved as the same."""
        before = Durations()
        for number, history in enumerate(histories):
            observe(before.hazard("luma", f"model-{number}"), history)
        after = Durations.from_json(before.to_json())

        for number in range(len(histories)):
            first, second = (durations.hazard("luma", f"model-{number}") for durations in (before, after))
            assert second.hazards(typical) == first.hazards(typical)
            assert second.evidence == first.evidence
        assert after.to_json() == before.to_json()

    def test_empty_bins_are_not_saved(self) -> None:
        """The JSON has this form, and is loaded from text too."""
        durations = Durations()
        durations.hazard("luma", "ray-2").observe_end(0.5)

        assert durations.to_json() == (
            b'{"version":1,"laws":[{"evidence":1,"ends":[[0,1.0]],"alive":[],'
            b'"provider":"luma","model":"ray-2","action":""}]}'
        )
        assert Durations.from_json(durations.to_json().decode()).hazard("luma", "ray-2").evidence == 1

    @pytest.mark.parametrize(
        ("data", "reason"),
        [
            (b"", "truncated"),
            (b"\xff", "malformed"),
            ("\ud800", "surrogates"),
            (None, "NoneType"),
            ("[" * 100_000, "array"),
            (b'{"version":1,"laws":[],"x":' + b"[" * 100_000, "recursion"),
            (b"{}", "missing required field `version`"),
            (b'{"version":2}', "expected version 1, got 2"),
            (b'{"version":"1"}', "version"),
            (b'{"version":1}', "missing required field `laws`"),
            (b'{"version":1,"laws":[],"more":1}', "more"),
            (b'{"version":1,"laws":[1]}', r"laws\[0\]"),
            (saved(provider=None), r"laws\[0\]\.provider"),
            (saved(evidence=-1), r"laws\[0\]\.evidence"),
            (saved(evidence=1.5), r"laws\[0\]\.evidence"),
            (saved(evidence=10**30), r"laws\[0\]\.evidence|range"),
            (saved(ends=[[BINS, 1.0]]), r"laws\[0\]\.ends\[0\]\[0\]"),
            (saved(ends=[[-1, 1.0]]), r"laws\[0\]\.ends\[0\]\[0\]"),
            (saved(ends=[[1, 1.0], [1, 2.0]]), r"unordered bins - at `\$\.laws\[0\]\.ends"),
            (saved(alive=[[2, 1.0], [1, 2.0]]), r"unordered bins - at `\$\.laws\[0\]\.alive"),
            (saved(ends=[[1, -1.0]]), r"laws\[0\]\.ends\[0\]\[1\]"),
            (saved(ends=[[1, 1e301]]), r"laws\[0\]\.ends\[0\]\[1\]"),
            (saved(ends=[[1, "NaN"]]), r"laws\[0\]\.ends\[0\]\[1\]"),
            (saved().replace(b"1.0", b"NaN"), "malformed"),
            (saved().replace(b"1.0", b"1e999"), "range"),
            (saved(ends=[[1]]), r"laws\[0\]\.ends\[0\]"),
            (saved(ends={}), r"laws\[0\]\.ends"),
            (saved().replace(b"[{", b"[{},{"), r"laws\[0\]"),
            (
                msgspec.json.encode({"version": 1, "laws": 2 * msgspec.json.decode(saved())["laws"]}),
                r"duplicate profile \('luma', '', ''\)",
            ),
            (
                msgspec.json.encode(
                    {
                        "version": 1,
                        "laws": [
                            msgspec.json.decode(saved(model=f"model-{number}"))["laws"][0]
                            for number in range(MOST_PROFILES + 1)
                        ],
                    }
                ),
                "more than 512 profiles",
            ),
        ],
    )
    def test_invalid_data_is_refused(self, data: bytes, reason: str) -> None:
        """The error names the reason, the place and what to do."""
        with pytest.raises(ValueError, match=f"(?s)^cannot load durations: .*{reason}.*; pass the output of .* start"):
            Durations.from_json(data)

    @given(data=st.binary(max_size=40) | st.text(max_size=40), length=st.integers(0, len(saved()) - 1))
    def test_junk_and_truncated_data_are_refused(self, data: bytes | str, length: int) -> None:
        """With a ValueError, and nothing else."""
        for attempt in (data, saved()[:length]):
            with pytest.raises(ValueError, match="cannot load durations"):
                Durations.from_json(attempt)

    @given(amounts=st.lists(st.floats(0.0, 1e300), min_size=2, max_size=8), typical=st.floats(0.1, 1e5))
    def test_extreme_counts_give_bounded_hazards(self, amounts: list[float], typical: float) -> None:
        """Also with later observations."""
        bins = list(enumerate(amounts))
        estimator = Durations.from_json(saved(ends=bins[::2], alive=bins[1::2])).hazard("luma")
        for _ in range(2):
            assert all(0.0 <= hazard <= 1000.0 for hazard in estimator.hazards(typical))
            observe(estimator, [(0.0, 3.0, True)] * 5)
        assert repr(estimator)
