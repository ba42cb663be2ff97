"""Payment against the real provider over HTTP: charged once, given back whole, unknown only when nobody can know."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, TypeAlias

import asyncpg
import pytest

from saga.database import Schemas
from saga.messaging.job import AttemptFailed, Job
from saga.settings import Settings
from schemas.commands import ProcessPayment, RefundPayment
from schemas.replies import PaymentDeclined, PaymentProcessed, PaymentRefunded, PaymentUnknown
from tests.support.jobs import Measured, call, job, write
from tests.support.services import Running, provider_running
from workers.payment.handler import PaymentHandler
from workers.payment.http_provider import GatewayPolicy, HttpPaymentProvider
from workers.payment.ledger import PaymentLedger

Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"

PATIENCE = GatewayPolicy(timeout_s=0.4, attempts=3, backoff_s=0.01, backoff_max_s=0.02)


@pytest.fixture
async def provider(database: Pool, settings: Settings) -> AsyncIterator[Running]:
    async with provider_running(settings) as running:
        yield running


@pytest.fixture
async def handler(
    database: Pool, schemas: Schemas, settings: Settings, provider: Running, measured: Measured
) -> AsyncIterator[PaymentHandler]:
    async with HttpPaymentProvider(provider.url, settings.provider_api_key.get_secret_value(), PATIENCE) as gateway:
        yield PaymentHandler(
            gateway,
            PaymentLedger(schemas),
            durations=measured.meters.gateway_duration,
            declines=measured.meters.declines,
        )


def charge(booking: str = "a", token: str = "tok_visa_1881", **changes: Any) -> Job[Any]:
    fields: dict[str, Any] = {
        "booking_id": booking,
        "reservation_id": f"rsv-{booking}",
        "amount_minor": 42_000,
        "currency": "EUR",
        "payment_token": token,
        "card_last_four": "1881",
    }
    return job(ProcessPayment(**{**fields, **changes}), f"{booking}.process_payment.1", step="process_payment")


def refund(booking: str = "a") -> Job[Any]:
    undoes = f"{booking}.process_payment.1"
    body = RefundPayment(
        booking_id=booking, reservation_id=f"rsv-{booking}", amount_minor=42_000, currency="EUR", undoes=undoes
    )
    return job(body, f"{undoes}.undo", step="process_payment")


async def recorded(pool: Pool, schemas: Schemas) -> dict[str, tuple[str, int]]:
    """State and refunded amount of every payment in our own ledger, by booking."""
    rows = await pool.fetch(f"SELECT booking_id, state, refunded_minor FROM {schemas['payment']}.payments")
    return {row[0]: (row[1], row[2]) for row in rows}


async def captured(provider: Running) -> dict[str, int]:
    """What the provider's own ledger keeps of every booking: captured less refunded, in minor units."""
    table = provider.schemas["provider"]
    rows = await provider.pool.fetch(
        f"SELECT c.booking_id, c.amount - coalesce(r.amount, 0) FROM {table}.charges c "
        f"LEFT JOIN {table}.refunds r USING (charge_id) WHERE c.status = 'captured'"
    )
    return {row[0]: row[1] for row in rows}


async def test_a_charge_is_captured_once_however_often_it_is_asked_for(
    handler: PaymentHandler, provider: Running, database: Pool, schemas: Schemas, measured: Measured
) -> None:
    first = await call(database, handler, charge())
    again = await call(database, handler, charge())
    assert isinstance(first.reply, PaymentProcessed)
    assert again.reply == first.reply
    assert (first.reply.amount_minor, first.reply.currency, first.reply.card_last_four) == (42_000, "EUR", "1881")
    assert await captured(provider) == {"a": 42_000}
    assert await recorded(database, schemas) == {"a": ("captured", 0)}
    told = dict(first.report.attributes)
    assert float(str(told.pop("payment.gateway_latency_ms"))) > 0
    assert told == {
        "booking.reservation_id": "rsv-a",
        "payment.method": "card",
        "payment.currency": "EUR",
        "payment.card_last_four": "1881",
        "payment.transaction_id": first.reply.transaction_id,
        "payment.status": "captured",
        "payment.attempt": 1,
    }
    assert (first.report.name, first.report.kind) == ("booking.process_payment", "client")
    assert (first.report.error, first.report.events) == (None, ())
    assert measured.counts("payment.gateway.duration", "payment.status") == {"captured": 2}


