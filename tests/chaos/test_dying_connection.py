"""A database connection in its last moment: the server has said goodbye and has not hung up yet."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable

import asyncpg
import pytest

from saga.database import Connection, connect_pool
from saga.messaging.batchworker import LOST_CONNECTION
from saga.settings import Settings

_HELLO = (
    (b"R", struct.pack("!i", 0)),  # authenticated
    (b"S", b"server_version\x0018.0\x00"),
    (b"S", b"client_encoding\x00UTF8\x00"),
    (b"K", struct.pack("!ii", 1, 1)),
    (b"Z", b"I"),  # ready for a query
)
_GOODBYE = b"SFATAL\x00VFATAL\x00C57P01\x00Mterminating connection due to administrator command\x00\x00"


@pytest.fixture
async def goodbye() -> AsyncIterator[Settings]:
    """Leads to a server that greets like PostgreSQL and at once is told to shut down, but never closes a connection."""
    over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        (length,) = struct.unpack("!i", await reader.readexactly(4))
        await reader.readexactly(length - 4)
        for kind, body in (*_HELLO, (b"E", _GOODBYE)):
            writer.write(kind + struct.pack("!i", len(body) + 4) + body)
        await writer.drain()
        await over.wait()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        yield Settings(database_url=f"postgresql://somebody@127.0.0.1:{port}/any?sslmode=disable")
        over.set()


@pytest.mark.parametrize(
    "use",
    [
        lambda connection: connection.execute("SELECT 1"),
        lambda connection: connection.execute("SELECT $1::int", 1),
        lambda connection: connection.fetch("SELECT $1::int", 1),
        lambda connection: connection.fetchval("SELECT 1"),
        lambda connection: connection.transaction().start(),
    ],
    ids=["execute", "execute with arguments", "fetch", "fetchval", "begin"],
)
async def test_whatever_is_asked_of_a_connection_that_is_about_to_end_the_connection_is_lost(
    goodbye: Settings, use: Callable[[Connection], Awaitable[object]]
) -> None:
    pool = await connect_pool(goodbye, role="tests", max_size=1)
    try:
        async with pool.acquire() as connection:
            await asyncio.sleep(0)
            with pytest.raises(LOST_CONNECTION) as lost:
                await asyncio.wait_for(use(connection), 5)
            assert isinstance(lost.value, asyncpg.InterfaceError)
    finally:
        pool.terminate()
