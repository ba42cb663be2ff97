"""Cutting a poll into runs."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.support.jobs import acquire
from workers.batches import in_runs


@given(st.lists(st.sampled_from("abcde"), max_size=30))
def test_no_saga_is_twice_in_a_run_nothing_is_lost_and_each_saga_keeps_its_order(bookings: list[str]) -> None:
    jobs = [acquire(booking, number=number) for number, booking in enumerate(bookings)]
    runs = list(in_runs(jobs))
    assert [job for run in runs for job in run] == jobs
    assert all(len({job.envelope.key for job in run}) == len(run) > 0 for run in runs)


def test_a_poll_of_different_sagas_is_one_run() -> None:
    jobs = [acquire(booking) for booking in "abcdefg"]
    assert list(in_runs(jobs)) == [jobs]
