"""The role ``collector``: a small OTLP/gRPC receiver that keeps recent traces and the latest metrics in PostgreSQL.

It serves laptops, tests and benchmarks, where no OpenTelemetry Collector runs. Bodies stay bytes: see
:mod:`saga.traces.scan` and :mod:`saga.traces.store`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
from opentelemetry.instrumentation.utils import suppress_instrumentation

from saga.database import Schemas, connect_pool
from saga.errors import InvalidSettings, TransientFailure
from saga.traces.scan import MalformedRequest
from saga.traces.store import TraceStore

if TYPE_CHECKING:
    from saga.runtime import Runtime

_PACKAGE = "opentelemetry.proto.collector"
_LARGEST = 16 * 2**20  # bytes of one request
_OPTIONS = (
    ("grpc.max_receive_message_length", _LARGEST),
    ("grpc.so_reuseport", 0),  # a second receiver on the same port must fail, not share its traffic
)
_AT_ONCE = 64  # requests in progress; more are refused and come again
_STORED = b""  # every response of OTLP is empty when all went well


async def run(runtime: Runtime) -> None:
    """Receive on the address of ``SAGA_OTLP_ENDPOINT`` until told to stop; returns when all of it is stored.

    Raises :class:`InvalidSettings` when the address cannot be bound, :class:`~saga.errors.DatabaseUnreachable`.
    """
    settings = runtime.settings
    address = settings.otlp_endpoint.removeprefix("http://")
    if not address:
        raise InvalidSettings("the collector has no address: set SAGA_OTLP_ENDPOINT to host:port")
    with suppress_instrumentation():  # storing spans must not make spans
        async with await connect_pool(settings, role="collector", max_size=3) as pool:
            store = TraceStore(pool, Schemas(settings.schema_prefix))
            server = await start_server(store, address)
            storing = asyncio.create_task(store.run())
            stopping = asyncio.create_task(runtime.stopping.wait())
            try:
                runtime.ready()
                await asyncio.wait({stopping, storing}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                stopping.cancel()
                await server.stop(grace=2)
                storing.cancel()
                with suppress(asyncio.CancelledError):
                    await storing


async def start_server(store: TraceStore, address: str) -> grpc.aio.Server:
    """A server that puts what it receives at ``host:port`` into ``store``. Raises :class:`InvalidSettings`."""
    server = grpc.aio.server(options=_OPTIONS, maximum_concurrent_rpcs=_AT_ONCE)
    server.add_generic_rpc_handlers(
        (
            _service("trace.v1.TraceService", store.put_traces),
            _service("metrics.v1.MetricsService", store.put_metrics),
            _service("logs.v1.LogsService", _ignore),
        )
    )
    try:
        server.add_insecure_port(address)
    except RuntimeError as error:
        raise InvalidSettings(
            f"the collector cannot listen on {address}: another process does, or the address is not of this machine; "
            "change SAGA_OTLP_ENDPOINT"
        ) from error
    await server.start()
    return server


def _service(name: str, put: Callable[[bytes], Awaitable[None]]) -> Any:
    async def export(body: bytes, context: grpc.aio.ServicerContext) -> bytes:
        try:
            await put(body)
        except MalformedRequest as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except TransientFailure as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
        return _STORED

    handler = grpc.unary_unary_rpc_method_handler(export)  # neither (de)serialiser: bytes in, bytes out
    return grpc.method_handlers_generic_handler(f"{_PACKAGE}.{name}", {"Export": handler})


async def _ignore(_: bytes) -> None:
    """Logs are accepted, so that no sender complains, and not kept."""
