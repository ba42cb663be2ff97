"""What is made of the readings: pure arithmetic, and the promise that a child process answers or says why not."""

from __future__ import annotations

from pathlib import Path

import pytest

from saga.bench.errand import Errand
from saga.bench.meter import Arrived, Reading, Spent
from saga.bench.observer import Ended
from saga.bench.plan import Plan
from saga.bench.shape import Hop, Shape, chain, make_shape
from saga.errors import StackError
from schemas import topics


def ended(*latencies_ms: int, asked: int | None = None, seconds: float = 1.0) -> Ended:
    return Ended(asked or len(latencies_ms), {"CONFIRMED": len(latencies_ms)}, latencies_ms, seconds)


def test_a_percentile_is_a_latency_that_was_seen() -> None:
    hundred = ended(*range(1, 101))
    assert [hundred.percentile_ms(percent) for percent in (1, 50, 99, 100)] == [1, 50, 99, 100]
    assert ended(7).percentile_ms(50) == 7
    assert ended(asked=3).percentile_ms(50) is None


def test_bookings_that_never_ended_count_against_the_rate() -> None:
    some = ended(10, 20, 30, asked=5, seconds=0.5)
    assert some.unfinished == 2
    assert some.per_second == 6


def reading(cpu_s: dict[str, float], records: dict[str, int]) -> Reading:
    return Reading(0.0, cpu_s, {}, {"kafka": 1.0}, records, writes=10, wal_bytes=100)


def test_what_was_spent_is_the_difference_of_two_readings() -> None:
    before = reading({"orchestrator": 1.0, "gone": 3.0}, {"booking.requests": 5})
    after = reading({"orchestrator": 1.5, "new": 0.25}, {"booking.requests": 8, "booking.events": 2})
    spent = Spent.between(before, after)
    assert spent.cpu_s == {"orchestrator": 0.5, "new": 0.25}
    assert spent.records == {"booking.requests": 3, "booking.events": 2}
    assert spent.servers_s == {"kafka": 0.0}


def test_what_others_did_meanwhile_is_what_nobody_of_us_did() -> None:
    before = Reading(10.0, {"orchestrator": 1.0}, {}, {"kafka": 1.0}, {}, 0, 0, own_s=0.5, machine_s=100.0)
    after = Reading(14.0, {"orchestrator": 3.0}, {}, {"kafka": 2.0}, {}, 0, 0, own_s=1.0, machine_s=107.5)
    assert Spent.between(before, after).elsewhere == 1.0
    assert Spent.between(before, before).elsewhere == 0.0


COMMANDS = (topics.AVAILABILITY, topics.LOCKING, topics.PAYMENT, topics.CONFIRMATION)
ONCE = dict.fromkeys((topics.REQUESTS, *COMMANDS, topics.EVENTS), 100) | {topics.REPLIES: 400}


def test_the_pumps_chain_is_a_saga_of_ten_records() -> None:
    passed = chain(ONCE, 100)
    assert len(passed) == 10
    assert passed[:3] == ((topics.REQUESTS, 1), (topics.AVAILABILITY, 1), (topics.REPLIES, 1))
    assert passed[-3:] == ((topics.CONFIRMATION, 1), (topics.REPLIES, 1), (topics.EVENTS, 1))


def test_repeated_commands_are_repeated_in_as_many_chains() -> None:
    passed = chain(ONCE | {topics.LOCKING: 225, topics.REPLIES: 525}, 100)
    assert [share for topic, share in passed if topic == topics.LOCKING] == [1, 1, 0.25]
    assert sum(share for _, share in passed) == 12.5
    assert len(chain(ONCE | {topics.LOCKING: 99, topics.PAYMENT: 101}, 100)) == 10


def test_the_shape_leaves_the_collectors_own_commits_to_the_collector() -> None:
    hops = {topic: Hop(f"bench.{topic}", 300, 20, (("ce_id", 10),)) for topic in ONCE}
    spent = Spent({}, {}, ONCE, writes=250, wal_bytes=0)
    arrived = Arrived(spans=3_300, by_name={}, commits=50)
    shape = make_shape(spent, arrived, {"saga.sagas": 5.0, "saga.history": 5.5}, 900, hops, 100)
    assert (shape.commits, shape.spans, shape.rows) == (2.0, 33.0, 10.5)
    assert shape.messages == 10
    assert shape.hops[0].bytes == 300 + 20 + len("ce_id") + 10
    assert Shape.from_json(shape.as_json()) == shape


def test_there_are_properties_enough_for_every_booking_of_the_run() -> None:
    small, large = Plan(sagas=60).catalogue(), Plan(sagas=50_000, stored=100_000).catalogue()
    assert (small.properties, small.rooms) == (40, 1_200)
    assert large.properties * 100 >= 2 * 50_000


async def test_an_errand_that_cannot_be_run_says_why(tmp_path: Path) -> None:
    log = tmp_path / "errand.log"
    with pytest.raises(StackError, match="No module named"):
        async with Errand("saga.bench.nothing_of_the_kind", {}, log):
            pass


async def test_an_errand_that_is_given_a_wrong_order_ends_and_says_so(tmp_path: Path) -> None:
    environment = {"SAGA_BROKERS": "127.0.0.1:1", "SAGA_DATABASE_URL": "postgresql://127.0.0.1:1/none"}
    with pytest.raises(StackError, match="BrokerUnreachable"):
        async with Errand("saga.bench.publisher", environment, tmp_path / "errand.log"):
            pass