async def test_a_decline_is_an_event_on_a_span_that_went_well(
    handler: PaymentHandler, provider: Running, database: Pool, schemas: Schemas, measured: Measured
) -> None:
    result = await call(database, handler, charge(token="tok_declined_insufficient_funds"))
    assert result.reply == PaymentDeclined(booking_id="a", reason="insufficient_funds")
    assert (result.report.error, result.report.error_type) == (None, None)
    assert result.report.attributes["payment.status"] == "declined"
    [event] = result.report.events
    assert (event.name, event.attributes) == ("payment_declined", {"payment.decline_reason": "insufficient_funds"})
    assert await captured(provider) == {}
    assert await recorded(database, schemas) == {"a": ("declined", 0)}
    assert measured.counts("payment.declines", "reason") == {"insufficient_funds": 1}


async def test_an_order_the_provider_rejects_is_refused_and_marked_as_an_error(
    handler: PaymentHandler, database: Pool, schemas: Schemas
) -> None:
    result = await call(database, handler, charge(token="tok_never_issued"))
    assert result.reply == PaymentDeclined(booking_id="a", reason="unknown_token")
    assert result.report.error_type == "payment_rejected"
    assert await recorded(database, schemas) == {"a": ("rejected", 0)}


async def test_a_charge_whose_answer_is_lost_is_found_by_its_key(
    handler: PaymentHandler, provider: Running, database: Pool
) -> None:
    result = await call(database, handler, charge(token="tok_timeout_after_charge"))
    assert isinstance(result.reply, PaymentProcessed)
    assert await captured(provider) == {"a": 42_000}


async def test_every_retry_is_an_event_with_its_reason(handler: PaymentHandler, database: Pool) -> None:
    result = await call(database, handler, charge(token="tok_unavailable_2"))
    assert isinstance(result.reply, PaymentProcessed)
    assert result.report.attributes["payment.attempt"] == 3
    assert [event.name for event in result.report.events] == ["payment_retry", "payment_retry"]
    assert [event.attributes["payment.attempt"] for event in result.report.events] == [1, 2]
    assert {event.attributes["payment.retry_reason"] for event in result.report.events} == {"http_503"}


async def test_an_outcome_that_nobody_knows_is_unknown_and_its_undo_settles_it(
    handler: PaymentHandler, provider: Running, database: Pool, schemas: Schemas
) -> None:
    unknown = await call(database, handler, charge(token="tok_timeout_before_charge_9"))
    assert isinstance(unknown.reply, PaymentUnknown | PaymentDeclined)
    assert unknown.reply == PaymentUnknown(booking_id="a", reason="timeout")
    assert unknown.report.error_type == "payment_unknown"
    assert unknown.report.attributes["payment.status"] == "unknown"
    assert await recorded(database, schemas) == {"a": ("unknown", 0)}
    undone = await call(database, handler, refund())
    assert undone.reply == PaymentRefunded(booking_id="a", refunded_minor=0, currency="EUR")
    assert undone.report.attributes["payment.status"] == "voided"
    assert await recorded(database, schemas) == {"a": ("voided", 0)}
    assert await captured(provider) == {}


async def test_an_unknown_outcome_is_settled_when_the_charge_is_asked_for_again(
    handler: PaymentHandler, provider: Running, database: Pool, schemas: Schemas
) -> None:
    token = "tok_timeout_before_charge_3"
    unknown = await call(database, handler, charge(token=token))
    assert isinstance(unknown.reply, PaymentUnknown)
    settled = await call(database, handler, charge(token=token))
    assert isinstance(settled.reply, PaymentProcessed)
    assert await captured(provider) == {"a": 42_000}
    assert await recorded(database, schemas) == {"a": ("captured", 0)}


