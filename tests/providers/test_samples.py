"""Every sample in `tests/samples` is read as it should be, and every provider has samples.

A sample is a JSON object:

- `note`: one sentence on what it shows; `source`: the document or the official client's test that the shape is from.
- `http_status`: of the answer it came in; `payload`: the JSON of the answer, or `body`: an answer that is no JSON.
- `expect`: the whole task but for `provider` and `raw`, absent values left out; or `{"raises": "ProtocolError"}`.
- `confirmed` (optional): what it is once its failure has stood for long enough.
- `unknown_word` (optional): the word in it that nobody has documented.

A folder has the name of its provider. The samples in `_any` hold for every provider but those in their `not_for`.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import msgspec
import pytest

from acetasks import ProtocolError, Task, normalize
from acetasks.providers import lookup, read_record, specs

SAMPLES = Path(__file__).parents[1] / "samples"
SLUGS = tuple(spec.slug for spec in specs())
RAISES: dict[str, object] = {"raises": "ProtocolError"}


class Sample(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One sample file."""

    note: str
    source: str
    http_status: int
    expect: dict[str, object]
    payload: msgspec.Raw = msgspec.Raw()
    body: str | None = None
    confirmed: dict[str, object] | None = None
    unknown_word: str | None = None
    not_for: frozenset[str] = frozenset()

    @property
    def raw(self) -> bytes:
        """The answer's body."""
        return bytes(self.payload) if self.body is None else self.body.encode()


def load(folder: str) -> dict[str, Sample]:
    """Read the samples of one folder."""
    paths = sorted((SAMPLES / folder).glob("*.json"))
    return {f"{folder}/{path.stem}": msgspec.json.decode(path.read_bytes(), type=Sample) for path in paths}


OWN = {slug: load(slug) for slug in SLUGS}
#: Each sample with the providers that it holds for.
CASES = {name: ((slug,), sample) for slug in SLUGS for name, sample in OWN[slug].items()} | {
    name: (tuple(slug for slug in SLUGS if slug not in sample.not_for), sample) for name, sample in load("_any").items()
}
CERTAIN = {name: case for name, case in CASES.items() if case[1].confirmed is None and case[1].expect != RAISES}
UNCONFIRMED = {name: case for name, case in CASES.items() if case[1].confirmed is not None}


def describe(task: Task) -> dict[str, object]:
    """Bring a task into the form of a sample's `expect`: times to the millisecond, absent values left out."""
    fields = msgspec.structs.asdict(task)
    del fields["provider"], fields["raw"]
    fields["artifacts"] = [drop_absent(msgspec.structs.asdict(artifact)) for artifact in task.artifacts]
    fields["error"] = task.error and drop_absent(msgspec.structs.asdict(task.error))
    return drop_absent({name: round(it, 3) if isinstance(it, float) else it for name, it in fields.items()})


def drop_absent(fields: dict[str, object]) -> dict[str, object]:
    """Leave out what is None or empty."""
    return {name: value for name, value in fields.items() if value is not None and value not in ("", [])}


def outcome(slug: str, sample: Sample) -> dict[str, object]:
    """Read a sample, and describe the task or the error."""
    try:
        return describe(normalize(slug, sample.raw, http_status=sample.http_status))
    except ProtocolError:
        return RAISES


@pytest.mark.parametrize(("slugs", "sample"), CASES.values(), ids=CASES)
def test_a_sample_is_read_in_full(slugs: tuple[str, ...], sample: Sample) -> None:
    """Every field of the task that a sample is read as is the one that the sample's document calls for."""
    assert {slug: outcome(slug, sample) for slug in slugs} == dict.fromkeys(slugs, sample.expect), sample.note


@pytest.mark.parametrize(("slugs", "sample"), CERTAIN.values(), ids=CERTAIN)
def test_a_sample_of_a_certain_state_is_not_marked(slugs: tuple[str, ...], sample: Sample) -> None:
    """Only a loose failure is unconfirmed and only an undocumented word is reported; confirming changes nothing."""
    for spec in map(lookup, slugs):
        reading = read_record(spec, sample.raw, http_status=sample.http_status)

        assert reading.unconfirmed is False
        assert reading.unknown_word == sample.unknown_word
        assert read_record(spec, sample.raw, http_status=sample.http_status, confirmed=True) == reading


@pytest.mark.parametrize(("slugs", "sample"), (CERTAIN | UNCONFIRMED).values(), ids=CERTAIN | UNCONFIRMED)
def test_a_reading_tells_of_its_task_without_it(slugs: tuple[str, ...], sample: Sample) -> None:
    """What a reading has at once, for looks that bring nothing new, is what the task says that is built from it."""
    for spec in map(lookup, slugs):
        reading = read_record(spec, sample.raw, http_status=sample.http_status)
        told = (reading.id, reading.state, reading.progress, reading.raw, reading.created_at)

        task = reading.task
        assert told == (task.id, task.state, task.progress, task.raw, task.created_at)


@pytest.mark.parametrize(("slugs", "sample"), UNCONFIRMED.values(), ids=UNCONFIRMED)
def test_an_unconfirmed_failure_can_be_confirmed(slugs: tuple[str, ...], sample: Sample) -> None:
    """A record that looks failed but may not be is marked so, and is a failed task once that is confirmed."""
    for spec in map(lookup, slugs):
        assert read_record(spec, sample.raw).unconfirmed is True
        assert describe(read_record(spec, sample.raw, confirmed=True).task) == sample.confirmed


@pytest.mark.parametrize(("slugs", "sample"), CERTAIN.values(), ids=CERTAIN)
def test_a_task_keeps_its_record(slugs: tuple[str, ...], sample: Sample) -> None:
    """`Task.raw` is the JSON of the record itself, taken out of minimax's wrapper."""
    task = normalize(slugs[0], sample.raw, http_status=sample.http_status)

    answer = json.loads(sample.raw)
    assert json.loads(task.raw) == answer.get("task", answer)


@pytest.mark.parametrize("slug", SLUGS)
def test_every_provider_has_samples(slug: str) -> None:
    """A row is not complete without a sample of an unfinished, a succeeded and a failed task of its own."""
    states = {sample.expect.get("state") for sample in OWN[slug].values()}

    assert states & {"pending", "running"}
    assert {"succeeded", "failed"} <= states


def test_every_folder_is_a_providers() -> None:
    """A folder that no row has the name of would never be read."""
    assert {path.name for path in SAMPLES.iterdir()} == {*SLUGS, "_any"}


def test_no_sample_is_there_twice() -> None:
    """The same answer twice for one provider would prove nothing new."""
    seen = Counter((slugs, sample.http_status, sample.raw) for slugs, sample in CASES.values())

    assert seen.most_common(1)[0][1] == 1


@pytest.mark.parametrize("sample", [case[1] for case in CASES.values()], ids=CASES)
def test_an_expectation_names_fields_of_a_task(sample: Sample) -> None:
    """A misspelt field would be a truth that nothing is compared with."""
    names = {field.name for field in msgspec.structs.fields(Task)} - {"provider", "raw"}

    assert sample.expect == RAISES or {"state"} <= sample.expect.keys() <= names
