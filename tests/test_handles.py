"""Tests of task handles and of the parsing of targets."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acetasks import ClientClosedError, Task, TaskHandle, TaskState, UnknownProviderError
from acetasks._polling import WaitTargets
from acetasks.handles import parse_targets

if TYPE_CHECKING:
    from collections.abc import Iterable

    from acetasks.entries import Key
    from acetasks.poller import Poller

DONE = Task(provider="luma", id="t-1", state=TaskState.SUCCEEDED, raw=b'{"id":"t-1"}')


def no_poller(keys: Iterable[Key]) -> Poller:
    """Fail the test: the client's poller is not needed."""
    raise AssertionError(f"{keys!r} should not be polled")


class TestHandle:
    """`TaskHandle`, with and without a client."""

    def test_has_provider_id_and_result(self) -> None:
        """`finished` is None unless the result is known."""
        handle = TaskHandle("luma", "t-1")
        assert (handle.provider, handle.id, handle.finished) == ("luma", "t-1", None)

        finished = TaskHandle("luma", "t-1", DONE)
        assert finished.finished is DONE

    def test_repr(self) -> None:
        """The repr has the provider, the id and the final state, if known."""
        assert repr(TaskHandle("luma", "t-1")) == "<TaskHandle luma t-1>"
        assert repr(TaskHandle("luma", "t-1", DONE)) == "<TaskHandle luma t-1 succeeded>"
        assert str(TaskHandle("luma", "t-1", DONE)) == "luma:t-1"

    def test_repr_escapes_the_id_of_a_response(self) -> None:
        """An id comes from the response to a submission, and may have control characters."""
        assert repr(TaskHandle("luma", "t\n\x1b[2J")) == r"<TaskHandle luma t\n\u001b[2J>"

    def test_handles_of_the_same_task_are_equal(self) -> None:
        """The client of a handle does not matter."""
        handle, same = TaskHandle("luma", "t-1"), TaskHandle("luma", "t-1", poller_for=no_poller)

        assert handle == same
        assert hash(handle) == hash(same)
        assert len({handle, same}) == 1

    @pytest.mark.parametrize(
        "other", [TaskHandle("flux", "t-1"), TaskHandle("luma", "t-2"), ("luma", "t-1"), "t-1", None]
    )
    def test_handles_differ_from_other_tasks_and_types(self, other: object) -> None:
        """Handles with another provider or id, and pairs, are not equal."""
        assert TaskHandle("luma", "t-1") != other

    def test_finished_handles_without_an_id_compare_by_result(self) -> None:
        """Results without an id are equal only if they are the same result."""
        one, other = (
            TaskHandle("fish", "", Task(provider="fish", id="", state=TaskState.SUCCEEDED, raw=raw))
            for raw in (b'{"audio_url":"a"}', b'{"audio_url":"b"}')
        )

        assert one != other
        assert one == TaskHandle("fish", "", one.finished)

    @given(provider=st.sampled_from(["luma", "useapi-pixverse"]), task_id=st.text(), is_done=st.booleans())
    def test_equal_handles_have_equal_hashes(self, provider: str, task_id: str, is_done: bool) -> None:  # noqa: FBT001  # generated
        """Handles can be dict keys."""
        finished = DONE if is_done else None
        handle, same = TaskHandle(provider, task_id, finished), TaskHandle(provider, task_id, finished)

        assert handle == same
        assert hash(handle) == hash(same)

    @pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
    @pytest.mark.parametrize("finished", [None, DONE])
    def test_pickling_keeps_everything_but_the_client(self, protocol: int, finished: Task | None) -> None:
        """The unpickled handle has the provider, the id and the finished task."""
        handle = TaskHandle("luma", "t-1", finished, poller_for=no_poller)
        copy = pickle.loads(pickle.dumps(handle, protocol))

        assert (copy.provider, copy.id, copy.finished) == ("luma", "t-1", finished)
        assert copy == handle
        assert repr(copy) == repr(handle)

    async def test_unpickled_handle_cannot_wait(self) -> None:
        """The error says how to get a handle with a client."""
        copy = pickle.loads(pickle.dumps(TaskHandle("luma", "t-1", poller_for=no_poller)))

        with pytest.raises(ClientClosedError, match=r"luma task t-1 was unpickled .* client\.handle\("):
            await copy.wait()
        with pytest.raises(ClientClosedError, match=r"luma task t-1 was unpickled .* client\.handle\("):
            await anext(copy.updates())
        with pytest.raises(ClientClosedError, match=r"luma task t-1 was unpickled .* client\.handle\("):
            await TaskHandle("luma", "t-1", DONE).wait(download_to="videos")

    @pytest.mark.parametrize(("timeout", "kind"), [(-1, ValueError), (float("nan"), ValueError), ("10", TypeError)])
    async def test_invalid_timeout_raises(self, timeout: float, kind: type[Exception]) -> None:
        """The timeout is checked first, also for a finished task."""
        with pytest.raises(kind, match="timeout must be"):
            await TaskHandle("luma", "t-1", poller_for=no_poller).wait(timeout=timeout)
        with pytest.raises(kind, match="timeout must be"):
            await TaskHandle("luma", "t-1", DONE, poller_for=no_poller).wait(timeout=timeout)

    async def test_finished_task_is_not_polled(self) -> None:
        """A known result is returned and yielded at once, also by an unpickled handle."""
        handle = TaskHandle("luma", "t-1", DONE, poller_for=no_poller)

        for finished in (handle, pickle.loads(pickle.dumps(handle))):
            assert await finished.wait() == DONE
            assert [task async for task in finished.updates()] == [DONE]
        assert await handle.wait() is DONE

    async def test_requests_the_poller_for_its_key(self) -> None:
        """`poller_for` gets the task's key; an error that it raises is passed on."""
        requested: list[Key] = []

        def refuse(keys: Iterable[Key]) -> Poller:
            requested.extend(keys)
            raise ClientClosedError("closed")

        handle = TaskHandle("luma", "t-1", poller_for=refuse)
        with pytest.raises(ClientClosedError):
            await handle.wait()
        with pytest.raises(ClientClosedError):
            await anext(handle.updates())
        assert requested == [("luma", "t-1")] * 2


