"""Frames: what stands around the records of an answer is learned where it rebuilds it, and tells what is new in one."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from acetasks.framing import Framing

#: As often a frame is learned before it is given up.
TRIALS = 8
A, B, C = (b'{"id":"%s","state":"pending"}' % name for name in (b"a", b"b", b"c"))


def batch(*records: bytes, tail: bytes = b'],"count":3}', between: bytes = b",", head: bytes = b'{"items":[') -> bytes:
    """Write an answer."""
    return head + between.join(records) + tail


@pytest.fixture
def framing() -> Framing:
    """Nothing is known yet."""
    return Framing()


class TestLearning:
    """A frame is learned from an answer that it rebuilds exactly."""

    def test_nothing_matches_at_first(self, framing: Framing) -> None:
        """What is not known is not sure."""
        assert framing.find_news("luma", batch(A, B, C), [A, B, C]) is None
        assert repr(framing) == "<Framing of 0 sorts of answers>"

    @pytest.mark.parametrize("between", [b",", b", ", b",\n    "])
    @pytest.mark.parametrize(("head", "tail"), [(b"[", b"]"), (b'{"items": [\n', b'\n], "count": 3}\n'), (b"", b"")])
    def test_the_same_answer_matches(self, framing: Framing, head: bytes, between: bytes, tail: bytes) -> None:
        """Whatever stands before, between and after."""
        body = batch(A, B, C, head=head, between=between, tail=tail)
        framing.learn("luma", body, [A, B, C])

        assert framing.find_news("luma", body, [A, B, C]) == []
        assert repr(framing) == "<Framing of 1 sorts of answers>"

    def test_other_records_match_in_the_same_frame(self, framing: Framing) -> None:
        """The frame is what is learned, whoever is in it."""
        framing.learn("luma", batch(A, B, C), [A, B, C])
        others = [b'{"id":"%d"}' % number for number in range(3)]

        assert framing.find_news("luma", batch(*others), others) == []

    def test_each_provider_and_each_number_of_records_has_its_own(self, framing: Framing) -> None:
        """A frame may tell how many there are."""
        framing.learn("luma", batch(A, B, C), [A, B, C])

        assert framing.find_news("flux", batch(A, B, C), [A, B, C]) is None
        two = batch(A, B, tail=b'],"count":2}')
        assert framing.find_news("luma", two, [A, B]) is None
        framing.learn("luma", two, [A, B])
        assert framing.find_news("luma", two, [A, B]) == []
        assert framing.find_news("luma", batch(A, B, C), [A, B, C]) == []

    @pytest.mark.parametrize(
        "body",
        [
            batch(A, C, B),
            batch(C, B, A),
            batch(B, A, C),
            batch(A, B.replace(b":", b": "), C),
            batch(A.replace(b"}", b" }"), B, C),
            batch(A, B, C[:-1] + b',"x":0}'),
            batch(A, B),
            batch(A, B, B, C),
            b'{"items":[' + A + b", " + B + b"," + C + b"]}",
            b"",
        ],
        ids=[
            "the last two in another order",
            "backwards",
            "the first two in another order",
            "one in the middle that was mended",
            "a first one that was mended",
            "a last one that was mended",
            "one is left out",
            "one is there twice",
            "different gaps",
            "nothing",
        ],
    )
    def test_what_it_does_not_rebuild_is_not_learned(self, framing: Framing, body: bytes) -> None:
        """Then every such answer is read in its parts."""
        framing.learn("luma", body, [A, B, C])

        assert repr(framing) == "<Framing of 0 sorts of answers>"
        assert framing.find_news("luma", body, [A, B, C]) is None
        assert framing.find_news("luma", batch(A, B, C), [A, B, C]) is None


class TestTrials:
    """A frame that is always another is given up."""

    @pytest.mark.parametrize(
        "vary",
        [
            lambda number: batch(A, B, C, tail=b'],"count":%d}' % number),
            lambda number: batch(A, B, C, tail=b'],"total":%d,"more":true}' % number),
            lambda number: batch(A, B, C, head=b'{"elapsed":%d,"items":[' % number),
        ],
        ids=["count", "total", "elapsed"],
    )
    def test_one_that_changes_each_time(self, framing: Framing, vary) -> None:
        """After as many trials as there are, what comes then is not learned, and nothing false has matched."""
        for number in range(TRIALS):
            assert framing.find_news("luma", vary(number), [A, B, C]) is None
            framing.learn("luma", vary(number), [A, B, C])
        framing.learn("luma", vary(TRIALS), [A, B, C])

        assert framing.find_news("luma", vary(TRIALS), [A, B, C]) is None

    def test_one_that_changes_now_and_then(self, framing: Framing) -> None:
        """It is learned as often as it does, since it pays in between: a total of all tasks that the user has."""
        for number in range(3 * TRIALS):
            body = batch(A, B, C, tail=b'],"total":%d}' % number)
            framing.learn("luma", body, [A, B, C])

            assert framing.find_news("luma", body, [A, B, C]) == []

    def test_answers_in_another_order_are_given_up(self, framing: Framing) -> None:
        """Also where nothing was ever learned."""
        for _ in range(TRIALS):
            framing.learn("luma", batch(B, A, C), [A, B, C])
        framing.learn("luma", batch(A, B, C), [A, B, C])

        assert framing.find_news("luma", batch(A, B, C), [A, B, C]) is None

    def test_one_trial_less_is_none_too_many(self, framing: Framing) -> None:
        """The last one counts."""
        for _ in range(TRIALS - 1):
            framing.learn("luma", batch(B, A, C), [A, B, C])
        framing.learn("luma", batch(A, B, C), [A, B, C])

        assert framing.find_news("luma", batch(A, B, C), [A, B, C]) == []

    def test_trials_are_of_one_sort_of_answers(self, framing: Framing) -> None:
        """Those of other providers, or with other numbers of records, have their own."""
        for _ in range(TRIALS):
            framing.learn("luma", batch(B, A, C), [A, B, C])
        framing.learn("luma", batch(A, B), [A, B])
        framing.learn("flux", batch(A, B, C), [A, B, C])

        assert framing.find_news("luma", batch(A, B), [A, B]) == []
        assert framing.find_news("flux", batch(A, B, C), [A, B, C]) == []

    def test_answers_that_do_not_match_are_no_trials(self, framing: Framing) -> None:
        """A frame that was learned stays, however often something is new."""
        framing.learn("luma", batch(A, B, C), [A, B, C])
        for _ in range(3 * TRIALS):
            changed = C.replace(b"pending", b"done")
            assert framing.find_news("luma", batch(A, B, changed), [A, B, C]) == [(2, changed)]

        assert framing.find_news("luma", batch(A, B, C), [A, B, C]) == []


class TestNews:
    """What is new stands between what is known."""

    @pytest.fixture(autouse=True)
    def learned(self, framing: Framing) -> None:
        """The frame is known."""
        framing.learn("luma", batch(A, B, C), [A, B, C])

    @pytest.mark.parametrize("new", [b"{}", b'{"id":"x","response":[{"id":"b"}]}', b'{"a":1} {"b":2}', A])
    @pytest.mark.parametrize("place", [0, 1, 2])
    def test_in_any_place(self, framing: Framing, place: int, new: bytes) -> None:
        """Longer or shorter than what was known there, and though it be no record."""
        records = [A, B, C]
        records[place] = new
        news = [] if records == [A, B, C] else [(place, new)]

        assert framing.find_news("luma", batch(*records), [A, B, C]) == news

    def test_in_several_places(self, framing: Framing) -> None:
        """If a known one stands between them."""
        assert framing.find_news("luma", batch(C, B, A), [A, B, C]) == [(0, C), (2, A)]

    @pytest.mark.parametrize(
        "body",
        [
            batch(C, A, B),
            batch(A, b"{}", b"{}"),
            batch(b"{}", b"{}", b"{}"),
            batch(A, B),
            batch(A, B, C, tail=b'],"count":4}'),
            batch(A, B, C, head=b'{"other":['),
            batch(A, B, C, between=b";"),
            batch(A, b"", C),
            batch(A, B, b""),
            batch(A, b"null", C),
            batch(A, b" " + C, C),
            batch(A),
            b"",
        ],
        ids=[
            "another order",
            "two beside each other",
            "all",
            "the last is left out",
            "another end",
            "another beginning",
            "other gaps",
            "nothing in the middle",
            "nothing at the end",
            "no object",
            "a space more",
            "too short",
            "nothing",
        ],
    )
    def test_what_is_not_sure(self, framing: Framing, body: bytes) -> None:
        """Is for others to read."""
        assert framing.find_news("luma", body, [A, B, C]) is None

    @pytest.mark.parametrize("place", range(len(batch(A, B, C))))
    def test_a_byte(self, framing: Framing, place: int) -> None:
        """In a record or around it, changed, left out or put in: it is new, or not sure."""
        body = batch(A, B, C)
        for middle in (bytes([body[place] ^ 1]), b"", body[place : place + 1] * 2):
            other = body[:place] + middle + body[place + 1 :]
            news = framing.find_news("luma", other, [A, B, C])

            assert news is None or (news and other == batch(*put_in([A, B, C], news)))


def put_in(records: list[bytes], news: list[tuple[int, bytes]]) -> list[bytes]:
    """Put what is new in the place of what was known."""
    found = [*records]
    for place, record in news:
        found[place] = record
    return found


#: Few different names and values, so that answers are alike or nearly so.
_RECORDS = st.lists(
    st.builds(
        lambda name, value: msgspec.json.encode({"id": name, "progress": value}),
        st.sampled_from("abc"),
        st.none() | st.integers(0, 1) | st.just("],[{}"),
    ),
    min_size=2,
    max_size=4,
)
_SPACES = st.sampled_from([b"", b" ", b"\n"])
_TAILS = st.sampled_from([b"]}", b'],"count":2}', b'],"items_left":[{"id":"a"}]}'])
_ANSWERS = st.builds(
    lambda records, space, tail: (records, b'{"items":[' + (b"," + space).join(records) + tail),
    _RECORDS,
    _SPACES,
    _TAILS,
)


def is_object(text: bytes) -> bool:
    """Tell whether JSON is one object."""
    try:
        return isinstance(msgspec.json.decode(text), dict)
    except msgspec.DecodeError:
        return False


@given(lessons=st.lists(_ANSWERS, min_size=1, max_size=4), answer=_ANSWERS, data=st.data())
def test_what_matches_splits_into_just_these_records(
    lessons: list[tuple[list[bytes], bytes]], answer: tuple[list[bytes], bytes], data: st.DataObject
) -> None:
    """With what is new among them, whatever was learned before, though it be from answers that say something else."""
    framing = Framing()
    for records, body in lessons:
        framing.learn("luma", body, data.draw(st.just(records) | st.permutations(records)))
    records, body = answer
    known = data.draw(st.just(records) | st.permutations(records) | _RECORDS)

    news = framing.find_news("luma", body, known)
    if news is not None and all(is_object(record) for _, record in news):
        split = msgspec.json.decode(body, type=dict[str, msgspec.Raw])["items"]
        found = [bytes(record) for record in msgspec.json.decode(split, type=list[msgspec.Raw])]
        assert found == put_in(known, news)


@given(
    lesson=st.lists(st.binary(max_size=3), min_size=2, max_size=4),
    frame=st.tuples(*[st.binary(max_size=3)] * 3),
    other=st.lists(st.binary(max_size=3), min_size=2, max_size=4),
    answer=st.binary(max_size=20),
)
def test_any_bytes_match_only_as_they_were_learned(
    lesson: list[bytes], frame: tuple[bytes, bytes, bytes], other: list[bytes], answer: bytes
) -> None:
    """One answer at most is taken for that of some records, however odd they are."""
    before, between, after = frame
    framing = Framing()
    body = before + between.join(lesson) + after
    framing.learn("luma", body, lesson)

    is_learned = framing.find_news("luma", body, lesson) == []
    assert repr(framing) == f"<Framing of {int(is_learned)} sorts of answers>"
    if framing.find_news("luma", answer, other) == []:
        assert len(other) == len(lesson)
        assert len(answer) - sum(map(len, other)) == len(body) - sum(map(len, lesson))
        assert framing.find_news("luma", answer + b" ", other) is None


@given(records=_RECORDS, space=_SPACES, tail=_TAILS)
def test_an_answer_in_order_is_learned_at_once(records: list[bytes], space: bytes, tail: bytes) -> None:
    """Where its records are different, none is anywhere but in its place."""
    records = list(dict.fromkeys(records))
    body = b'{"items":[' + (b"," + space).join(records) + tail
    framing = Framing()
    if len(records) > 1:
        framing.learn("luma", body, records)
        assert framing.find_news("luma", body, records) == []
