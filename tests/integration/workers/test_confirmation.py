"""Room-nights against a real database: every night of a stay or none, each sold once, each code issued once."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from datetime import date
from typing import Any, TypeAlias

import asyncpg
import pytest

from saga.database import Schemas
from saga.messaging.job import Result
from schemas.replies import ConfirmationIssued, ConfirmationRefused, InventoryRestored
from tests.support.jobs import CHECK_IN, CHECK_OUT, carry_out, confirm, restore
from workers.confirmation.codes import new_code
from workers.confirmation.desk import sell_at_desk
from workers.confirmation.handler import ConfirmationHandler
from workers.confirmation.ledger import InventoryLedger, Issued, Sale

Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"

pytestmark = pytest.mark.usefixtures("hotel")


@pytest.fixture
def handler(schemas: Schemas) -> ConfirmationHandler:
    return ConfirmationHandler(schemas)


async def sold(pool: Pool, schemas: Schemas) -> dict[str, list[tuple[str, int]]]:
    """Room and day of March of every sold night, by booking."""
    nights: dict[str, list[tuple[str, int]]] = {}
    query = f"SELECT booking_id, room_id, night FROM {schemas['inventory']}.sold_nights ORDER BY 1, 2, 3"
    for booking, room, night in await pool.fetch(query):
        nights.setdefault(booking, []).append((room, night.day))
    return nights


def code(result: Result) -> str:
    assert isinstance(result.reply, ConfirmationIssued)
    return result.reply.confirmation_code


def refusal(result: Result) -> str:
    assert isinstance(result.reply, ConfirmationRefused)
    return result.reply.reason


async def test_a_confirmation_sells_every_night_but_that_of_departure_and_issues_a_code(
    database: Pool, schemas: Schemas, handler: ConfirmationHandler
) -> None:
    [result] = await carry_out(database, handler, confirm("a"))
    assert re.fullmatch(r"BK-[0-9A-HJKMNP-TV-Z]{8}", code(result))
    assert await sold(database, schemas) == {"a": [("101", 1), ("101", 2), ("101", 3)]}
    assert result.report.name == "booking.confirm"
    assert result.report.attributes["booking.confirmation_code"] == code(result)
    assert result.report.error is None


async def test_of_two_bookings_for_one_room_in_one_poll_exactly_the_first_wins(
    database: Pool, schemas: Schemas, handler: ConfirmationHandler
) -> None:
    first, second = await carry_out(
        database, handler, confirm("a"), confirm("b", check_in=date(2027, 3, 3), check_out=date(2027, 3, 6))
    )
    assert code(first)
    assert refusal(second) == "sold"
    assert second.report.error == "Confirmation refused: sold"
    assert second.report.error_type == "confirmation_refused"
    assert list(await sold(database, schemas)) == ["a"]


async def test_a_loser_keeps_no_night_from_a_third_booking(
    database: Pool, schemas: Schemas, handler: ConfirmationHandler
) -> None:
    results = await carry_out(
        database,
        handler,
        confirm("a", check_in=date(2027, 3, 1), check_out=date(2027, 3, 4)),
        confirm("b", check_in=date(2027, 3, 3), check_out=date(2027, 3, 6)),
        confirm("c", check_in=date(2027, 3, 5), check_out=date(2027, 3, 7)),
    )
    assert [isinstance(result.reply, ConfirmationIssued) for result in results] == [True, False, True]
    assert await sold(database, schemas) == {
        "a": [("101", 1), ("101", 2), ("101", 3)],
        "c": [("101", 5), ("101", 6)],
    }


async def test_of_many_bookings_on_many_connections_exactly_one_wins_each_room(
    database: Pool, schemas: Schemas, handler: ConfirmationHandler
) -> None:
    polls = [
        carry_out(database, handler, *(confirm(f"b{n}-{room}", room) for room in ("101", "102", "103")))
        for n in range(6)
    ]
    replies = [result.reply for poll in await asyncio.gather(*polls) for result in poll]
    assert sum(isinstance(reply, ConfirmationIssued) for reply in replies) == 3
    nights = await sold(database, schemas)
    assert len(nights) == 3
    assert all(len(held) == 3 for held in nights.values())


async def test_a_room_sold_at_the_desk_meanwhile_cannot_be_confirmed(
    database: Pool, schemas: Schemas, handler: ConfirmationHandler
) -> None:
    desk: dict[str, Any] = {"property_id": "hotel-1", "room_id": "101", "check_in": CHECK_IN, "check_out": CHECK_OUT}
    assert await sell_at_desk(database, schemas, **desk, sale_id="desk-1") == 3
    assert await sell_at_desk(database, schemas, **desk) == 0
    [result] = await carry_out(database, handler, confirm("a"))
    assert refusal(result) == "sold"
    assert list(await sold(database, schemas)) == ["desk-1"]


async def test_rooms_that_do_not_exist_or_are_too_small_and_empty_stays_are_invalid(
    database: Pool, schemas: Schemas, handler: ConfirmationHandler
) -> None:
    results = await carry_out(
        database,
        handler,
        confirm("a", "999"),
        confirm("b", guests=3),
        confirm("c", check_out=CHECK_IN),
        confirm("d", property_id="nowhere"),
        confirm("e", "103", guests=4),
    )
    assert [refusal(result) for result in results[:4]] == ["invalid"] * 4
    assert code(results[4])
    assert list(await sold(database, schemas)) == ["e"]


async def test_restoring_gives_every_night_back_and_the_room_can_be_sold_again(
    database: Pool, schemas: Schemas, handler: ConfirmationHandler
) -> None:
    await carry_out(database, handler, confirm("a"))
    restored, again = await carry_out(database, handler, restore("a"), confirm("b"))
    assert restored.reply == InventoryRestored(booking_id="a", nights=3)
    assert restored.report.name == "booking.restore_inventory"
    assert code(again)
    assert list(await sold(database, schemas)) == ["b"]


async def test_an_undo_before_its_confirmation_is_recorded_and_the_late_confirmation_refused(
    database: Pool, schemas: Schemas, handler: ConfirmationHandler
) -> None:
    [undone] = await carry_out(database, handler, restore("a"))
    assert undone.reply == InventoryRestored(booking_id="a", nights=0)
    [late] = await carry_out(database, handler, confirm("a"))
    assert refusal(late) == "undone"
    assert late.report.error is None
    assert await sold(database, schemas) == {}


async def test_a_confirmation_and_its_undo_in_one_poll_are_carried_out_in_the_order_they_came(
    database: Pool, schemas: Schemas, handler: ConfirmationHandler
) -> None:
    issued, restored, undone, late = await carry_out(
        database, handler, confirm("a"), restore("a"), restore("b"), confirm("b", "102")
    )
    assert code(issued)
    assert restored.reply == InventoryRestored(booking_id="a", nights=3)
    assert undone.reply == InventoryRestored(booking_id="b", nights=0)
    assert refusal(late) == "undone"
    assert await sold(database, schemas) == {}


async def test_an_undo_racing_its_confirmation_on_another_connection_leaves_nothing_sold(
    database: Pool, schemas: Schemas, handler: ConfirmationHandler
) -> None:
    for n in range(20):
        stay: dict[str, Any] = {"check_in": date(2027, 4, 1 + n), "check_out": date(2027, 4, 3 + n)}
        await asyncio.gather(
            carry_out(database, handler, confirm(f"r{n}", **stay)), carry_out(database, handler, restore(f"r{n}"))
        )
    assert await sold(database, schemas) == {}


async def test_repeating_a_command_repeats_its_answer_and_its_code(
    database: Pool, schemas: Schemas, handler: ConfirmationHandler
) -> None:
    first = await carry_out(database, handler, confirm("a"), confirm("b"))
    again = await carry_out(database, handler, confirm("a"), confirm("b"))
    assert [result.reply for result in again] == [result.reply for result in first]
    restored = await carry_out(database, handler, restore("a"))
    await carry_out(database, handler, confirm("c"))
    repeated = await carry_out(database, handler, restore("a"))
    assert restored[0].reply == InventoryRestored(booking_id="a", nights=3)
    assert repeated[0].reply == InventoryRestored(booking_id="a", nights=0)
    assert list(await sold(database, schemas)) == ["c"]


async def test_a_code_that_is_taken_is_not_issued_again(database: Pool, schemas: Schemas) -> None:
    codes: Iterator[str] = iter(("BK-00000001", "BK-00000001", "BK-00000002"))
    ledger = InventoryLedger(schemas, lambda: next(codes))
    async with database.acquire() as connection, connection.transaction():
        sales = [Sale("a", confirm("a").body), Sale("b", confirm("b", "102").body)]
        decisions = await ledger.confirm(connection, sales)
    assert decisions == {"a": Issued("BK-00000001"), "b": Issued("BK-00000002")}
    assert len(await sold(database, schemas)) == 2


async def test_codes_read_well_and_do_not_repeat() -> None:
    codes = {new_code() for _ in range(2_000)}
    assert len(codes) == 2_000
    assert all(re.fullmatch(r"BK-[0-9A-HJKMNP-TV-Z]{8}", one) for one in codes)
