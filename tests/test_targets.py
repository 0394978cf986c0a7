"""Naming tasks: handles, and pairs of provider and id."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acetasks import ClientClosedError, Task, TaskHandle, TaskState, UnknownProviderError
from acetasks.targets import read_targets
from acetasks.waiting import Wanted

if TYPE_CHECKING:
    from collections.abc import Iterable

    from acetasks.entries import Key
    from acetasks.poller import Poller

DONE = Task(provider="luma", id="t-1", state=TaskState.SUCCEEDED, raw=b'{"id":"t-1"}')


def no_poller(keys: Iterable[Key]) -> Poller:
    """Stand in for a client whose poller is not needed."""
    raise AssertionError(f"nobody should be polled for {keys!r}")


class TestHandle:
    """`TaskHandle`: a task's name, with or without a client."""

    def test_names_its_task(self) -> None:
        """A handle has the provider and id, and the finished task where the end is known."""
        handle = TaskHandle("luma", "t-1")
        assert (handle.provider, handle.id, handle.finished) == ("luma", "t-1", None)

        finished = TaskHandle("luma", "t-1", DONE)
        assert finished.finished is DONE

    def test_repr_shows_the_task(self) -> None:
        """The repr has the provider, the id and, once it is known, the end."""
        assert repr(TaskHandle("luma", "t-1")) == "<TaskHandle luma t-1>"
        assert repr(TaskHandle("luma", "t-1", DONE)) == "<TaskHandle luma t-1 succeeded>"

    def test_handles_of_one_task_are_equal(self) -> None:
        """Whose client a handle is of makes no difference."""
        handle, same = TaskHandle("luma", "t-1"), TaskHandle("luma", "t-1", poller_for=no_poller)

        assert handle == same
        assert hash(handle) == hash(same)
        assert len({handle, same}) == 1

    @pytest.mark.parametrize(
        "other", [TaskHandle("flux", "t-1"), TaskHandle("luma", "t-2"), ("luma", "t-1"), "t-1", None]
    )
    def test_other_things_are_not_equal(self, other: object) -> None:
        """Another provider or id is another task, and a pair is no handle."""
        assert TaskHandle("luma", "t-1") != other

    def test_finished_handles_without_an_id_are_told_apart(self) -> None:
        """Results that were answered without an id are equal only if they are the same result."""
        one, other = (
            TaskHandle("fish", "", Task(provider="fish", id="", state=TaskState.SUCCEEDED, raw=raw))
            for raw in (b'{"audio_url":"a"}', b'{"audio_url":"b"}')
        )

        assert one != other
        assert one == TaskHandle("fish", "", one.finished)

    @given(provider=st.sampled_from(["luma", "useapi-pixverse"]), task_id=st.text(), is_done=st.booleans())
    def test_equal_handles_have_equal_hashes(self, provider: str, task_id: str, is_done: bool) -> None:  # noqa: FBT001  # drawn
        """Equality and hash agree, so that handles can be keys."""
        finished = DONE if is_done else None
        handle, same = TaskHandle(provider, task_id, finished), TaskHandle(provider, task_id, finished)

        assert handle == same
        assert hash(handle) == hash(same)

    @pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
    @pytest.mark.parametrize("finished", [None, DONE])
    def test_pickles_to_the_task(self, protocol: int, finished: Task | None) -> None:
        """What comes out of a pickle has the provider, the id and the finished task, and nothing of the client."""
        handle = TaskHandle("luma", "t-1", finished, poller_for=no_poller)
        copy = pickle.loads(pickle.dumps(handle, protocol))

        assert (copy.provider, copy.id, copy.finished) == ("luma", "t-1", finished)
        assert copy == handle
        assert repr(copy) == repr(handle)

    async def test_an_unpickled_handle_cannot_be_waited_for(self) -> None:
        """It has no client, and the error says how to get one."""
        copy = pickle.loads(pickle.dumps(TaskHandle("luma", "t-1", poller_for=no_poller)))

        with pytest.raises(ClientClosedError, match=r"luma task t-1 was unpickled .* client\.handle\("):
            await copy.wait()
        with pytest.raises(ClientClosedError, match=r"luma task t-1 was unpickled .* client\.handle\("):
            await anext(copy.updates())

    @pytest.mark.parametrize(("timeout", "kind"), [(-1, ValueError), (float("nan"), ValueError), ("10", TypeError)])
    async def test_a_limit_that_can_be_none_is_refused(self, timeout: float, kind: type[Exception]) -> None:
        """It is refused before anything is waited for."""
        with pytest.raises(kind, match="a timeout is"):
            await TaskHandle("luma", "t-1", poller_for=no_poller).wait(timeout=timeout)
        with pytest.raises(kind, match="a timeout is"):
            await TaskHandle("luma", "t-1", DONE, poller_for=no_poller).wait(timeout=timeout)

    async def test_a_finished_task_needs_no_polling(self) -> None:
        """The end that came with the submission is returned and yielded at once, by an unpickled handle too."""
        handle = TaskHandle("luma", "t-1", DONE, poller_for=no_poller)

        for finished in (handle, pickle.loads(pickle.dumps(handle))):
            assert await finished.wait() == DONE
            assert [task async for task in finished.updates()] == [DONE]
        assert await handle.wait() is DONE

    async def test_the_client_is_asked_for_what_is_wanted(self) -> None:
        """It is given the task's key, and may refuse."""
        asked: list[Key] = []

        def refuse(keys: Iterable[Key]) -> Poller:
            asked.extend(keys)
            raise ClientClosedError("closed")

        handle = TaskHandle("luma", "t-1", poller_for=refuse)
        with pytest.raises(ClientClosedError):
            await handle.wait()
        with pytest.raises(ClientClosedError):
            await anext(handle.updates())
        assert asked == [("luma", "t-1")] * 2


