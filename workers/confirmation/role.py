"""The role ``confirmation``: commits room-nights and issues codes, and gives nights back."""

from __future__ import annotations

from saga.messaging.consumer import run_batch_worker
from saga.runtime import Runtime
from schemas import topics
from workers.confirmation.handler import ConfirmationHandler


async def run(runtime: Runtime) -> None:
    """Handle confirmation commands until told to stop."""
    await run_batch_worker(runtime, owner="inventory", topics=(topics.CONFIRMATION,), make=ConfirmationHandler)