class TestKey:
    """`TaskHandle.key` identifies the task."""

    def test_is_the_provider_and_id(self) -> None:
        """The key is the same whether the result is known or not."""
        assert TaskHandle("luma", "t-1").key == TaskHandle("luma", "t-1", DONE).key == ("luma", "t-1")

    def test_result_without_an_id_uses_its_trace_id_or_record(self) -> None:
        """The same result has the same key, and other results have other keys."""

        def key(**parts: object) -> Key:
            task = Task(provider="fish", id="", state=TaskState.SUCCEEDED, **parts)  # type: ignore[arg-type]  # keyword arguments of Task
            return TaskHandle("fish", "", task).key

        assert key(trace_id="x", raw=b"1") == key(trace_id="x", raw=b"2")
        assert key(raw=b"1") == key(raw=b"1")
        assert len({key(trace_id="x"), key(trace_id="y"), key(raw=b"1"), key(raw=b"2")}) == 4
        assert key(trace_id="x")[1]

    @pytest.mark.parametrize("task_id", ["", " t-1"])
    def test_malformed_id_raises(self, task_id: str) -> None:
        """The key checks the id that the handle was created with."""
        with pytest.raises(ValueError, match="task id must be a non-empty string"):
            _ = TaskHandle("luma", task_id).key

    def test_invalid_provider_raises(self) -> None:
        """The key checks the provider too."""
        with pytest.raises(UnknownProviderError):
            _ = TaskHandle("Luma", "t-1").key


