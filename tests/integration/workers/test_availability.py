"""Availability against a real inventory and a real pricing engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import date, timedelta
from typing import Any, TypeAlias

import asyncpg
import pytest

from saga.database import Schemas
from saga.messaging.job import AttemptFailed, Job, Result
from saga.settings import Settings
from schemas.commands import CheckAvailability
from schemas.replies import AvailabilityFound, AvailabilityRefused, Offer
from tests.support.jobs import CHECK_IN, CHECK_OUT, Measured, acquire, carry_out, job
from tests.support.services import pricing_running
from workers.availability.catalogue import Listing, Room, load_inventory, tariff_of
from workers.availability.handler import AvailabilityHandler
from workers.availability.search import RoomSearch
from workers.confirmation.desk import sell_at_desk
from workers.locking.handler import LockHandler
from workers.pricing.client import PricingClient
from workers.pricing.rates import load_rates

Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"


@pytest.fixture
async def handler(
    database: Pool, schemas: Schemas, settings: Settings, hotel: None
) -> AsyncIterator[AvailabilityHandler]:
    async with pricing_running(settings) as engine, PricingClient(engine.url) as pricing:
        yield AvailabilityHandler(RoomSearch(database, schemas), pricing)


def ask(booking: str = "bk-1", **changes: Any) -> Job[Any]:
    fields: dict[str, Any] = {
        "booking_id": booking,
        "property_id": "hotel-1",
        "check_in": CHECK_IN,
        "check_out": CHECK_OUT,
        "guests": 2,
        "currency": "EUR",
    }
    return job(CheckAvailability(**{**fields, **changes}), f"{booking}.check_availability.1")


def offers(result: Result) -> tuple[Offer, ...]:
    assert isinstance(result.reply, AvailabilityFound), result.reply
    return result.reply.offers


def rooms(result: Result) -> list[str]:
    return [offer.room_id for offer in offers(result)]


def refusal(result: Result) -> str:
    assert isinstance(result.reply, AvailabilityRefused), result.reply
    assert result.report.attributes["booking.availability_refused"] == result.reply.reason
    assert result.report.attributes["booking.available_count"] == 0
    return result.reply.reason


async def test_free_rooms_are_offered_with_the_price_of_the_stay_the_cheapest_first(
    handler: AvailabilityHandler,
) -> None:
    result = await handler.call(ask())
    found = offers(result)
    assert {offer.room_id for offer in found[:2]} == {"101", "102"}
    assert [offer.total_minor for offer in found] == [30_000, 30_000, 75_000]
    assert {offer.currency for offer in found} == {"EUR"}
    assert result.report.name == "booking.check_availability"
    assert result.report.attributes == {
        "booking.check_in": "2027-03-01",
        "booking.check_out": "2027-03-04",
        "booking.guests": 2,
        "booking.property_id": "hotel-1",
        "booking.available_count": 3,
    }


async def test_rooms_that_are_too_small_or_of_another_type_are_left_out(handler: AvailabilityHandler) -> None:
    assert rooms(await handler.call(ask(guests=3))) == ["103"]
    assert set(rooms(await handler.call(ask(room_type="double")))) == {"101", "102"}
    assert refusal(await handler.call(ask(room_type="igloo"))) == "no_availability"
    assert refusal(await handler.call(ask(guests=9))) == "no_availability"


async def test_a_room_with_one_sold_night_is_not_offered(
    handler: AvailabilityHandler, database: Pool, schemas: Schemas
) -> None:
    stay: dict[str, Any] = {"check_in": date(2027, 3, 3), "check_out": date(2027, 3, 4)}
    await sell_at_desk(database, schemas, property_id="hotel-1", room_id="101", **stay)
    assert set(rooms(await handler.call(ask()))) == {"102", "103"}
    assert set(rooms(await handler.call(ask(check_out=date(2027, 3, 3))))) == {"101", "102", "103"}


async def test_a_held_room_is_offered_last_for_its_hold_may_end(
    handler: AvailabilityHandler, database: Pool, schemas: Schemas, measured: Measured
) -> None:
    locking = LockHandler(schemas, measured.meters.contentions)
    await carry_out(database, locking, acquire("other", "101"))
    assert rooms(await handler.call(ask())) == ["102", "103", "101"]
    await carry_out(database, locking, acquire("another", "102"), acquire("yet-another", "103"))
    assert len(rooms(await handler.call(ask()))) == 3


async def test_nothing_is_available_when_every_room_is_sold(
    handler: AvailabilityHandler, database: Pool, schemas: Schemas
) -> None:
    for room in ("101", "102", "103"):
        await sell_at_desk(
            database, schemas, property_id="hotel-1", room_id=room, check_in=CHECK_IN, check_out=CHECK_OUT
        )
    result = await handler.call(ask())
    assert refusal(result) == "no_availability"
    assert result.report.error is None


async def test_unknown_properties_and_senseless_stays_are_refused(handler: AvailabilityHandler, database: Pool) -> None:
    today = await database.fetchval("SELECT current_date")
    long_ago = {"check_in": today - timedelta(days=2), "check_out": today + timedelta(days=1)}
    yesterday = {"check_in": today - timedelta(days=1), "check_out": today + timedelta(days=1)}
    assert refusal(await handler.call(ask(property_id="nowhere"))) == "unknown_property"
    assert refusal(await handler.call(ask(check_out=CHECK_IN))) == "invalid_stay"
    assert refusal(await handler.call(ask(check_out=date(2027, 6, 1)))) == "invalid_stay"
    assert refusal(await handler.call(ask(**long_ago))) == "invalid_stay"
    # Somewhere it is still yesterday.
    assert len(rooms(await handler.call(ask(**yesterday)))) == 3


async def test_what_cannot_be_priced_is_not_offered_and_the_span_says_why(handler: AvailabilityHandler) -> None:
    result = await handler.call(ask(currency="XXX"))
    assert refusal(result) == "no_availability"
    [event] = result.report.events
    assert (event.name, event.attributes) == (
        "offers_not_priced",
        {"booking.not_priced_reason": "unknown-currency"},
    )


async def test_at_most_as_many_offers_as_asked_for_come_and_bookings_start_at_different_rooms(
    handler: AvailabilityHandler, database: Pool, schemas: Schemas
) -> None:
    many = tuple(Room(room_id=f"r{n:02}", room_type="double", capacity=2, nightly_minor=9_000) for n in range(40))
    grand = Listing(property_id="grand", name="Grand", city="Rome", country="IT", stars=4, currency="EUR", rooms=many)
    await load_rates(database, schemas, [tariff_of(grand)])
    await load_inventory(database, schemas, [grand])
    await asyncio.sleep(0.3)  # the engine looks for new rates four times a second
    results = await asyncio.gather(*(handler.call(ask(f"bk-{n}", property_id="grand")) for n in range(60)))
    assert all(len(rooms(result)) == 5 for result in results)
    assert all(len(set(rooms(result))) == 5 for result in results)
    first = {rooms(result)[0] for result in results}
    assert len(first) > 20
    again = await handler.call(ask("bk-7", property_id="grand"))
    assert rooms(again) == rooms(results[7])
    assert len(rooms(await handler.call(ask(property_id="grand", max_offers=2)))) == 2


async def test_questions_asked_together_get_each_their_own_answer(handler: AvailabilityHandler) -> None:
    results = await asyncio.gather(
        *(
            handler.call(ask(f"bk-{n}", property_id="nowhere" if n % 3 == 0 else "hotel-1", guests=3 if n % 2 else 2))
            for n in range(30)
        )
    )
    for n, result in enumerate(results):
        if n % 3 == 0:
            assert refusal(result) == "unknown_property"
        else:
            assert len(rooms(result)) == (1 if n % 2 else 3)


async def test_while_pricing_is_away_the_attempt_fails_and_its_span_says_so(
    database: Pool, schemas: Schemas, hotel: None
) -> None:
    async with PricingClient("http://127.0.0.1:9", attempts=1) as nobody:
        handler = AvailabilityHandler(RoomSearch(database, schemas), nobody)
        with pytest.raises(AttemptFailed) as caught:
            await handler.call(ask())
    assert caught.value.error_type == "pricing_unavailable"
    assert caught.value.report.name == "booking.check_availability"
    assert caught.value.report.error_type == "pricing_unavailable"
