"""Durations: what looks tell of how long tasks take, what of it is forgotten, and what is saved."""

from __future__ import annotations

import itertools
import math
import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from acetasks.durations import MOST_KINDS, Durations
from acetasks.law import BINS, EDGES, MEMORY, WIDTHS, Law, bin_of

AGES = st.floats(0.0, 1e6)
#: Anything that a float can be, and what clocks that disagree make of ages.
JUNK = st.floats() | st.floats(-100.0, 1e5)
#: What becomes of one task after another: when it was seen first and last, and whether it had ended by then.
HISTORIES = st.lists(st.tuples(st.floats(0.0, 2000.0), st.floats(0.0, 2000.0), st.booleans()), max_size=60)


def tell(law: Law, history: list[tuple[float, float, bool]]) -> Law:
    """Tell a law what has become of tasks."""
    for young, old, has_ended in history:
        law.note_alive(young, old)
        if has_ended:
            law.note_end(old)
    return law


def part_left(hazards: list[float], age: float) -> float:
    """Tell which part of all tasks is unfinished at an age."""
    spent = zip(hazards, EDGES, WIDTHS, strict=False)
    return math.exp(-sum(hazard * min(max(age - start, 0.0), width) for hazard, start, width in spent))


class TestBins:
    """The bins of age."""

    def test_begin_at_nothing_and_never_end(self) -> None:
        """The first bin is a second, each other 8 % of its age, and the last begins before a day is over."""
        assert EDGES[:2] == (0.0, 1.0)
        assert EDGES[-1] == math.inf
        assert 80_000 < EDGES[-2] < 86_400
        assert all(end / start == pytest.approx(1.08) for start, end in itertools.pairwise(EDGES[1:-1]))
        assert len(EDGES) == len(WIDTHS) + 1 == BINS + 1

    @given(age=AGES)
    def test_hold_each_age_once(self, age: float) -> None:
        """An age is in the bin that begins at it or before it, and ends after it."""
        assert EDGES[bin_of(age)] <= age < EDGES[bin_of(age) + 1]

    def test_hold_their_beginnings(self) -> None:
        """An edge is in the bin that begins there, and no age is past the last."""
        assert [bin_of(edge) for edge in EDGES[:-1]] == list(range(BINS))
        assert bin_of(math.inf) == BINS - 1


class TestNoteAlive:
    """`Law.note_alive`: seconds in which tasks did not end."""

    @given(young=AGES, old=AGES, count=st.integers(1, 1000))
    def test_spreads_a_span_over_its_bins(self, young: float, old: float, count: int) -> None:
        """Each bin gets the part of the span that is in it, for each task."""
        law = Law()
        law.note_alive(young, old, count)

        for number, seconds in law.counts().alive:
            start, end = max(young, EDGES[number]), min(old, EDGES[number + 1])
            assert seconds == pytest.approx(count * (end - start), abs=1e-6)
        total = sum(seconds for _, seconds in law.counts().alive)
        assert total == pytest.approx(count * max(old - young, 0.0), abs=1e-6)

    def test_gives_pinned_parts(self) -> None:
        """From half a second to 1.1 s: half of the first bin, all of the second, and the rest."""
        law = Law()
        law.note_alive(0.5, 1.1, 2)

        assert law.counts().alive == ((0, 1.0), (1, pytest.approx(0.16)), (2, pytest.approx(0.04)))
        assert law.evidence == 0

    @pytest.mark.parametrize(
        ("young", "old"), [(5, 5), (6, 5), (math.nan, 5), (5, math.nan), (math.inf, math.inf), (-5, -3), (5, -math.inf)]
    )
    def test_passes_over_what_is_no_span(self, young: float, old: float) -> None:
        """Clocks that disagree, and ages that are no numbers, tell nothing."""
        law = Law()
        law.note_alive(young, old)

        assert law.counts().alive == ()

    def test_bounds_what_cannot_be(self) -> None:
        """No task was alive before it began, and none is awaited for longer than a month."""
        early, late = Law(), Law()
        early.note_alive(-10.0, 0.5)
        late.note_alive(EDGES[-2], math.inf)

        assert early.counts().alive == ((0, 0.5),)
        assert late.counts().alive == ((BINS - 1, 30 * 86_400 - EDGES[-2]),)