class TestParseTargets:
    """`parse_targets` returns the tasks named by its arguments."""

    def test_provider_and_ids(self) -> None:
        """Any iterable of ids is accepted; order and duplicates are kept."""
        expected = [("luma", "b"), ("luma", "a"), ("luma", "b")]

        for ids in (["b", "a", "b"], iter(("b", "a", "b"))):
            wanted = parse_targets("luma", ids)
            assert (list(wanted.keys), wanted.finished) == (expected, {})
            assert wanted.unfinished is wanted.keys

    def test_later_changes_of_the_list_have_no_effect(self) -> None:
        """The ids are copied."""
        ids = ["a", "b"]
        wanted = parse_targets("luma", ids)
        ids[0] = "c"

        assert list(wanted.keys) == [("luma", "a"), ("luma", "b")]

    @pytest.mark.parametrize("target", [("luma", "t-1"), ["luma", "t-1"], TaskHandle("luma", "t-1")])
    def test_pair_and_handle_are_equivalent(self, target: tuple[str, str]) -> None:
        """A pair may be a tuple or a list."""
        assert parse_targets([target], None) == WaitTargets([("luma", "t-1")], {})

    def test_pairs_and_handles_of_several_providers(self) -> None:
        """Pairs and handles may be mixed; a finished task is not in `unfinished`."""
        targets = [("luma", "a"), TaskHandle("flux", "b"), TaskHandle("luma", "t-1", DONE)]
        expected = WaitTargets([("luma", "a"), ("flux", "b"), ("luma", "t-1")], {("luma", "t-1"): DONE})

        assert parse_targets(targets, None) == parse_targets(iter(targets), None) == expected
        assert expected.unfinished == [("luma", "a"), ("flux", "b")]

    def test_known_result_applies_to_every_target_of_the_task(self) -> None:
        """A pair of the same task is finished too."""
        for targets in ([("luma", "t-1"), TaskHandle("luma", "t-1", DONE)], [TaskHandle("luma", "t-1", DONE)] * 2):
            wanted = parse_targets(targets, None)

            assert wanted == WaitTargets([("luma", "t-1")] * 2, {("luma", "t-1"): DONE})
            assert wanted.unfinished == []

    def test_finished_handles_without_an_id(self) -> None:
        """Each result without an id has a key of its own."""
        results = [Task(provider="fish", id="", state=TaskState.SUCCEEDED, raw=raw) for raw in (b"1", b"2")]
        wanted = parse_targets([TaskHandle("fish", "", result) for result in results], None)

        assert [wanted.finished[key] for key in wanted.keys] == results
        assert len(set(wanted.keys)) == 2

    @pytest.mark.parametrize("target", ["luma", "t1", 7, None, (), ("luma",), ("luma", "t-1", "t-2"), {"luma": "t-1"}])
    def test_target_of_another_type_raises(self, target: object) -> None:
        """The message shows the value; a string of two characters is not a pair."""
        with pytest.raises(TypeError, match=r"expected a task handle or a \(provider, id\) pair, got") as caught:
            parse_targets([("luma", "t-1"), target], None)  # type: ignore[list-item]  # a wrong type is intended

        assert repr(target) in str(caught.value)

    @pytest.mark.parametrize("target", [("luma", ""), ("luma", " t-1"), TaskHandle("luma", "")])
    def test_malformed_id_in_a_target_raises(self, target: tuple[str, str]) -> None:
        """The ids of pairs and handles are checked."""
        with pytest.raises(ValueError, match="task id must be a non-empty string"):
            parse_targets([("luma", "t-1"), target], None)

    def test_id_that_is_not_a_string_raises(self) -> None:
        """Numbers are not converted to strings."""
        with pytest.raises(TypeError, match="task id must be a string, got 7"):
            parse_targets([("luma", 7)], None)  # type: ignore[list-item]  # a wrong type is intended
        with pytest.raises(TypeError, match="task id must be a string, got 7"):
            parse_targets("luma", ["a", 7])  # type: ignore[list-item]  # a wrong type is intended

    @pytest.mark.parametrize("provider", ["Luma", "", "a/b", "../luma", 7, None])
    def test_invalid_provider_in_a_target_raises(self, provider: str) -> None:
        """The error has the invalid name."""
        with pytest.raises(UnknownProviderError) as caught:
            parse_targets([(provider, "t-1")], None)
        assert caught.value.provider == provider

    @pytest.mark.parametrize(("first", "ids"), [("luma", []), ([], None), (iter(()), None)])
    def test_empty_list(self, first: str, ids: list[str] | None) -> None:
        """A list of no tasks is none."""
        assert parse_targets(first, ids) == WaitTargets([], {})

    @pytest.mark.parametrize(("first", "ids"), [("luma", None), ("luma", "t-1")])
    def test_provider_without_a_list_of_ids_raises(self, first: str, ids: str | None) -> None:
        """A single string is not a list of ids."""
        with pytest.raises(
            TypeError, match="expected a provider's slug and a list of task ids, got 'luma' and"
        ) as caught:
            parse_targets(first, ids)

        assert repr(ids) in str(caught.value)

    def test_pairs_with_ids_raise(self) -> None:
        """Ids need a provider's slug."""
        with pytest.raises(TypeError, match="task ids need a provider's slug before them, got "):
            parse_targets([("luma", "a")], ["b"])

    @pytest.mark.parametrize("first", [("luma", "t-1"), ["ab"], [7], [None]])
    def test_list_of_other_items_raises(self, first: list[tuple[str, str]]) -> None:
        """A single pair is not a list of pairs."""
        with pytest.raises(TypeError, match=r"expected a task handle or a \(provider, id\) pair, got"):
            parse_targets(first, None)

    @pytest.mark.parametrize("first", [TaskHandle("luma", "t-1"), DONE, 7])
    def test_target_that_is_not_a_list_raises(self, first: list[tuple[str, str]]) -> None:
        """A single handle is not a list of handles."""
        with pytest.raises(
            TypeError, match=r"expected a list of task handles or \(provider, id\) pairs, got"
        ) as caught:
            parse_targets(first, None)

        assert repr(first) in str(caught.value)

    @pytest.mark.parametrize("ids", [["a", ""], ["a", " b"]])
    def test_one_malformed_id_in_a_list_raises(self, ids: list[str]) -> None:
        """No id of a list is accepted if one is malformed."""
        with pytest.raises(ValueError, match="task id must be a non-empty string"):
            parse_targets("luma", ids)
