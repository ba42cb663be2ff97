"""The role ``mailbox``: an SMTP server for development that keeps what it gets, so that one can read the guests' mail.

It is for the demo and the tests (``compose.yaml`` uses Mailpit): it accepts everything and delivers nothing.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import TYPE_CHECKING

from aiosmtpd.smtp import SMTP, Envelope, Session

from saga.coalescer import Coalescer
from saga.database import Schemas, Statements, connect_pool
from saga.errors import UsageError
from saga.runtime import Runtime
from workers.notification.letters import BOOKING_HEADER, KIND_HEADER

if TYPE_CHECKING:
    import asyncpg

    Pool = asyncpg.Pool[asyncpg.Record]

_HEADER = re.compile(
    rf"^(Message-ID|{BOOKING_HEADER}|{KIND_HEADER}):[ \t]*(.*?)\r?$".encode(), re.MULTILINE | re.IGNORECASE
)
_MAX_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class ReceivedMail:
    """One delivery. ``kind`` is ``confirmed``, ``failed`` or ``cancelled`` for letters of this project."""

    message_id: str
    booking_id: str
    kind: str
    recipient: str
    content: bytes

    @property
    def message(self) -> EmailMessage:
        """The parsed message."""
        return message_from_bytes(self.content, policy=policy.default)

    def body(self, subtype: str = "plain") -> str:
        """The text (``plain``) or ``html`` part, decoded; empty when there is none."""
        part = self.message.get_body((subtype,))
        return str(part.get_content()) if part is not None else ""


class MailStore:
    """The mailbox's table; deliveries that arrive together are written together."""

    def __init__(self, pool: Pool, schemas: Schemas) -> None:
        self._pool = pool
        self._sql = Statements.load("workers.notification", "sql/mailbox.sql", schemas)
        self.keep: Coalescer[ReceivedMail, None] = Coalescer(self._keep)

    async def received(self, booking_id: str | None = None) -> list[ReceivedMail]:
        """What was delivered for a booking, or for all of them, oldest first."""
        return [ReceivedMail(*row) for row in await self._pool.fetch(self._sql["received"], booking_id)]

    async def _keep(self, mails: Sequence[ReceivedMail]) -> Sequence[None]:
        await self._pool.execute(
            self._sql["keep"],
            [mail.message_id for mail in mails],
            [mail.booking_id for mail in mails],
            [mail.kind for mail in mails],
            [mail.recipient for mail in mails],
            [mail.content for mail in mails],
        )
        return [None] * len(mails)


class _Handler:
    """What aiosmtpd calls; the method's name is the library's."""

    def __init__(self, store: MailStore) -> None:
        self._store = store

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802  # aiosmtpd
        content = envelope.content
        assert isinstance(content, bytes)  # decode_data is off
        headers = {name.lower(): value for name, value in _HEADER.findall(content.partition(b"\r\n\r\n")[0])}

        def header(name: str) -> str:
            value: bytes = headers.get(name.lower().encode(), b"")
            return value.decode("utf-8", "replace")

        await self._store.keep(
            ReceivedMail(
                header("Message-ID"), header(BOOKING_HEADER), header(KIND_HEADER), ",".join(envelope.rcpt_tos), content
            )
        )
        return "250 OK: kept"

    async def handle_exception(self, error: Exception) -> str:
        """A database that is away is no reason to refuse a mail for good."""
        logging.getLogger(__name__).warning("a mail could not be kept: %s", type(error).__name__)
        return "451 Not kept; try again later"


@asynccontextmanager
async def receiving(store: MailStore, host: str, port: int) -> AsyncIterator[int]:
    """Accept mail while the context is open; gives the port (port 0 takes a free one).

    Raises :class:`UsageError` when the address cannot be bound.
    """
    logging.getLogger("mail.log").setLevel(logging.WARNING)  # aiosmtpd logs every address it hears
    loop = asyncio.get_running_loop()
    handler = _Handler(store)
    sessions: set[SMTP] = set()

    def session() -> SMTP:
        protocol = SMTP(
            handler, hostname="mailbox.invalid", data_size_limit=_MAX_BYTES, enable_SMTPUTF8=True, loop=loop
        )
        sessions.add(protocol)
        return protocol

    try:
        server = await loop.create_server(session, host, port)
    except OSError as error:
        raise UsageError(
            f"cannot listen on {host}:{port} ({error.strerror or error}); stop what holds the port or take another"
        ) from error
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        for protocol in sessions:
            if protocol.transport is not None:
                protocol.transport.close()
        await server.wait_closed()
        await store.keep.settle()


async def run(runtime: Runtime) -> None:
    """Keep every e-mail sent to ``SAGA_SMTP_PORT`` until told to stop."""
    settings = runtime.settings
    async with await connect_pool(settings, role="mailbox", max_size=2) as pool:
        store = MailStore(pool, Schemas(settings.schema_prefix))
        async with receiving(store, settings.listen_host, settings.smtp_port):
            runtime.ready()
            await runtime.stopping.wait()