class TestReached:
    """`Law.reached`: the last bin that a task was seen to reach."""

    def test_is_the_first_before_anything_was_seen(self) -> None:
        """Ends alone tell of nobody who was seen."""
        law = Law()
        law.note_end(500.0)

        assert law.reached == 0

    @given(history=HISTORIES)
    def test_is_the_last_in_which_a_task_was_alive(self, history: list[tuple[float, float, bool]]) -> None:
        """Whoever comes after; and it comes back with what was saved."""
        law = tell(Law(), history)
        alive = [number for number, _ in law.counts().alive]

        assert law.reached == max(alive, default=0)
        assert Law(law.counts()).reached == law.reached

    def test_does_not_go_back(self) -> None:
        """An edge is where a bin ends, and the young that follow do not count."""
        law, reached = Law(), []
        for young, old in ((0.0, 0.5), (0.0, EDGES[40]), (EDGES[40], EDGES[40] + 0.1), (0.0, 5.0), (70.0, 60.0)):
            law.note_alive(young, old)
            reached.append(law.reached)

        assert reached == [0, 39, 40, 40, 40]


class TestNoteEnd:
    """`Law.note_end`: ends, of which the latest weigh the most."""

    @pytest.mark.parametrize(("age", "number"), [(0.5, 0), (-3.0, 0), (1.05, 1), (1e9, BINS - 1)])
    def test_counts_in_its_bin(self, age: float, number: int) -> None:
        """An end counts where it was; one before the beginning, as one at the beginning."""
        law = Law()
        law.note_end(age)

        assert law.counts().ends == ((number, 1.0),)
        assert law.evidence == 1

    @pytest.mark.parametrize("age", [math.nan, math.inf])
    def test_passes_over_what_is_no_age(self, age: float) -> None:
        """What is no number is no end."""
        law = Law()
        law.note_end(age)

        assert law.evidence == law.version == 0
        assert law.counts().ends == ()

    @given(ages=st.lists(st.tuples(AGES, st.integers(1, 20)), max_size=20))
    def test_counts_a_bunch_as_its_ends_one_by_one(self, ages: list[tuple[float, int]]) -> None:
        """It does not matter whether ends at the same age are noted together."""
        together, singly = Law(), Law()
        for age, count in ages:
            together.note_end(age, count)
            for _ in range(count):
                singly.note_end(age)

        assert together.counts() == singly.counts()
        assert together.version == singly.version

    def test_forgets(self) -> None:
        """An end weighs about a third of what it did after as many more as are remembered, and so do its seconds."""
        law = Law()
        law.note_alive(0.0, 1.0)
        law.note_end(0.5)
        law.note_end(100.0, MEMORY)

        assert dict(law.counts().ends)[0] == pytest.approx(math.exp(-1), rel=0.01)
        assert dict(law.counts().alive)[0] == pytest.approx(math.exp(-1), rel=0.02)
        assert law.evidence == MEMORY + 1

    def test_remembers_no_more_than_so_many(self) -> None:
        """However many ends there were, numbers stay small, and tell the same as before they were brought to scale."""
        law = Law()
        for _ in range(6000):
            law.note_alive(0.0, 50.0)
            law.note_end(50.0)

        assert law.counts().ends == ((bin_of(50.0), pytest.approx(MEMORY)),)
        assert law.hazards(150.0)[bin_of(20.0)] < 0.001
        assert sum(seconds for _, seconds in law.counts().alive) == pytest.approx(MEMORY * 50.0, rel=0.01)

    def test_bounds_a_bunch(self) -> None:
        """A count that cannot be does not take forever."""
        law = Law()
        law.note_end(5.0, 10**18)

        assert law.evidence == 10 * MEMORY


