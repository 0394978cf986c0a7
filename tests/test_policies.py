"""Tests of the policies: defaults, and validation of each setting."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from acetasks import PollPolicy, RetryPolicy

#: Settings that may be None.
OPTIONAL = [(PollPolicy, "interval"), (PollPolicy, "callback_interval"), (PollPolicy, "max_rate")]
POSITIVE = [*OPTIONAL, (PollPolicy, "start_rate"), (RetryPolicy, "timeout"), (RetryPolicy, "submit_timeout")]
NOT_NEGATIVE = [
    *((PollPolicy, name) for name in ("jitter", "linger", "missing_grace")),
    *((RetryPolicy, name) for name in ("base", "cap", "max_retry_after")),
]
COUNTS = [
    *((PollPolicy, name) for name in ("batch_size", "max_in_flight", "missing_polls", "unconfirmed_polls")),
    (RetryPolicy, "attempts"),
]
Policy = type[PollPolicy | RetryPolicy]


def test_the_parameters_below_cover_every_number() -> None:
    """Every numeric setting is in one of the lists above."""
    fields = {(policy, field.name) for policy in (PollPolicy, RetryPolicy) for field in msgspec.structs.fields(policy)}

    assert {*POSITIVE, *NOT_NEGATIVE, *COUNTS} == fields - {(PollPolicy, "schedule")}


@pytest.mark.parametrize("schedule", ["fixed", "proportional", "learned"])
def test_documented_schedules_are_accepted(schedule: str) -> None:
    """Each schedule is set by its name."""
    assert PollPolicy(schedule=schedule).schedule == schedule  # type: ignore[arg-type]  # a documented value


@pytest.mark.parametrize("schedule", ["Learned", "", "often", None, 7, ["fixed"]])
def test_unknown_schedule_raises(schedule: Any) -> None:  # a wrong type is intended
    """The message lists the schedules and shows the value."""
    with pytest.raises(
        ValueError, match=r"PollPolicy\.schedule must be one of fixed, proportional, learned, got "
    ) as caught:
        PollPolicy(schedule=schedule)

    assert repr(schedule) in str(caught.value)


@pytest.mark.parametrize(("policy", "name"), POSITIVE)
@pytest.mark.parametrize("value", [0, 0.0, -1, -0.001])
def test_interval_timeout_or_rate_of_zero_raises(policy: Policy, name: str, value: float) -> None:
    """A zero interval would be a busy loop; a zero timeout or rate would allow no request."""
    with pytest.raises(ValueError, match=rf"{policy.__name__}\.{name} must be more than 0, got {value!r}"):
        policy(**{name: value})


@pytest.mark.parametrize(("policy", "name"), NOT_NEGATIVE)
def test_negative_delay_or_fraction_raises(policy: Policy, name: str) -> None:
    """Zero is accepted and disables the delay."""
    with pytest.raises(ValueError, match=rf"{policy.__name__}\.{name} must be at least 0, got -0\.5"):
        policy(**{name: -0.5})

    assert getattr(policy(**{name: 0}), name) == 0


@pytest.mark.parametrize(("policy", "name"), COUNTS)
@pytest.mark.parametrize("value", [0, -1])
def test_count_below_one_raises(policy: Policy, name: str, value: int) -> None:
    """A count of one is accepted."""
    with pytest.raises(ValueError, match=rf"{policy.__name__}\.{name} must be at least 1, got {value}"):
        policy(**{name: value})

    assert getattr(policy(**{name: 1}), name) == 1


@pytest.mark.parametrize(("policy", "name"), COUNTS)
@pytest.mark.parametrize("value", [1.5, 2.0])
def test_fractional_count_raises(policy: Policy, name: str, value: float) -> None:
    """A batch size of 1.5 is rejected at once, not later during polling."""
    with pytest.raises((TypeError, ValueError), match=rf"{policy.__name__}\.{name} must be"):
        policy(**{name: value})


@pytest.mark.parametrize(("policy", "name"), [*POSITIVE, *NOT_NEGATIVE, *COUNTS])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), 10**400], ids=lambda it: str(it)[:5])
def test_infinite_nan_or_huge_number_raises(policy: Policy, name: str, value: float) -> None:
    """NaN is rejected although every comparison with it is false, and integers that no float can hold are too."""
    with pytest.raises((TypeError, ValueError), match=rf"{policy.__name__}\.{name} must be"):
        policy(**{name: value})


@pytest.mark.parametrize(("policy", "name"), [*POSITIVE, *NOT_NEGATIVE, *COUNTS])
@pytest.mark.parametrize("value", ["3", b"3", True, False, [3], None, {}], ids=repr)
def test_non_number_raises(policy: Policy, name: str, value: Any) -> None:  # a wrong type is intended
    """A string from a configuration file is rejected, and the message names the setting."""
    if value is None and (policy, name) in OPTIONAL:
        assert getattr(policy(**{name: value}), name) is None
        return
    with pytest.raises(TypeError, match=rf"{policy.__name__}\.{name} must be a .*number, got"):
        policy(**{name: value})


def test_defaults() -> None:
    """The defaults are as documented; the batch size is the one that the service recommends."""
    assert msgspec.structs.asdict(PollPolicy()) == {
        "interval": None,
        "schedule": "learned",
        "jitter": 0.2,
        "batch_size": 50,
        "linger": 0.05,
        "callback_interval": None,
        "max_in_flight": 8,
        "start_rate": 60.0,
        "max_rate": None,
        "missing_polls": 3,
        "missing_grace": 10.0,
        "unconfirmed_polls": 5,
    }
    assert msgspec.structs.asdict(RetryPolicy()) == {
        "attempts": 4,
        "base": 1.0,
        "cap": 16.0,
        "timeout": 30.0,
        "submit_timeout": 600.0,
        "max_retry_after": 300.0,
    }


@pytest.mark.parametrize(("policy", "name"), [(PollPolicy(), "jitter"), (RetryPolicy(), "base")])
def test_policies_are_immutable(policy: object, name: str) -> None:
    """Clients may share one policy."""
    with pytest.raises(AttributeError):
        setattr(policy, name, "changed")


def test_policies_take_keyword_arguments_only() -> None:
    """Positional and unknown arguments are rejected."""
    with pytest.raises(TypeError):
        PollPolicy(5.0)  # type: ignore[misc]  # a wrong call is intended
    with pytest.raises(TypeError):
        RetryPolicy(retries=5)  # type: ignore[call-arg]  # a wrong call is intended
