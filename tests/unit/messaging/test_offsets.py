"""The low-water mark: what may be committed while records finish in any order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from saga.messaging.offsets import LowWaterMark


def test_nothing_is_committable_before_the_first_record_is_finished() -> None:
    mark = LowWaterMark()
    mark.start(10)
    mark.start(11)
    mark.finish(11)
    assert mark.committable() is None


def test_the_mark_jumps_over_everything_that_finished_behind_a_slow_record() -> None:
    mark = LowWaterMark()
    for offset in range(5):
        mark.start(offset)
    for offset in (4, 2, 1, 3):
        mark.finish(offset)
    assert mark.committable() is None
    mark.finish(0)
    assert mark.committable() == 5


def test_offsets_with_gaps_commit_the_one_after_the_last_finished() -> None:
    mark = LowWaterMark()
    mark.start(3)
    mark.start(9)
    mark.finish(3)
    assert mark.committable() == 4
    mark.finish(9)
    assert mark.committable() == 10


def test_what_is_committed_is_not_committed_again() -> None:
    mark = LowWaterMark()
    mark.start(0)
    mark.finish(0)
    mark.committed(1)
    assert mark.committable() is None


@given(order=st.permutations(list(range(12))))
def test_a_committed_offset_never_passes_an_open_record(order: list[int]) -> None:
    mark = LowWaterMark()
    for offset in range(12):
        mark.start(offset)
    still_open = set(range(12))
    for offset in order:
        mark.finish(offset)
        still_open.discard(offset)
        due = mark.committable()
        assert due is None or all(offset >= due for offset in still_open)
        expected = min(still_open, default=12)
        assert (due or 0) == expected
        assert mark.open_records == sum(1 for offset in range(expected, 12))
