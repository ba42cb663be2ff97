"""The payment gateway against the real provider: what it says when all goes well, and when answers are lost."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web

from saga.errors import TransientFailure
from saga.settings import Settings
from tests.support.services import HOST, Running, provider_running
from workers.payment.gateway import (
    Captured,
    ChargeOrder,
    Declined,
    NothingCaptured,
    PaymentProvider,
    Refunded,
    Rejected,
    Retry,
    Unknown,
    Voided,
)
from workers.payment.http_provider import GatewayPolicy, HttpPaymentProvider
from workers.provider.faults import Faults
from workers.serving import listening

_numbers = itertools.count(1)
QUICK = GatewayPolicy(timeout_s=0.3, attempts=3, backoff_s=0.01, backoff_max_s=0.02)


def an_order(token: str = "tok_visa", **changes: str) -> ChargeOrder:  # a test token
    key = f"bk-gateway-{next(_numbers)}.payment.1"
    order = {"idempotency_key": key, "booking_id": key, "currency": "EUR", "token": token, **changes}
    return ChargeOrder(amount_minor=4200, **order)


@pytest_asyncio.fixture
async def provider(settings: Settings) -> AsyncIterator[Running]:
    async with provider_running(settings) as running:
        yield running


@pytest_asyncio.fixture
async def gateway(provider: Running, settings: Settings) -> AsyncIterator[PaymentProvider]:
    async with HttpPaymentProvider(provider.url, settings.provider_api_key.get_secret_value(), QUICK) as gateway:
        yield gateway


async def captured(provider: Running, order: ChargeOrder) -> int:
    schema = provider.schemas["provider"]
    sql = f"SELECT count(*) FROM {schema}.charges WHERE booking_id = $1 AND status = 'captured'"
    return int(await provider.pool.fetchval(sql, order.booking_id))


Relay = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Between:
    """A proxy before the provider that loses answers: for each request ``plan`` gives what happens to it.

    ``pass``; ``lose`` (the provider acts, the connection is cut before the answer); ``cut`` (the provider never hears);
    a number (answered with that status, the provider never hears).
    """

    def __init__(self, upstream: str, *plan: str | int) -> None:
        self._upstream = upstream
        self._plan = list(plan)
        self.heard: list[str] = []

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._relay)
        return app

    async def _relay(self, request: web.Request) -> web.StreamResponse:
        self.heard.append(request.method)
        what = self._plan.pop(0) if self._plan else "pass"
        if isinstance(what, int):
            return web.Response(status=what)
        if what != "cut":
            async with (
                aiohttp.ClientSession() as session,
                session.request(
                    request.method,
                    f"{self._upstream}{request.path_qs}",
                    data=await request.read(),
                    headers={k: v for k, v in request.headers.items() if k in {"Authorization", "Idempotency-Key"}},
                ) as response,
            ):
                body = await response.read()
            if what == "pass":
                return web.Response(body=body, status=response.status, content_type="application/json")
        assert request.transport is not None
        request.transport.close()
        return web.Response()


async def test_a_capture_tells_what_a_span_and_a_reply_need(gateway: PaymentProvider) -> None:
    answered = await gateway.charge(an_order("tok_amex"))
    outcome = answered.outcome
    assert isinstance(outcome, Captured)
    assert outcome.transaction_id.startswith("ch_")
    assert (outcome.amount_minor, outcome.currency) == (4200, "EUR")
    assert (outcome.card_brand, outcome.card_last_four) == ("amex", "0005")
    assert answered.attempts == 1
    assert 0 < answered.gateway_latency_ms < 2_000


async def test_a_decline_has_its_reason(gateway: PaymentProvider) -> None:
    outcome = (await gateway.charge(an_order("tok_declined_insufficient_funds"))).outcome
    assert isinstance(outcome, Declined)
    assert (outcome.reason, outcome.card_last_four) == ("insufficient_funds", "0002")


async def test_an_order_the_provider_cannot_accept_is_rejected_without_retries(gateway: PaymentProvider) -> None:
    retries: list[Retry] = []
    answered = await gateway.charge(an_order("tok_nobody_issued"), retries.append)
    assert isinstance(answered.outcome, Rejected)
    assert answered.outcome.reason == "unknown_token"
    assert retries == []


async def test_the_same_order_again_gives_the_same_charge(gateway: PaymentProvider, provider: Running) -> None:
    order = an_order()
    first, second = await gateway.charge(order), await gateway.charge(order)
    assert first.outcome == second.outcome
    assert await captured(provider, order) == 1


async def test_timeout_after_the_charge_is_settled_by_asking(gateway: PaymentProvider, provider: Running) -> None:
    order = an_order("tok_timeout_after_charge")
    retries: list[Retry] = []
    answered = await gateway.charge(order, retries.append)
    assert isinstance(answered.outcome, Captured)
    assert answered.attempts == 1
    assert retries == []  # it was asked about, not sent again
    assert await captured(provider, order) == 1


async def test_timeout_before_the_charge_is_found_out_and_sent_again(
    gateway: PaymentProvider, provider: Running
) -> None:
    order = an_order("tok_timeout_before_charge")
    retries: list[Retry] = []
    answered = await gateway.charge(order, retries.append)
    assert isinstance(answered.outcome, Captured)
    assert answered.attempts == 2
    assert [(retry.attempt, retry.reason) for retry in retries] == [(1, "timeout")]
    assert retries[0].delay_s > 0
    assert answered.gateway_latency_ms >= 300
    assert await captured(provider, order) == 1


async def test_silence_to_the_end_is_unknown_never_failed(gateway: PaymentProvider, provider: Running) -> None:
    order = an_order("tok_timeout_before_charge_99")
    retries: list[Retry] = []
    answered = await gateway.charge(order, retries.append)
    assert answered.outcome == Unknown("timeout")
    assert [retry.attempt for retry in retries] == [1, 2]
    assert await captured(provider, order) == 0


async def test_a_provider_that_says_503_took_nothing_so_the_command_may_come_again(
    gateway: PaymentProvider, provider: Running
) -> None:
    order = an_order("tok_unavailable")
    with pytest.raises(TransientFailure, match="nothing was taken"):
        await gateway.charge(order)
    assert await captured(provider, order) == 0
    assert isinstance((await gateway.charge(an_order("tok_unavailable_2"))).outcome, Captured)


async def test_a_provider_that_is_not_there_took_nothing(provider: Running) -> None:
    async with listening(web.Application(), HOST, 0) as port:
        gone = f"http://{HOST}:{port}"
    async with HttpPaymentProvider(gone, "sk", QUICK) as gateway:
        retries: list[Retry] = []
        for call in (
            gateway.charge(an_order(), retries.append),
            gateway.find("k"),
            gateway.undo("k", booking_id="b", reason="r"),
        ):
            with pytest.raises(TransientFailure, match="connection_failed"):
                await call
        assert [retry.reason for retry in retries] == ["connection_failed"] * 2


@pytest.mark.parametrize(
    ("plan", "heard", "outcome"),
    [
        (("lose",), ["POST", "GET"], Captured),
        (("cut",), ["POST", "GET", "POST"], Captured),
        (("cut", 503, "pass"), ["POST", "GET", "POST"], Captured),
        (("lose", 503, "lose", "pass"), ["POST", "GET", "POST", "GET"], Captured),
        (("lose", 503) * 3, ["POST", "GET"] * 3, Unknown),
        (("cut", 503) * 3, ["POST", "GET"] * 3, Unknown),
        ((502, "pass") * 3, ["POST", "GET"] * 3, Unknown),
        ((503, 503) * 3, ["POST", "GET"] * 3, Unknown),
    ],
)
async def test_a_lost_answer_is_asked_for_before_anything_is_sent_again(
    provider: Running, settings: Settings, plan: tuple[str | int, ...], heard: list[str], outcome: type[object]
) -> None:
    order = an_order()
    between = Between(provider.url, *plan)
    async with (
        listening(between.app(), HOST, 0) as port,
        HttpPaymentProvider(f"http://{HOST}:{port}", settings.provider_api_key.get_secret_value(), QUICK) as gateway,
    ):
        answered = await gateway.charge(order)
    assert isinstance(answered.outcome, outcome)
    assert between.heard == heard
    assert await captured(provider, order) <= 1


async def test_find_says_what_became_of_a_charge(gateway: PaymentProvider) -> None:
    order, refused = an_order(), an_order("tok_declined_fraud")
    assert (await gateway.find(order.idempotency_key)).outcome is None
    taken = (await gateway.charge(order)).outcome
    assert (await gateway.find(order.idempotency_key)).outcome == taken
    await gateway.charge(refused)
    assert isinstance((await gateway.find(refused.idempotency_key)).outcome, Declined)


async def test_undo_after_the_charge_refunds_it_and_may_be_repeated(gateway: PaymentProvider) -> None:
    order = an_order()
    taken = (await gateway.charge(order)).outcome
    assert isinstance(taken, Captured)
    undone = [
        (await gateway.undo(order.idempotency_key, booking_id=order.booking_id, reason="declined")).outcome
        for _ in range(2)
    ]
    assert undone[0] == undone[1]
    assert isinstance(undone[0], Refunded)
    assert (undone[0].transaction_id, undone[0].amount_minor) == (taken.transaction_id, 4200)
    assert (await gateway.find(order.idempotency_key)).outcome == undone[0]


async def test_undo_before_the_charge_makes_the_late_charge_void(gateway: PaymentProvider, provider: Running) -> None:
    order = an_order()
    undone = await gateway.undo(order.idempotency_key, booking_id=order.booking_id, reason="timeout")
    assert undone.outcome == NothingCaptured(void_recorded=True)
    assert (await gateway.charge(order)).outcome == Voided()
    assert (await gateway.find(order.idempotency_key)).outcome == Voided()
    assert await captured(provider, order) == 0


async def test_undo_of_a_declined_charge_has_nothing_to_do(gateway: PaymentProvider) -> None:
    order = an_order("tok_declined_fraud")
    await gateway.charge(order)
    undone = await gateway.undo(order.idempotency_key, booking_id=order.booking_id, reason="declined")
    assert undone.outcome == NothingCaptured(void_recorded=False)


async def test_a_failing_undo_is_retried_and_reported(gateway: PaymentProvider) -> None:
    order = an_order("tok_refund_unavailable_2")
    await gateway.charge(order)
    retries: list[Retry] = []
    undone = await gateway.undo(order.idempotency_key, booking_id=order.booking_id, reason="x", on_retry=retries.append)
    assert isinstance(undone.outcome, Refunded)
    assert [retry.reason for retry in retries] == ["http_503", "http_503"]
    stubborn = an_order("tok_refund_unavailable")
    await gateway.charge(stubborn)
    with pytest.raises(TransientFailure, match="undo: http_503"):
        await gateway.undo(stubborn.idempotency_key, booking_id=stubborn.booking_id, reason="x")


async def test_a_wrong_api_key_is_said_to_be_one(provider: Running) -> None:
    async with HttpPaymentProvider(provider.url, "sk_wrong", QUICK) as gateway:
        with pytest.raises(TransientFailure, match="SAGA_PROVIDER_API_KEY"):
            await gateway.charge(an_order())


async def test_under_random_faults_every_booking_is_charged_once_or_not_at_all(settings: Settings) -> None:
    faults = Faults(seed=11, error_rate=0.2, timeout_after_charge_rate=0.1, timeout_before_charge_rate=0.1)
    policy = GatewayPolicy(timeout_s=0.1, attempts=3, backoff_s=0.001, backoff_max_s=0.002)
    key = settings.provider_api_key.get_secret_value()
    async with (
        provider_running(settings, faults) as provider,
        HttpPaymentProvider(provider.url, key, policy) as gateway,
    ):
        certain = 0
        for _ in range(60):
            order = an_order()
            try:
                outcome = (await gateway.charge(order)).outcome
            except TransientFailure:
                assert await captured(provider, order) == 0
                continue
            if isinstance(outcome, Captured):
                certain += 1
                assert await captured(provider, order) == 1
            else:
                assert isinstance(outcome, Unknown)
        assert certain > 40