async def test_while_the_provider_is_away_the_attempt_fails_with_a_span_and_nothing_is_stored(
    handler: PaymentHandler, database: Pool, schemas: Schemas
) -> None:
    with pytest.raises(AttemptFailed) as caught:
        await handler.call(charge(token="tok_unavailable"))
    report = caught.value.report
    assert (report.name, report.kind, report.error_type) == (
        "booking.process_payment",
        "client",
        "provider_unavailable",
    )
    assert len(report.events) == 2
    assert report.attributes["payment.attempt"] == 3
    assert await recorded(database, schemas) == {}


async def test_a_refund_gives_the_whole_charge_back_once(
    handler: PaymentHandler, provider: Running, database: Pool, schemas: Schemas
) -> None:
    charged = await call(database, handler, charge())
    assert isinstance(charged.reply, PaymentProcessed)
    first = await call(database, handler, refund())
    again = await call(database, handler, refund())
    assert isinstance(first.reply, PaymentRefunded)
    assert first.reply.refunded_minor == 42_000
    assert again.reply == first.reply
    assert (first.report.name, first.report.kind) == ("booking.refund_payment", "client")
    assert first.report.attributes["payment.status"] == "refunded"
    assert first.report.attributes["payment.transaction_id"] == charged.reply.transaction_id
    assert await captured(provider) == {"a": 0}
    assert await recorded(database, schemas) == {"a": ("refunded", 42_000)}


async def test_an_undo_before_its_charge_is_recorded_and_the_late_charge_refused_here_and_at_the_provider(
    handler: PaymentHandler, provider: Running, database: Pool, schemas: Schemas, settings: Settings, measured: Measured
) -> None:
    undone = await call(database, handler, refund())
    assert undone.reply == PaymentRefunded(booking_id="a", refunded_minor=0, currency="EUR")
    assert await recorded(database, schemas) == {"a": ("voided", 0)}
    late = await call(database, handler, charge())
    assert late.reply == PaymentDeclined(booking_id="a", reason="undone")
    assert (late.report.error, late.report.events) == (None, ())
    # And if our own record were lost, the provider refuses all the same.
    await database.execute(f"TRUNCATE {schemas['payment']}.payments")
    later = await call(database, handler, charge())
    assert later.reply == PaymentDeclined(booking_id="a", reason="undone")
    assert later.report.attributes["payment.status"] == "voided"
    assert await captured(provider) == {}
    assert await recorded(database, schemas) == {}
    assert measured.counts("payment.declines", "reason") == {}


async def test_undoing_a_declined_charge_leaves_it_declined(
    handler: PaymentHandler, database: Pool, schemas: Schemas
) -> None:
    await call(database, handler, charge(token="tok_declined_fraud"))
    undone = await call(database, handler, refund())
    assert undone.reply == PaymentRefunded(booking_id="a", refunded_minor=0, currency="EUR")
    assert await recorded(database, schemas) == {"a": ("declined", 0)}


async def test_a_refund_that_fails_is_an_attempt_with_a_span_and_may_be_repeated(
    handler: PaymentHandler, provider: Running, database: Pool, schemas: Schemas
) -> None:
    await call(database, handler, charge(token="tok_refund_unavailable_3"))
    with pytest.raises(AttemptFailed) as caught:
        await handler.call(refund())
    assert caught.value.report.name == "booking.refund_payment"
    assert caught.value.report.error_type == "provider_unavailable"
    assert await recorded(database, schemas) == {"a": ("captured", 0)}
    repeated = await call(database, handler, refund())
    assert isinstance(repeated.reply, PaymentRefunded)
    assert await captured(provider) == {"a": 0}


async def test_charges_and_undos_of_one_group_are_stored_together(
    handler: PaymentHandler, database: Pool, schemas: Schemas
) -> None:
    jobs = [charge("a"), charge("b", "tok_declined_fraud"), refund("c")]
    results = [await handler.call(one) for one in jobs]
    async with database.acquire() as connection, connection.transaction():
        await write(connection, handler.writes(list(zip(jobs, results, strict=True))))
    assert await recorded(database, schemas) == {"a": ("captured", 0), "b": ("declined", 0), "c": ("voided", 0)}
