"""The provider's answer is lost, before it charged or after: the outcome is settled once, and no money is left over."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import islice

import aiohttp
import asyncpg
import pytest

from saga.engine.state import Status
from saga.generate import ALL_CONFIRMED
from tests.support.chaos import House, until


async def _pay_with(house: House, token: str, count: int) -> list[str]:
    bookings = islice(house.guests(ALL_CONFIRMED), count)
    return await house.book(
        [replace(b, request=b.request.model_copy(update={"payment_token": token})) for b in bookings]
    )


async def _charges(house: House, keys: list[str]) -> list[asyncpg.Record]:
    return await house.ask(
        "SELECT c.status, r.charge_id IS NOT NULL AS refunded FROM {provider}.charges c "
        "LEFT JOIN {provider}.refunds r USING (charge_id) WHERE c.booking_id = ANY ($1)",
        keys,
    )


@asynccontextmanager
async def _faults(house: House, **faults: object) -> AsyncIterator[None]:
    """The provider's own switch for faults, thrown for as long as the context lasts."""
    headers = {"Authorization": f"Bearer {house.settings.provider_api_key.get_secret_value()}"}
    url = f"{house.settings.provider_url}/v1/faults"
    async with aiohttp.ClientSession(headers=headers, raise_for_status=True) as session:
        await session.put(url, json=faults)
        try:
            yield
        finally:
            await session.put(url, json={})


@pytest.mark.parametrize(
    "token", ["tok_timeout_after_charge", "tok_timeout_before_charge", "tok_timeout_before_charge_2"]
)
async def test_a_lost_answer_is_asked_for_and_the_guest_is_charged_once(house: House, token: str) -> None:
    since_us = await house.reader.now_us()
    keys = await _pay_with(house, token, 4)
    ended = await house.ended(keys)
    assert {summary.status for summary in ended.values()} == {Status.CONFIRMED}
    assert [tuple(charge) for charge in await _charges(house, keys)] == [("captured", False)] * len(keys)
    await house.audited(keys, since_us, confirmed=len(keys), compensated=0)


async def test_a_charge_that_never_arrives_is_voided_so_that_it_never_will(house: House) -> None:
    since_us = await house.reader.now_us()
    keys = await _pay_with(house, "tok_timeout_before_charge_100", 4)
    ended = await house.ended(keys)
    assert {summary.error_type for summary in ended.values()} == {"payment_unknown"}
    assert [tuple(charge) for charge in await _charges(house, keys)] == [("voided", False)] * len(keys)
    await house.audited(keys, since_us, confirmed=0, compensated=len(keys))


async def test_a_charge_nobody_can_ask_about_is_given_back_when_the_provider_answers_again(house: House) -> None:
    since_us = await house.reader.now_us()
    keys = await _pay_with(house, "tok_timeout_after_charge", 4)

    async def charged() -> bool:
        return len(await _charges(house, keys)) == len(keys)

    async def doubted() -> bool:
        found = (await house.reader.outcomes(keys)).values()
        return [summary.error_type for summary in found] == ["payment_unknown"] * len(keys)

    await until(charged, "every charge is captured, and its answer lost")
    async with _faults(house, down=True):
        await until(doubted, "nobody could say what became of the charges")
    await house.ended(keys)
    assert [tuple(charge) for charge in await _charges(house, keys)] == [("captured", True)] * len(keys)
    await house.audited(keys, since_us, confirmed=0, compensated=len(keys))


async def test_half_of_all_answers_get_lost_on_either_side_and_nobody_is_charged_twice(house: House) -> None:
    since_us = await house.reader.now_us()
    async with _faults(house, seed=7, timeout_after_charge_rate=0.3, timeout_before_charge_rate=0.3, error_rate=0.2):
        keys = await _pay_with(house, "tok_visa", 16)
        await house.ended(keys)
    await house.audited(keys, since_us, confirmed=4, compensated=0)
