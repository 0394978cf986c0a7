"""Tests of the normaliser with the samples in `tests/samples`.

A sample is a JSON object:

- `note`: one sentence about the sample; `source`: the document or the official client's test that it is based on.
- `http_status`: the status of the response; `payload`: the body as JSON, or `body`: the body as text if it is not JSON.
- `expect`: the task without `provider`, `raw` and absent values; or `{"raises": "ProtocolError"}`.
- `confirmed` (optional): the task once its failure is confirmed.
- `unknown_word` (optional): the undocumented state word in it.

Each folder is named after its provider. The samples in `_any` apply to every provider except those in `not_for`.
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
        """The body of the response."""
        return bytes(self.payload) if self.body is None else self.body.encode()


def load(folder: str) -> dict[str, Sample]:
    """Load the samples of one folder."""
    paths = sorted((SAMPLES / folder).glob("*.json"))
    return {f"{folder}/{path.stem}": msgspec.json.decode(path.read_bytes(), type=Sample) for path in paths}


OWN = {slug: load(slug) for slug in SLUGS}
#: Each sample with the providers that it applies to.
CASES = {name: ((slug,), sample) for slug in SLUGS for name, sample in OWN[slug].items()} | {
    name: (tuple(slug for slug in SLUGS if slug not in sample.not_for), sample) for name, sample in load("_any").items()
}
CERTAIN = {name: case for name, case in CASES.items() if case[1].confirmed is None and case[1].expect != RAISES}
UNCONFIRMED = {name: case for name, case in CASES.items() if case[1].confirmed is not None}


def describe(task: Task) -> dict[str, object]:
    """Convert a task to the form of `expect`: times to the millisecond, without absent values."""
    fields = msgspec.structs.asdict(task)
    del fields["provider"], fields["raw"]
    fields["artifacts"] = [drop_absent(msgspec.structs.asdict(artifact)) for artifact in task.artifacts]
    fields["error"] = task.error and drop_absent(msgspec.structs.asdict(task.error))
    return drop_absent({name: round(value, 3) if isinstance(value, float) else value for name, value in fields.items()})


def drop_absent(fields: dict[str, object]) -> dict[str, object]:
    """Return the fields that are not None or empty."""
    return {name: value for name, value in fields.items() if value is not None and value not in ("", [])}


def outcome(slug: str, sample: Sample) -> dict[str, object]:
    """Read a sample and describe the task or the error."""
    try:
        return describe(normalize(slug, sample.raw, http_status=sample.http_status))
    except ProtocolError:
        return RAISES


@pytest.mark.parametrize(("slugs", "sample"), CASES.values(), ids=CASES)
def test_a_sample_gives_the_expected_task(slugs: tuple[str, ...], sample: Sample) -> None:
    """Every field of the task is as the document of the sample requires."""
    assert {slug: outcome(slug, sample) for slug in slugs} == dict.fromkeys(slugs, sample.expect), sample.note


@pytest.mark.parametrize(("slugs", "sample"), CERTAIN.values(), ids=CERTAIN)
def test_a_certain_state_is_not_unconfirmed(slugs: tuple[str, ...], sample: Sample) -> None:
    """Only an ambiguous failure is unconfirmed and only an undocumented word is reported; `confirmed` has no effect."""
    for spec in map(lookup, slugs):
        status = read_record(spec, sample.raw, http_status=sample.http_status)

        assert status.unconfirmed is False
        assert status.unknown_word == sample.unknown_word
        assert read_record(spec, sample.raw, http_status=sample.http_status, confirmed=True) == status


@pytest.mark.parametrize(("slugs", "sample"), (CERTAIN | UNCONFIRMED).values(), ids=CERTAIN | UNCONFIRMED)
def test_a_status_agrees_with_its_task(slugs: tuple[str, ...], sample: Sample) -> None:
    """The attributes that are available without the task equal those of the task."""
    for spec in map(lookup, slugs):
        status = read_record(spec, sample.raw, http_status=sample.http_status)
        attributes = (status.id, status.state, status.progress, status.raw, status.created_at)

        task = status.task
        assert attributes == (task.id, task.state, task.progress, task.raw, task.created_at)


@pytest.mark.parametrize(("slugs", "sample"), UNCONFIRMED.values(), ids=UNCONFIRMED)
def test_an_unconfirmed_failure_can_be_confirmed(slugs: tuple[str, ...], sample: Sample) -> None:
    """An ambiguous failure is marked as unconfirmed, and becomes a failed task with `confirmed`."""
    for spec in map(lookup, slugs):
        assert read_record(spec, sample.raw).unconfirmed is True
        assert describe(read_record(spec, sample.raw, confirmed=True).task) == sample.confirmed


@pytest.mark.parametrize(("slugs", "sample"), CERTAIN.values(), ids=CERTAIN)
def test_a_task_contains_its_record(slugs: tuple[str, ...], sample: Sample) -> None:
    """`Task.raw` is the JSON of the record itself, without minimax's wrapper."""
    task = normalize(slugs[0], sample.raw, http_status=sample.http_status)

    body = json.loads(sample.raw)
    assert json.loads(task.raw) == body.get("task", body)


@pytest.mark.parametrize("slug", SLUGS)
def test_every_provider_has_samples(slug: str) -> None:
    """Every provider has samples of an unfinished, a succeeded and a failed task."""
    states = {sample.expect.get("state") for sample in OWN[slug].values()}

    assert states & {"pending", "running"}
    assert {"succeeded", "failed"} <= states


def test_every_folder_belongs_to_a_provider() -> None:
    """Samples in any other folder would not be tested."""
    assert {path.name for path in SAMPLES.iterdir()} == {*SLUGS, "_any"}


def test_samples_are_unique() -> None:
    """A duplicate would test nothing new."""
    seen = Counter((slugs, sample.http_status, sample.raw) for slugs, sample in CASES.values())

    assert seen.most_common(1)[0][1] == 1


@pytest.mark.parametrize("sample", [case[1] for case in CASES.values()], ids=CASES)
def test_an_expectation_contains_fields_of_a_task(sample: Sample) -> None:
    """A misspelt field would not be compared with anything."""
    names = {field.name for field in msgspec.structs.fields(Task)} - {"provider", "raw"}

    assert sample.expect == RAISES or {"state"} <= sample.expect.keys() <= names
