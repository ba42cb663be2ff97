"""A worker's inbox: which messages it has handled, and what it answered. Written in the transaction of the effect."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg
from pydantic_core import from_json

from saga.database import Connection, Schemas, Statements
from saga.database.rows import as_rows
from saga.engine.envelope import Envelope, Outgoing, SagaHeaders, outgoing
from saga.messaging.job import Expectation, Write
from saga.messaging.wire import body_to_json
from saga.telemetry.codec import spans_to_json
from saga.telemetry.spans import SpanContext, SpanRecord, parse_traceparent
from schemas.base import Message, message_class
from schemas.topics import REPLIES


class Unexpected(Exception):
    """A batch did not go as expected and was rolled back: carry it out the long way. Never leaves this package."""


_FIRST = re.compile(r"\$1\b")


@dataclass(frozen=True, slots=True)
class Answered:
    """A handled message and its reply, with all that is needed to send the reply again under the same ids."""

    message_id: str
    saga_id: str
    epoch: int
    step: str
    attempt: int
    reply: Message | None
    context: SpanContext | None
    baggage: str
    replied_us: int
    spans: str = "[]"
    """The spans kept with a message that had been handled before, as JSON."""

    def outgoing(self, source: str) -> Outgoing | None:
        """The reply as a message; None where there is none."""
        if self.reply is None:
            return None
        headers = SagaHeaders(self.epoch, self.step, self.attempt, self.message_id)
        # This id format is the dedup key of the reply: never change it.
        envelope = Envelope(
            f"{self.message_id}.reply", self.saga_id, self.reply, self.replied_us, source, None, self.baggage, headers
        )
        return outgoing(REPLIES, envelope, self.context)


class Inbox:
    """The inbox of one worker in its owner's schema."""

    def __init__(self, worker: str, owner: str, schema_prefix: str) -> None:
        self._worker = worker
        self._kept: dict[tuple[str, ...], str] = {}
        self._expecting: dict[str, str] = {}
        self.sql = Statements.load("saga.messaging", "sql/inbox.sql", Schemas(schema_prefix, (("owner", owner),)))

    async def keep_as_expected(
        self,
        connection: Connection,
        answers: Sequence[tuple[Answered, type[Message], Sequence[SpanRecord]]],
        *,
        writer: str,
        batch: int,
        expectation: Expectation,
    ) -> dict[str, dict[str, Any] | None]:
        """Bring about what is expected and remember ``answers`` in one statement; returns what completes each reply.

        Raises :class:`Unexpected`, and then nothing has happened: not all went as expected, or some were known before.
        """
        sql = self._expecting.get(expectation.ctes)
        if sql is None:
            ctes = _FIRST.sub("$6", expectation.ctes)
            sql = self._expecting[expectation.ctes] = f"WITH {ctes}, {self.sql['keep_as_expected']}"
        try:
            rows = await connection.fetch(
                sql,
                self._worker,
                writer,
                batch,
                as_rows(_row(*answer) for answer in answers),
                len(answers),
                expectation.rows,
            )
        except asyncpg.DivisionByZeroError as error:
            raise Unexpected from error
        return {row["message_id"]: None if row["patch"] is None else from_json(row["patch"]) for row in rows}

    def _keep_with(self, statements: tuple[str, ...]) -> str:
        if (sql := self._kept.get(statements)) is None:
            sql = self._kept[statements] = _with(statements, self.sql["keep"], 5)
        return sql

    async def known(self, connection: Connection, message_ids: Collection[str]) -> dict[str, Answered]:
        """What was answered to those of ``message_ids`` that have been handled."""
        rows = await connection.fetch(self.sql["known"], self._worker, list(message_ids))
        return {row["message_id"]: _answered(row) for row in rows}

    async def keep(
        self,
        connection: Connection,
        answers: Sequence[tuple[Answered, type[Message], Sequence[SpanRecord]]],
        *,
        writer: str,
        batch: int,
        writes: Sequence[Write] = (),
    ) -> set[str]:
        """Remember ``answers`` (with the handled message's type and spans); returns the ids not remembered before.

        ``writes`` happen in the same statement, and so with the same commit and in the same round trip.
        """
        rows = await connection.fetch(
            self._keep_with(tuple(write.sql for write in writes)),
            self._worker,
            writer,
            batch,
            as_rows(_row(*answer) for answer in answers),
            *(write.rows for write in writes),
        )
        return {row["message_id"] for row in rows}


def _with(statements: Sequence[str], main: str, first_parameter: int) -> str:
    """One statement that does all: each of ``statements`` finds its ``$1`` at the next parameter of the whole."""
    parts = [
        f"written_{n} AS ({_FIRST.sub(f'${n}', statement)})" for n, statement in enumerate(statements, first_parameter)
    ]
    return f"WITH {', '.join(parts)} {main}" if parts else main


def _row(answer: Answered, handled: type[Message], spans: Sequence[SpanRecord]) -> dict[str, object]:
    reply = answer.reply
    return {
        "message_id": answer.message_id,
        "saga_id": answer.saga_id,
        "message_type": handled.type_name(),
        "epoch": answer.epoch,
        "step": answer.step,
        "attempt": answer.attempt,
        "reply_type": None if reply is None else type(reply).type_name(),
        "reply": None if reply is None else body_to_json(reply).decode(),
        "context": None if answer.context is None else answer.context.traceparent,
        "baggage": answer.baggage,
        "replied_us": answer.replied_us,
        "spans": spans_to_json(spans),
    }


def _answered(row: asyncpg.Record) -> Answered:
    reply: Message | None = None
    if row["reply_type"] is not None:
        cls = message_class(row["reply_type"])
        assert cls is not None, f"the inbox holds a reply of the unknown type {row['reply_type']}"
        reply = cls.model_validate_json(row["reply"])
    return Answered(
        row["message_id"],
        row["saga_id"],
        row["epoch"],
        row["step"],
        row["attempt"],
        reply,
        parse_traceparent(row["context"]) if row["context"] else None,
        row["baggage"],
        row["replied_us"],
        row["spans"],
    )