class TestKey:
    """`TaskHandle.key`: what tells its task from others."""

    def test_is_the_provider_and_id(self) -> None:
        """A handle of the same task has the same key, whether its end is known or not."""
        assert TaskHandle("luma", "t-1").key == TaskHandle("luma", "t-1", DONE).key == ("luma", "t-1")

    def test_results_without_an_id_are_told_by_their_trace_id_or_record(self) -> None:
        """A service may answer a submission with a result that names no task; the same result has the same key."""

        def key(**parts: object) -> Key:
            task = Task(provider="fish", id="", state=TaskState.SUCCEEDED, **parts)  # type: ignore[arg-type]  # drawn
            return TaskHandle("fish", "", task).key

        assert key(trace_id="x", raw=b"1") == key(trace_id="x", raw=b"2")
        assert key(raw=b"1") == key(raw=b"1")
        assert len({key(trace_id="x"), key(trace_id="y"), key(raw=b"1"), key(raw=b"2")}) == 4
        assert key(trace_id="x")[1]  # no id that a service could know

    @pytest.mark.parametrize("task_id", ["", " t-1"])
    def test_an_id_that_can_be_none_is_refused(self, task_id: str) -> None:
        """An id is checked wherever it comes from."""
        with pytest.raises(ValueError, match="a task id is a text"):
            _ = TaskHandle("luma", task_id).key

    def test_a_provider_that_can_be_none_is_refused(self) -> None:
        """So is the provider."""
        with pytest.raises(UnknownProviderError):
            _ = TaskHandle("Luma", "t-1").key


