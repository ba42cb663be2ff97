"""The role ``provider``: the simulated payment provider as a process."""

from __future__ import annotations

from saga.database import Schemas, connect_pool
from saga.runtime import Runtime
from workers.provider.faults import faults_from_environment
from workers.provider.ledger import Ledger
from workers.provider.service import ProviderService
from workers.serving import serve


async def run(runtime: Runtime) -> None:
    """Serve the provider's interface on the port of ``SAGA_PROVIDER_URL`` until told to stop.

    Faults come from ``SAGA_PROVIDER_FAULT_*``. Raises :class:`saga.errors.DatabaseUnreachable` when the ledger cannot
    be opened.
    """
    settings = runtime.settings
    async with await connect_pool(settings, role="provider") as pool:
        ledger = Ledger(pool, Schemas(settings.schema_prefix))
        service = ProviderService(ledger, settings.provider_api_key.get_secret_value(), faults_from_environment())
        try:
            await serve(runtime, service.app(), settings.provider_url)
        finally:
            await ledger.settle()
