"""The request budget of learned polls: income, savings, and bursts once it is used up."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acetasks._limits.poll_budget import PollBudget

#: Mean seconds between two polls of a task.
INTERVAL = 10.0
#: Requests that poll every task once, and the income of one interval.
INCOMES = [(1.0, 1.5), (1.5, 2.25), (2.0, 3.0), (4.0, 6.0), (9.0, 13.5), (16.0, 22.4), (100.0, 122.0), (400.0, 464.0)]
#: Rounding errors are smaller than this, in requests.
SLACK = 1e-6


def income_of(share: float) -> float:
    """Return the income of one interval."""
    return share + min(0.5 * share, 0.1 * share + 1.2 * math.sqrt(share))


def new_budget(share: float, *, coalesce_fraction: float = 0.1) -> PollBudget:
    """Return an empty budget at time 0."""
    budget = PollBudget(INTERVAL, coalesce_fraction, 0.0)
    budget.refill(0.0, share)
    return budget


def spend_all(budget: PollBudget, now: float) -> int:
    """Spend all requests that are available, and return their number."""
    spent = 0
    while budget.available_at() <= now:
        budget.spend()
        spent += 1
    return spent


def spend_over_time(budget: PollBudget, share: float, seconds: float) -> list[tuple[float, int]]:
    """Spend each request as soon as it is available, and return the times and sizes of the bursts."""
    bursts: list[tuple[float, int]] = []
    now = 0.0
    while (now := max(now, budget.available_at())) <= seconds:
        budget.refill(now, share)
        if spent := spend_all(budget, now):
            bursts.append((now, spent))
    return bursts


class TestIncome:
    """The income of an interval."""

    @pytest.mark.parametrize(("share", "income"), INCOMES)
    def test_income_is_that_of_full_batches_and_some_more(self, share: float, income: float) -> None:
        """Half as much again for a few batches; for many, a tenth and somewhat more than the root."""
        assert new_budget(share).available_at() == pytest.approx(INTERVAL / income)

    @pytest.mark.parametrize(("share", "income"), INCOMES)
    def test_all_of_it_can_be_spent(self, share: float, income: float) -> None:
        """Whole requests are spent, and a remaining fraction counts for the next interval."""
        budget = new_budget(share)
        budget.refill(INTERVAL, share)
        assert spend_all(budget, INTERVAL) == math.floor(income)
        budget.refill(2.0 * INTERVAL, share)

        assert spend_all(budget, 2.0 * INTERVAL) == math.floor(2.0 * income) - math.floor(income)

    def test_a_new_budget_is_empty(self) -> None:
        """The first request is available once it was earned, at whatever time the budget starts."""
        budget = PollBudget(INTERVAL, 0.1, 500.0)
        budget.refill(500.0, 4.0)

        assert budget.available_at() == pytest.approx(500.0 + INTERVAL / 6.0)

    def test_new_tasks_add_income_from_then_on(self) -> None:
        """The time before a refill earns what the tasks of that time need."""
        budget = new_budget(1.0)
        budget.refill(5.0, 100.0)

        # Three quarters of a request were saved.
        assert budget.available_at() == pytest.approx(5.0 + 0.25 / 122.0 * INTERVAL)

    @given(
        share=st.floats(1.0, 300.0),
        coalesce_fraction=st.sampled_from([0.0, 0.1, 0.5]),
        intervals=st.floats(0.5, 8.0),
    )
    def test_the_income_is_spent_in_full_and_never_exceeded(
        self, share: float, coalesce_fraction: float, intervals: float
    ) -> None:
        """In any time at most one burst is left over."""
        income = income_of(share)
        budget = new_budget(share, coalesce_fraction=coalesce_fraction)
        spent = sum(count for _, count in spend_over_time(budget, share, intervals * INTERVAL))

        assert spent <= intervals * income + SLACK
        assert spent >= intervals * income - max(1.0, coalesce_fraction * income) - 1.0 - SLACK


class TestSavings:
    """Unused requests are saved, up to a limit."""

    @pytest.mark.parametrize(("intervals", "saved"), [(1.5, 9), (2.0, 12), (2.5, 15), (4.0, 15), (1000.0, 15)])
    def test_a_long_gap_earns_two_and_a_half_intervals(self, intervals: float, saved: int) -> None:
        """The rest of it passed without tasks to poll."""
        budget = new_budget(4.0)
        budget.refill(intervals * INTERVAL, 4.0)

        assert spend_all(budget, intervals * INTERVAL) == saved

    @pytest.mark.parametrize(("share", "saved"), [(1.0, 60), (4.0, 240), (100.0, 6000)])
    def test_savings_are_limited_to_sixty_intervals_of_full_batches(self, share: float, saved: int) -> None:
        """However long nothing was spent."""
        budget = new_budget(share)
        for interval in range(1, 200):
            budget.refill(interval * INTERVAL, share)

        assert spend_all(budget, 199.0 * INTERVAL) == saved

    def test_savings_shrink_with_the_number_of_tasks(self) -> None:
        """Where most tasks have ended, most of the savings are dropped."""
        budget = new_budget(100.0)
        for interval in range(1, 100):
            budget.refill(interval * INTERVAL, 100.0)
        budget.refill(99.0 * INTERVAL, 2.0)

        assert spend_all(budget, 99.0 * INTERVAL) == 120

    def test_spending_makes_no_debt(self) -> None:
        """A poll that cannot be deferred takes a fraction of a request."""
        budget = new_budget(1.0)
        budget.refill(5.0, 1.0)
        for _ in range(3):
            budget.spend()

            assert budget.available_at() == pytest.approx(5.0 + INTERVAL / 1.5)


class TestBursts:
    """Once the budget is used up, requests are saved for small bursts."""

    @pytest.mark.parametrize(
        ("share", "coalesce_fraction", "seconds"),
        [
            # The income of an interval is 122: a tenth of it takes a tenth of an interval.
            (100.0, 0.1, 1.0),
            (100.0, 0.5, 5.0),
            (400.0, 0.1, 1.0),
            # A burst has at least one request.
            (100.0, 0.0, INTERVAL / 122.0),
            (4.0, 0.1, INTERVAL / 6.0),
            (1.0, 0.1, INTERVAL / 1.5),
            (1.0, 0.9, 9.0),
        ],
    )
    def test_a_burst_is_saved_for_a_fraction_of_the_interval(
        self, share: float, coalesce_fraction: float, seconds: float
    ) -> None:
        """The first request of all is available as soon as it is earned, and the next ones together."""
        budget = new_budget(share, coalesce_fraction=coalesce_fraction)
        first = budget.available_at()
        assert first == pytest.approx(INTERVAL / income_of(share))
        budget.refill(first, share)
        budget.spend()

        assert budget.available_at() == pytest.approx(first + seconds)

    def test_savings_are_available_at_once(self) -> None:
        """Only once they are used up, a burst is saved."""
        budget = new_budget(100.0)
        budget.refill(5.0, 100.0)
        for _ in range(61):
            assert budget.available_at() == 5.0
            budget.spend()

        assert budget.available_at() == pytest.approx(6.0)

    def test_requests_are_spent_in_bursts(self) -> None:
        """Each is a tenth of an interval's income; a remaining fraction of a request is not saved twice."""
        bursts = spend_over_time(new_budget(100.0), 100.0, 100.0)
        times, counts = zip(*bursts, strict=True)

        assert counts == (1, *[12] * (len(bursts) - 1))
        assert times[:3] == pytest.approx((10.0 / 122.0, 10.0 / 122.0 + 1.0, 10.0 / 122.0 + 1.0 + 120.0 / 122.0))
        assert len(bursts) == pytest.approx(1220.0 / 12.0, abs=2.0)

    @given(
        share=st.floats(1.0, 300.0),
        coalesce_fraction=st.sampled_from([0.0, 0.1, 0.5]),
        steps=st.lists(st.floats(0.0, 1.0), max_size=20),
    )
    def test_refills_in_between_change_nothing(
        self, share: float, coalesce_fraction: float, steps: list[float]
    ) -> None:
        """The time of the next burst does not depend on how often the budget is refilled before it."""
        budget = new_budget(share, coalesce_fraction=coalesce_fraction)
        budget.spend()
        available_at = budget.available_at()
        for part in sorted(steps):
            budget.refill(part * available_at, share)

            assert budget.available_at() == pytest.approx(available_at)


@pytest.mark.parametrize(("share", "seconds"), [(1.0, 5.0), (4.0, 2.0), (9.0, 1.0)])
def test_deferral_limit_shrinks_with_the_number_of_requests(share: float, seconds: float) -> None:
    """It is half an interval where one request polls all tasks."""
    assert PollBudget(INTERVAL, 0.1, 0.0).deferral_limit == 5.0
    assert new_budget(share).deferral_limit == seconds


def test_repr_shows_savings_and_income() -> None:
    """The repr names the saved requests and the income."""
    budget = new_budget(4.0)
    assert repr(budget) == "<PollBudget 0 requests, 6 more in 10 s>"
    budget.refill(5.0, 100.0)

    assert repr(budget) == "<PollBudget 3 requests, 122 more in 10 s>"