class TestVersion:
    """`Law.version`: when a plan is worth making again."""

    def test_changes_with_a_tenth_more_ends_and_with_twenty(self) -> None:
        """Each of the first ends is news, later a tenth of those known at the last, and never fewer than each 20th."""
        law, changes = Law(), []
        for end in range(1, 401):
            before = law.version
            law.note_end(60.0)
            if law.version != before:
                changes.append(end)

        assert changes[:16] == [*range(1, 12), 13, 15, 17, 19, 21]
        assert {later - earlier for earlier, later in itertools.pairwise(changes) if earlier >= 200} == {20}

    def test_changes_when_ends_fail_to_come(self) -> None:
        """That tasks live on where they used to end is news, though nothing ended."""
        law = tell(Law(), [(0.0, 60.0, True)] * 50)
        law.hazards(60.0)
        before = law.version
        law.note_alive(0.0, 30.0, 1000)

        assert law.version == before
        law.note_alive(58.0, 62.0, 1000)
        assert law.version == before + 1

    @pytest.mark.parametrize("is_saved", [True, False])
    def test_how_much_is_news_is_settled_at_the_last(self, is_saved: bool) -> None:  # noqa: FBT001  # a column
        """A tenth of the ends that were known when the version changed, or when they were loaded."""
        law = Law()
        law.note_end(60.0, 100)
        version = law.version
        while law.version == version:
            law.note_end(60.0)
        if is_saved:
            law.note_end(60.0)
            law = Law(law.counts())
        before, least = law.version, math.ceil(law.evidence / 10)
        law.note_end(60.0, least - 1)

        assert law.version == before
        law.note_end(60.0)
        assert law.version == before + 1

    @given(history=HISTORIES)
    def test_stays_without_ends(self, history: list[tuple[float, float, bool]]) -> None:
        """Before anybody has asked for its hazards, a law of tasks that live has no news."""
        law = Law()
        for young, old, _ in history:
            law.note_alive(young, old)

        assert law.version == 0


class TestHazards:
    """`Law.hazards`: ends per second of those that have come so far."""

    @pytest.mark.parametrize("typical", [3.0, 60.0, 900.0])
    def test_starts_with_what_is_typical(self, typical: float) -> None:
        """Of tasks of which nothing was seen half are done by the typical time, and two thirds within two of it."""
        hazards = Law().hazards(typical)

        assert part_left(hazards, typical) == pytest.approx(0.5, abs=0.04)
        assert part_left(hazards, typical / 2) - part_left(hazards, typical * 2) == pytest.approx(0.68, abs=0.05)

    @pytest.mark.parametrize("typical", [10.0, 100.0, 1000.0])
    def test_finds_the_rate_of_what_does_not_age(self, typical: float) -> None:
        """Exponential durations have the same hazard everywhere, ten times wrong as what is typical may be."""
        draw, law = random.Random(1), Law()
        tell(law, [(0.0, draw.expovariate(1 / 100), True) for _ in range(1000)])
        hazards = law.hazards(typical)[bin_of(20.0) : bin_of(200.0)]

        assert sum(hazards) / len(hazards) == pytest.approx(1 / 100, rel=0.15)

    def test_counts_those_that_have_not_ended(self) -> None:
        """Of a hundred that began together ten have ended: one in ten ends by then, and not all."""
        law = tell(Law(), [(0.0, 60.0, True)] * 10 + [(0.0, 63.0, False)] * 90)

        assert part_left(law.hazards(60.0), 63.0) == pytest.approx(0.9, abs=0.05)

    @given(spans=st.lists(st.tuples(JUNK, JUNK, st.booleans()), max_size=30), typical=st.floats(0.1, 1e5))
    def test_are_numbers_whatever_was_told(self, spans: list[tuple[float, float, bool]], typical: float) -> None:
        """Junk makes no hazard that cannot be planned by."""
        law = tell(Law(), spans)

        assert len(law.hazards(typical)) == BINS
        assert all(0.0 <= hazard <= 1000.0 for hazard in law.hazards(typical))


class TestDurations:
    """`Durations`: a law for each kind of task."""

    def test_gives_the_same_law_each_time(self) -> None:
        """A kind is a provider, a model and an action."""
        durations = Durations()
        kinds = [("luma",), ("luma", "ray-2"), ("luma", "", "extend"), ("luma", "ray-2", "extend"), ("suno", "ray-2")]
        laws = [durations.law(*kind) for kind in kinds]

        assert len(set(laws)) == 5
        assert [durations.law(*kind) for kind in kinds] == laws

    def test_keeps_so_many_kinds(self) -> None:
        """What is new beyond that shares its provider's law; what is known keeps its own."""
        durations = Durations()
        laws = [durations.law("luma", f"model-{number}") for number in range(MOST_KINDS)]

        shared = durations.law("luma", "one-more", "extend")
        assert shared is durations.law("luma")
        assert shared not in laws
        assert durations.law("suno", "one-more") is durations.law("suno")
        assert durations.law("luma", "model-7") is laws[7]
        assert Durations.from_json(durations.to_json()).to_json() == durations.to_json()

    def test_shows_what_is_known(self) -> None:
        """Neither shows more than fits on a line."""
        durations = Durations()
        law = durations.law("luma")

        assert repr(law) == "<Law of nothing seen>"
        tell(law, [(0.0, 60.0, True)] * 3)
        assert repr(law) == "<Law of 3 ends, half of them within 63.8 s>"
        assert repr(durations) == "<Durations of 1 kinds, 3 ends>"


