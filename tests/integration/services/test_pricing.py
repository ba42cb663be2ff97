"""The pricing engine over HTTP, and its client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import date

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web

from saga.database import Schemas, connect_pool, migrate
from saga.errors import DatabaseUnreachable, TransientFailure, UsageError
from saga.settings import Settings
from tests.support.services import HOST, Running, pricing_running
from workers.pricing.client import PricingClient, QuotesRefused
from workers.pricing.messages import QuoteRequest, Quotes, RoomToPrice
from workers.pricing.rates import RateBook, load_rates
from workers.pricing.tariff import RoomRate, Season, Tariff
from workers.serving import listening

SUMMER = Season("summer", 615, 831, 13_000)
TARIFF = Tariff(
    "htl-pricing", "EUR", 12_000, (SUMMER,), {"101": RoomRate("double", 10_000), "102": RoomRate("suite", 30_000)}
)


def question(**changes: object) -> QuoteRequest:
    fields: dict[str, object] = {
        "property_id": "htl-pricing",
        "check_in": date(2026, 7, 2),  # a Thursday in summer
        "check_out": date(2026, 7, 5),
        "guests": 2,
        "currency": "EUR",
        "offers": (RoomToPrice(room_id="101", room_type="double"), RoomToPrice(room_id="102", room_type="suite")),
    }
    return QuoteRequest.model_validate({**fields, **changes})


@pytest_asyncio.fixture
async def pricing(settings: Settings) -> AsyncIterator[Running]:
    async with pricing_running(settings) as running:
        await load_rates(running.pool, running.schemas, [TARIFF])
        await running.settled()
        yield running


@pytest_asyncio.fixture
async def client(pricing: Running) -> AsyncIterator[PricingClient]:
    async with PricingClient(pricing.url) as client:
        yield client


async def test_one_call_prices_every_offer_by_room_night_and_season(client: PricingClient) -> None:
    answer = await client.quotes(question())
    assert isinstance(answer, Quotes)
    assert [quote.nightly for quote in answer.quotes] == [(13_000, 15_600, 15_600), (39_000, 46_800, 46_800)]
    assert [(quote.room_id, quote.total_amount, quote.currency) for quote in answer.quotes] == [
        ("101", 44_200, "EUR"),
        ("102", 132_600, "EUR"),
    ]


async def test_prices_are_given_in_the_currency_asked_for(client: PricingClient) -> None:
    answer = await client.quotes(question(currency="JPY", check_in=date(2026, 3, 2), check_out=date(2026, 3, 3)))
    assert isinstance(answer, Quotes)
    assert [(quote.total_amount, quote.currency) for quote in answer.quotes] == [(16_350, "JPY"), (49_050, "JPY")]


@pytest.mark.parametrize(
    ("changes", "reason", "says"),
    [
        ({"property_id": "htl-nowhere"}, "unknown-property", "saga seed"),
        ({"offers": (RoomToPrice(room_id="999", room_type="double"),)}, "unknown-room", "999"),
        ({"offers": (RoomToPrice(room_id="101", room_type="igloo"),)}, "unknown-room", "igloo"),
        ({"currency": "XXX"}, "unknown-currency", "XXX"),
    ],
)
async def test_a_question_without_a_price_is_refused_with_its_reason(
    client: PricingClient, changes: dict[str, object], reason: str, says: str
) -> None:
    answer = await client.quotes(question(**changes))
    assert isinstance(answer, QuotesRefused)
    assert answer.reason == reason
    assert says in answer.detail


async def test_errors_are_problem_bodies_that_name_the_field_but_not_its_value(pricing: Running) -> None:
    body = question().model_dump(mode="json") | {"guests": 0, "currency": "4242424242424242"}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{pricing.url}/v1/quotes", json=body) as response,
    ):
        problem = await response.json(content_type="application/problem+json")
    assert response.status == 422
    assert problem["type"] == "urn:booking-saga:problem:invalid-request"
    assert problem["status"] == 422
    assert {error["pointer"] for error in problem["errors"]} == {"/guests", "/currency"}
    assert "4242" not in str(problem)


async def test_departure_before_arrival_is_refused(pricing: Running) -> None:
    body = question().model_dump(mode="json") | {"check_out": "2026-07-01"}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{pricing.url}/v1/quotes", json=body) as response,
    ):
        assert response.status == 422
        assert "check_out" in await response.text()


async def test_new_rates_are_used_as_soon_as_a_room_is_not_known(pricing: Running, client: PricingClient) -> None:
    await load_rates(pricing.pool, pricing.schemas, [Tariff("htl-late", "EUR", rooms={"1": RoomRate("double", 500)})])
    await pricing.settled()
    ask = question(property_id="htl-late", offers=(RoomToPrice(room_id="1", room_type="double"),))
    assert isinstance(await client.quotes(ask), Quotes)


async def test_changed_rates_reach_a_running_engine(settings: Settings) -> None:
    await migrate(settings, "pricing")
    schemas = Schemas(settings.schema_prefix)
    async with await connect_pool(settings, role="test") as pool:
        await load_rates(pool, schemas, [TARIFF])
        book = RateBook(pool, schemas, interval_s=0.02)
        await book.refresh()
        fresh = asyncio.create_task(book.keep_fresh())
        try:
            await load_rates(pool, schemas, [Tariff("htl-pricing", "EUR", rooms={"101": RoomRate("double", 777)})])
            async with asyncio.timeout(5):
                while book.tariff("htl-pricing") == TARIFF:  # there is no event to wait for
                    await asyncio.sleep(0.02)
            tariff = book.tariff("htl-pricing")
            assert tariff is not None
            assert tariff.rooms == {"101": RoomRate("double", 777), "102": RoomRate("suite", 30_000)}
            assert tariff.seasons == ()
        finally:
            fresh.cancel()
            with suppress(asyncio.CancelledError):
                await fresh


async def test_a_quote_costs_no_database_round_trip(settings: Settings) -> None:
    async with pricing_running(settings) as running:
        await load_rates(running.pool, running.schemas, [TARIFF])
        async with PricingClient(running.url) as client:
            await running.settled()
            assert isinstance(await client.quotes(question()), Quotes)
            await running.pool.close()
            assert isinstance(await client.quotes(question()), Quotes)


async def test_a_client_asks_again_when_the_engine_stumbles_and_gives_up_when_it_is_down(pricing: Running) -> None:
    answers = iter((503, 500))
    upstream = f"{pricing.url}/v1/quotes"

    async def stumble(request: web.Request) -> web.Response:
        status = next(answers, 200)
        if status != 200:
            return web.Response(status=status)
        async with (
            aiohttp.ClientSession() as session,
            session.post(upstream, data=await request.read()) as response,
        ):
            return web.Response(body=await response.read(), content_type="application/json")

    app = web.Application()
    app.router.add_post("/v1/quotes", stumble)
    async with listening(app, HOST, 0) as port, PricingClient(f"http://{HOST}:{port}", backoff_s=0.01) as client:
        assert isinstance(await client.quotes(question()), Quotes)
    async with PricingClient(f"http://{HOST}:{port}", backoff_s=0.01, attempts=2) as client:
        with pytest.raises(TransientFailure, match="pricing_unavailable"):
            await client.quotes(question())


async def test_a_taken_port_and_an_absent_database_are_said_plainly(settings: Settings) -> None:
    async with listening(web.Application(), HOST, 0) as port:
        with pytest.raises(UsageError, match=f"{HOST}:{port}"):
            async with listening(web.Application(), HOST, port):
                pytest.fail("two servers on one port")
    away = settings.model_copy(update={"database_url": type(settings.database_url)(f"postgresql://{HOST}:1/postgres")})
    with pytest.raises(DatabaseUnreachable, match="SAGA_DATABASE_URL"):
        await connect_pool(away, role="test")
