"""The role ``payment``: takes money through the payment provider, and gives it back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from saga.database import Schemas
from saga.messaging.consumer import run_call_worker
from saga.runtime import Runtime
from schemas import topics
from workers.payment.handler import PaymentHandler
from workers.payment.http_provider import HttpPaymentProvider
from workers.payment.ledger import PaymentLedger

if TYPE_CHECKING:
    import asyncpg


async def run(runtime: Runtime) -> None:
    """Handle payment commands until told to stop."""
    settings, meters = runtime.settings, runtime.telemetry.meters
    # A real provider is one class away: see workers.payment.gateway.
    async with HttpPaymentProvider(
        settings.provider_url, settings.provider_api_key.get_secret_value(), max_connections=settings.window
    ) as provider:

        async def make(pool: asyncpg.Pool[asyncpg.Record], schemas: Schemas) -> PaymentHandler:
            ledger = PaymentLedger(schemas)
            return PaymentHandler(provider, ledger, durations=meters.gateway_duration, declines=meters.declines)

        await run_call_worker(
            runtime,
            owner="payment",
            topics=(topics.PAYMENT,),
            make=make,
            handles=PaymentHandler.handles,
            repeatable=True,  # the provider knows the idempotency key
        )
