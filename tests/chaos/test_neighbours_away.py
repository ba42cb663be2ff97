"""What the workers call goes away and comes back: bookings wait or are undone, and nobody pays for nothing."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import islice

from saga.engine.state import Status
from saga.generate import ALL_CONFIRMED, GeneratedBooking
from saga.telemetry import names
from tests.support.chaos import MIXED, House, until

_LETTER = {
    Status.CONFIRMED: "confirmed",
    Status.FAILED: "failed",
    Status.TIMED_OUT: "failed",
    Status.CANCELLED: "cancelled",
}


def _slow_to_pay(booking: GeneratedBooking) -> GeneratedBooking:
    return replace(booking, request=booking.request.model_copy(update={"payment_token": "tok_slow_1500"}))


async def test_charges_that_the_provider_took_along_when_it_was_killed_are_found_and_given_back(house: House) -> None:
    since_us = await house.reader.now_us()
    guests = house.guests(ALL_CONFIRMED)
    cut_off = [_slow_to_pay(booking) for booking in islice(guests, 6)]
    keys = await house.book(cut_off)

    async def charged() -> bool:
        return await house.count("{provider}.charges WHERE booking_id = ANY ($1)", keys) > 0

    async def doubted() -> bool:
        return "payment_unknown" in {summary.error_type for summary in (await house.reader.outcomes(keys)).values()}

    await until(charged, "a charge is captured whose answer is not out yet")
    house.services.kill("provider")
    late = await house.book(list(islice(guests, 4)))
    await until(doubted, "somebody has given up asking what became of a charge")
    await house.start("provider")
    ended = await house.ended([*keys, *late])
    assert {ended[key].status for key in late} == {Status.CONFIRMED}, "who had not been charged yet is charged later"
    doubtful = [key for key in keys if ended[key].error_type == "payment_unknown"]
    kept = "{provider}.charges c LEFT JOIN {provider}.refunds r USING (charge_id) WHERE booking_id = ANY ($1)"
    assert doubtful
    assert await house.count(f"{kept} AND c.status = 'captured' AND r.charge_id IS NULL", doubtful) == 0
    assert await house.count(f"{kept} AND r.charge_id IS NOT NULL", doubtful) > 0, "what was captured is refunded"
    await house.audited([*keys, *late], since_us)


async def test_bookings_wait_for_a_pricing_engine_that_is_away_for_a_while(house: House) -> None:
    since_us = await house.reader.now_us()
    house.services.kill("pricing")
    keys = await house.book(list(islice(house.guests(ALL_CONFIRMED), 6)))

    async def asked_again() -> bool:
        return await house.count("{saga}.history WHERE message_type = 'tick' AND saga_id = ANY ($1)", keys) >= len(keys)

    await until(asked_again, "every booking has been asked for prices again")
    await house.start("pricing")
    ended = await house.ended(keys)
    assert {summary.status for summary in ended.values()} == {Status.CONFIRMED}
    await house.audited(keys, since_us, confirmed=len(keys), compensated=0)


async def test_no_booking_notices_that_the_collector_is_dead_and_no_span_is_lost_when_it_is_back(house: House) -> None:
    since_us = await house.reader.now_us()
    house.services.kill("collector")
    bookings = list(islice(house.guests(MIXED), 16))
    await house.as_meant(bookings)
    await house.start("collector")
    await house.audited([booking.key for booking in bookings], since_us, compensated=2)


async def test_spans_that_cannot_wait_for_the_collector_any_longer_are_counted_and_harm_nobody(house: House) -> None:
    since_us = await house.reader.now_us()
    await house.restart("orchestrator", {"SAGA_TRACE_CAPACITY": "512"})
    before = await house.counted("orchestrator", names.SPANS_DROPPED)
    house.services.kill("collector")
    bookings = list(islice(house.guests(ALL_CONFIRMED), 160))  # twice what queue and batch in hand can hold
    await house.as_meant(bookings)
    await house.start("collector")

    async def counted() -> bool:
        return await house.counted("orchestrator", names.SPANS_DROPPED) > before

    await until(counted, "the orchestrator says how many spans it has lost")
    await house.restart("orchestrator")
    await house.audited([b.key for b in bookings], since_us, confirmed=len(bookings), compensated=0, traces=False)


async def test_letters_wait_for_a_mail_server_that_is_away_and_then_each_arrives_once(house: House) -> None:
    since_us = await house.reader.now_us()
    house.services.kill("mailbox")
    bookings = list(islice(house.guests(MIXED), 16))
    keys = await house.book(bookings)
    ended = await house.ended(keys)
    waiting = "{notification}.notifications WHERE outcome IN ('due', 'sending') AND booking_id = ANY ($1)"

    async def all_put_off() -> bool:
        return await house.count(waiting, keys) == len(keys)

    async def none_is_left() -> bool:
        return await house.count(waiting, keys) == 0

    await until(all_put_off, "there is a letter for every booking, and none could be sent")
    await house.start("mailbox")
    await until(none_is_left, "every letter is out", seconds=120)
    mails = await house.ask("SELECT booking_id, kind FROM {notification}.mailbox WHERE booking_id = ANY ($1)", keys)
    told = Counter((mail["booking_id"], mail["kind"]) for mail in mails)
    assert told == Counter((key, _LETTER[summary.status]) for key, summary in ended.items())
    await house.audited(keys, since_us, compensated=2)