class TestReadTargets:
    """`read_targets`: which tasks are meant."""

    def test_reads_a_provider_and_its_ids(self) -> None:
        """Any iterable of ids will do; order and repetition are kept."""
        expected = [("luma", "b"), ("luma", "a"), ("luma", "b")]

        for ids in (["b", "a", "b"], iter(("b", "a", "b"))):
            wanted = read_targets("luma", ids)
            assert (list(wanted.keys), wanted.finished) == (expected, {})
            assert wanted.unfinished is wanted.keys

    def test_the_list_of_ids_may_change_afterwards(self) -> None:
        """What is waited for is what was in it."""
        ids = ["a", "b"]
        wanted = read_targets("luma", ids)
        ids[0] = "c"

        assert list(wanted.keys) == [("luma", "a"), ("luma", "b")]

    @pytest.mark.parametrize("target", [("luma", "t-1"), ["luma", "t-1"], TaskHandle("luma", "t-1")])
    def test_a_pair_and_a_handle_mean_the_same(self, target: tuple[str, str]) -> None:
        """Whether the pair is a tuple or a list."""
        assert read_targets([target], None) == Wanted([("luma", "t-1")], {})

    def test_reads_pairs_and_handles(self) -> None:
        """Providers may be mixed, and so may pairs and handles; a known end is not asked for again."""
        targets = [("luma", "a"), TaskHandle("flux", "b"), TaskHandle("luma", "t-1", DONE)]
        expected = Wanted([("luma", "a"), ("flux", "b"), ("luma", "t-1")], {("luma", "t-1"): DONE})

        assert read_targets(targets, None) == read_targets(iter(targets), None) == expected
        assert expected.unfinished == [("luma", "a"), ("flux", "b")]

    def test_a_task_whose_end_is_known_is_finished_wherever_it_is_named(self) -> None:
        """A pair of the same task needs no asking either."""
        for targets in ([("luma", "t-1"), TaskHandle("luma", "t-1", DONE)], [TaskHandle("luma", "t-1", DONE)] * 2):
            wanted = read_targets(targets, None)

            assert wanted == Wanted([("luma", "t-1")] * 2, {("luma", "t-1"): DONE})
            assert wanted.unfinished == []

    def test_a_finished_handle_needs_no_id(self) -> None:
        """Each result without one stands at its own place."""
        results = [Task(provider="fish", id="", state=TaskState.SUCCEEDED, raw=raw) for raw in (b"1", b"2")]
        wanted = read_targets([TaskHandle("fish", "", result) for result in results], None)

        assert [wanted.finished[key] for key in wanted.keys] == results
        assert len(set(wanted.keys)) == 2

    @pytest.mark.parametrize("target", ["luma", "t1", 7, None, (), ("luma",), ("luma", "t-1", "t-2"), {"luma": "t-1"}])
    def test_refuses_what_is_neither(self, target: object) -> None:
        """What is no pair is refused with its value, a text of two letters included."""
        with pytest.raises(
            TypeError, match="a task is given as a pair of provider and id, or as a handle, not"
        ) as caught:
            read_targets([("luma", "t-1"), target], None)  # type: ignore[list-item]  # that is the point

        assert repr(target) in str(caught.value)

    @pytest.mark.parametrize("target", [("luma", ""), ("luma", " t-1"), TaskHandle("luma", "")])
    def test_refuses_an_id_that_can_be_none(self, target: tuple[str, str]) -> None:
        """An id is checked wherever it comes from."""
        with pytest.raises(ValueError, match="a task id is a text"):
            read_targets([("luma", "t-1"), target], None)

    def test_refuses_an_id_that_is_no_text(self) -> None:
        """A number is not taken for its digits."""
        with pytest.raises(TypeError, match="a task id is a string, not 7"):
            read_targets([("luma", 7)], None)  # type: ignore[list-item]  # that is the point
        with pytest.raises(TypeError, match="a task id is a string, not 7"):
            read_targets("luma", ["a", 7])  # type: ignore[list-item]  # that is the point

    @pytest.mark.parametrize("provider", ["Luma", "", "a/b", "../luma", 7, None])
    def test_refuses_a_provider_that_can_be_none(self, provider: str) -> None:
        """A name that cannot stand in a path is refused with its value."""
        with pytest.raises(UnknownProviderError) as caught:
            read_targets([(provider, "t-1")], None)
        assert caught.value.provider == provider

    @pytest.mark.parametrize(("first", "ids"), [("luma", []), ([], None), (iter(()), None)])
    def test_refuses_nothing(self, first: str, ids: list[str] | None) -> None:
        """To wait for no task at all is a mistake."""
        with pytest.raises(ValueError, match="no task ids were given"):
            read_targets(first, ids)

    @pytest.mark.parametrize(("first", "ids"), [("luma", None), ("luma", "t-1")])
    def test_refuses_a_provider_without_a_list(self, first: str, ids: str | None) -> None:
        """A text is not taken for the list of its letters."""
        with pytest.raises(TypeError, match="give a provider and a list of its ids, not 'luma' and") as caught:
            read_targets(first, ids)

        assert repr(ids) in str(caught.value)

    def test_refuses_pairs_with_ids(self) -> None:
        """Ids belong to one provider, given by its slug."""
        with pytest.raises(TypeError, match="give a provider's slug with its ids, not "):
            read_targets([("luma", "a")], ["b"])

    @pytest.mark.parametrize("first", [("luma", "t-1"), ["ab"], [7], [None]])
    def test_refuses_what_holds_no_tasks(self, first: list[tuple[str, str]]) -> None:
        """A single pair in the place of a list of pairs is told from it."""
        with pytest.raises(TypeError, match="a task is given as a pair of provider and id, or as a handle, not"):
            read_targets(first, None)

    @pytest.mark.parametrize("first", [TaskHandle("luma", "t-1"), 7])
    def test_refuses_what_is_no_list(self, first: list[tuple[str, str]]) -> None:
        """A handle on its own is no list of tasks; the value is shown."""
        with pytest.raises(TypeError) as caught:
            read_targets(first, None)

        assert repr(first) in str(caught.value)

    @pytest.mark.parametrize("ids", [["a", ""], ["a", " b"]])
    def test_one_bad_id_refuses_the_whole(self, ids: list[str]) -> None:
        """Nothing is asked for a list with an id that can be none."""
        with pytest.raises(ValueError, match="a task id is a text"):
            read_targets("luma", ids)