def saved(**changes: object) -> bytes:
    """Make JSON of one law, in which some of its fields are others."""
    law = {"provider": "luma", "model": "", "action": "", "evidence": 1, "ends": [[3, 1.0]], "alive": [[0, 1], [3, 9]]}
    return msgspec.json.encode({"version": 1, "laws": [law | changes]})


class TestJson:
    """`Durations.to_json` and `from_json`: what one client has learned, for the next."""

    @given(histories=st.lists(HISTORIES, max_size=3), typical=st.floats(1.0, 1000.0))
    def test_bring_back_what_plans_the_same(
        self, histories: list[list[tuple[float, float, bool]]], typical: float
    ) -> None:
        """Each law comes back with the same hazards, to the last bit, and saves as the same."""
        before = Durations()
        for number, history in enumerate(histories):
            tell(before.law("luma", f"model-{number}"), history)
        after = Durations.from_json(before.to_json())

        for number in range(len(histories)):
            old, new = (durations.law("luma", f"model-{number}") for durations in (before, after))
            assert new.hazards(typical) == old.hazards(typical)
            assert new.evidence == old.evidence
        assert after.to_json() == before.to_json()

    def test_keep_only_what_is_not_empty(self) -> None:
        """A law is as long as its bins are many, and text will do too."""
        durations = Durations()
        durations.law("luma", "ray-2").note_end(0.5)

        assert durations.to_json() == (
            b'{"version":1,"laws":[{"evidence":1,"ends":[[0,1.0]],"alive":[],'
            b'"provider":"luma","model":"ray-2","action":""}]}'
        )
        assert Durations.from_json(durations.to_json().decode()).law("luma", "ray-2").evidence == 1

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
            (b'{"version":2}', "version 2, where 1 is read"),
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
            (saved(ends=[[1, 1.0], [1, 2.0]]), r"out of order - at `\$\.laws\[0\]\.ends"),
            (saved(alive=[[2, 1.0], [1, 2.0]]), r"out of order - at `\$\.laws\[0\]\.alive"),
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
                r"second law of \('luma', '', ''\)",
            ),
            (
                msgspec.json.encode(
                    {
                        "version": 1,
                        "laws": [
                            msgspec.json.decode(saved(model=f"model-{number}"))["laws"][0]
                            for number in range(MOST_KINDS + 1)
                        ],
                    }
                ),
                "more than 512 kinds",
            ),
        ],
    )
    def test_refuse_what_was_not_saved(self, data: bytes, reason: str) -> None:
        """The error says what is wrong, where, and what to do."""
        with pytest.raises(ValueError, match=f"(?s)^cannot load these durations: .*{reason}.*; load what .* begin"):
            Durations.from_json(data)

    @given(data=st.binary(max_size=40) | st.text(max_size=40), cut=st.integers(0, len(saved()) - 1))
    def test_refuse_anything_else_alike(self, data: bytes | str, cut: int) -> None:
        """Neither junk, nor a file that was cut short, raises anything but ValueError."""
        for attempt in (data, saved()[:cut]):
            with pytest.raises(ValueError, match="cannot load these durations"):
                Durations.from_json(attempt)

    @given(amounts=st.lists(st.floats(0.0, 1e300), min_size=2, max_size=8), typical=st.floats(0.1, 1e5))
    def test_load_nothing_that_cannot_be_planned_by(self, amounts: list[float], typical: float) -> None:
        """However large or small the numbers are, hazards are numbers, and remain so with what is learned later."""
        bins = list(enumerate(amounts))
        law = Durations.from_json(saved(ends=bins[::2], alive=bins[1::2])).law("luma")
        for _ in range(2):
            assert all(0.0 <= hazard <= 1000.0 for hazard in law.hazards(typical))
            tell(law, [(0.0, 3.0, True)] * 5)
        assert repr(law)
