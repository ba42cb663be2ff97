"""Letters to guests, over SMTP to a real mailbox: one per event, whatever dies or is away in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import TypeAlias

import asyncpg
import pytest

from saga.database import Schemas, Statements
from saga.errors import TransientFailure
from saga.settings import Settings
from saga.stacks.ports import free_port
from saga.telemetry.spans import SpanRecord
from schemas.events import BookingConfirmed
from tests.support.jobs import PARENT, Measured, call, cancelled, confirmed, failed
from tests.support.services import mailbox_running
from workers.notification.delivery import Delivery
from workers.notification.handler import NotificationHandler
from workers.notification.ledger import Claim, NotificationLedger
from workers.notification.letters import Letter, message_id_of
from workers.notification.mailbox import MailStore
from workers.notification.mailer import Mailer, Refused, Sent
from workers.notification.postman import Postman

Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"


@dataclass
class Recorded:
    """Keeps spans."""

    spans: list[SpanRecord] = field(default_factory=list)

    def record(self, span: SpanRecord) -> None:
        self.spans.append(span)


@dataclass
class Office:
    """A notification worker's parts, and the port of the mail server it talks to."""

    handler: NotificationHandler
    ledger: NotificationLedger
    delivery: Delivery
    postman: Postman
    recorded: Recorded


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
async def mailbox(database: Pool, settings: Settings, port: int) -> AsyncIterator[MailStore]:
    async with mailbox_running(settings, port=port) as (_, store):
        yield store


OpenOffice = Callable[[str], Office]


@pytest.fixture
async def open_office(
    database: Pool, schemas: Schemas, settings: Settings, port: int, measured: Measured
) -> AsyncIterator[OpenOffice]:
    """Makes the parts of a notification worker that beats under the given name."""
    mailers: list[Mailer] = []

    def opened(writer: str) -> Office:
        mailer = Mailer(
            settings.model_copy(update={"smtp_port": port, "smtp_host": "127.0.0.1"}), attempts=2, backoff_s=0.01
        )
        mailers.append(mailer)
        ledger = NotificationLedger(database, schemas, writer)
        delivery = Delivery(mailer, ledger, measured.meters.notifications, away_s=0.2, first_pause_s=0.05)
        recorded = Recorded()
        postman = Postman(ledger, delivery, recorded, look_s=0.1)
        return Office(NotificationHandler(ledger, delivery), ledger, delivery, postman, recorded)

    yield opened
    for mailer in mailers:
        await mailer.close()


@pytest.fixture
async def office(open_office: OpenOffice, database: Pool, schemas: Schemas) -> Office:
    await beat(database, schemas, "me")
    return open_office("me")


async def beat(pool: Pool, schemas: Schemas, writer: str) -> None:
    aliased = Schemas(schemas.prefix, (("owner", "notification"),))
    await pool.execute(
        Statements.load("saga.messaging", "sql/exporters.sql", aliased)["beat"], writer, "notification", 0
    )


async def outcomes(pool: Pool, schemas: Schemas) -> dict[str, str]:
    rows = await pool.fetch(f"SELECT message_id, outcome FROM {schemas['notification']}.notifications")
    return {row[0]: row[1] for row in rows}


async def everything_stored(pool: Pool, schemas: Schemas) -> str:
    rows = await pool.fetch(f"SELECT n::text FROM {schemas['notification']}.notifications n")
    return "\n".join(row[0] for row in rows)


async def test_every_event_becomes_one_letter(
    office: Office, mailbox: MailStore, database: Pool, schemas: Schemas, measured: Measured
) -> None:
    jobs = [confirmed("a"), failed("b"), cancelled("c")]
    results = [await call(database, office.handler, job) for job in jobs]
    mails = await mailbox.received()
    assert [(mail.booking_id, mail.kind) for mail in mails] == [("a", "confirmed"), ("b", "failed"), ("c", "cancelled")]
    assert [mail.message_id for mail in mails] == [message_id_of(job.id) for job in jobs]
    assert "BK-7F3K9QXZ" in mails[0].body("plain")
    assert "BK-7F3K9QXZ" in mails[0].body("html")
    assert await outcomes(database, schemas) == {job.id: "sent" for job in jobs}
    assert [result.reply for result in results] == [None] * 3
    assert {result.report.name for result in results} == {"booking.send_notification"}
    assert results[0].report.attributes == {
        "notification.channel": "email",
        "notification.outcome": "sent",
        "notification.attempt": 1,
    }
    assert measured.counts("notification.sent", "outcome") == {"sent": 3}


async def test_the_address_is_not_kept(office: Office, mailbox: MailStore, database: Pool, schemas: Schemas) -> None:
    result = await call(database, office.handler, confirmed("a"))
    assert [mail.recipient for mail in await mailbox.received()] == ["ada@example.org"]
    assert "ada" not in (await everything_stored(database, schemas)).lower()
    assert "ada" not in str(result.report).lower()


async def test_an_event_that_comes_again_sends_nothing_again(
    office: Office, open_office: OpenOffice, mailbox: MailStore, database: Pool
) -> None:
    await call(database, office.handler, confirmed("a"))
    again = await call(database, office.handler, confirmed("a"))
    # A worker that died right after the letter went out never got to its inbox: the next one finds it told.
    successor = await call(database, open_office("successor").handler, confirmed("a"))
    assert len(await mailbox.received()) == 1
    assert again.report.attributes["notification.outcome"] == "sent"
    assert successor.report.error is None


async def test_two_workers_given_the_same_event_at_once_send_one_letter(
    office: Office, open_office: OpenOffice, mailbox: MailStore, database: Pool, schemas: Schemas
) -> None:
    await beat(database, schemas, "other")
    other = open_office("other")
    events = [confirmed(f"b{n}") for n in range(10)]
    await asyncio.gather(*(call(database, one.handler, event) for event in events for one in (office, other)))
    assert sorted(mail.booking_id for mail in await mailbox.received()) == [f"b{n}" for n in range(10)]


async def test_a_letter_claimed_by_a_worker_that_died_is_left_to_the_next(
    office: Office, open_office: OpenOffice, mailbox: MailStore, database: Pool
) -> None:
    event = confirmed("a")
    assert await open_office("dead").ledger.claim(Claim(event.id, event.body)) == "claimed"
    await call(database, office.handler, event)
    assert len(await mailbox.received()) == 1


async def test_a_letter_claimed_by_a_living_worker_is_left_to_it(
    office: Office, open_office: OpenOffice, database: Pool, schemas: Schemas
) -> None:
    await beat(database, schemas, "other")
    event = confirmed("a")
    assert await open_office("other").ledger.claim(Claim(event.id, event.body)) == "claimed"
    assert await office.ledger.claim(Claim(event.id, event.body)) == "sending"


async def test_while_the_mail_server_is_away_letters_wait_and_no_booking_does(
    office: Office, database: Pool, schemas: Schemas, settings: Settings, port: int, measured: Measured
) -> None:
    results = await asyncio.wait_for(
        asyncio.gather(*(call(database, office.handler, confirmed(f"b{n}")) for n in range(30))), 5
    )
    assert {result.report.error_type for result in results} == {"smtp_unavailable"}
    assert {result.report.attributes["notification.outcome"] for result in results} == {"deferred"}
    assert set((await outcomes(database, schemas)).values()) == {"due"}
    working = asyncio.create_task(office.postman.run())
    try:
        async with mailbox_running(settings, port=port) as (_, store):
            for _ in range(100):
                if len(await store.received()) == 30:
                    break
                await asyncio.sleep(0.1)
            await asyncio.sleep(0.3)
            mails = await store.received()
    finally:
        working.cancel()
        await asyncio.wait({working})
    assert sorted(mail.booking_id for mail in mails) == sorted(f"b{n}" for n in range(30))
    assert set((await outcomes(database, schemas)).values()) == {"sent"}
    assert "ada" not in (await everything_stored(database, schemas)).lower()
    assert measured.counts("notification.sent", "outcome")["sent"] == 30
    later = [span for span in office.recorded.spans if span.attributes["notification.outcome"] == "sent"]
    assert len(later) == 30
    for span in later:
        assert (span.name, span.parent, span.error) == ("booking.send_notification", PARENT, None)
        assert span.context.trace_id == PARENT.trace_id
        [first] = span.links
        assert first.span_id != span.context.span_id
        assert "ada" not in str(span).lower()


async def test_a_letter_that_is_due_is_sent_by_whoever_is_alive(
    office: Office, open_office: OpenOffice, database: Pool, schemas: Schemas, settings: Settings, port: int
) -> None:
    await call(database, office.handler, confirmed("a"))
    assert await outcomes(database, schemas) == {"a.confirmed": "due"}
    successor = open_office("successor")
    async with mailbox_running(settings, port=port) as (_, store):
        await asyncio.sleep(0.1)
        assert await successor.postman.round() == 1
        assert await successor.postman.round() == 0
        assert len(await store.received()) == 1


async def test_what_is_no_longer_true_is_not_told(
    office: Office, database: Pool, schemas: Schemas, settings: Settings, port: int
) -> None:
    await call(database, office.handler, confirmed("a"))
    async with mailbox_running(settings, port=port) as (_, store):
        await asyncio.sleep(0.25)  # until the server is asked again
        await call(database, office.handler, cancelled("a"))
        await office.postman.round()
        assert [mail.kind for mail in await store.received()] == ["cancelled"]
    assert await outcomes(database, schemas) == {"a.confirmed": "superseded", "a.cancelled": "sent"}
    again = await call(database, office.handler, confirmed("a"))
    assert again.report.attributes["notification.outcome"] == "superseded"
    assert "ada" not in (await everything_stored(database, schemas)).lower()


class Choosy:
    """A mail server that will never take some letters, and some not yet."""

    def __init__(self) -> None:
        self.taken: list[str] = []
        self.not_yet: set[str] = set()

    async def send(self, letter: Letter) -> Sent | Refused:
        if letter.recipient.startswith("nobody@"):
            return Refused(550)
        if letter.recipient in self.not_yet:
            raise TransientFailure("smtp_unavailable", "450")
        self.taken.append(letter.recipient)
        return Sent(letter.message_id, 1)


async def test_a_refused_letter_is_an_error_on_its_span_and_is_not_tried_again(
    database: Pool, schemas: Schemas, measured: Measured
) -> None:
    ledger = NotificationLedger(database, schemas, "me")
    delivery = Delivery(Choosy(), ledger, measured.meters.notifications)
    result = await call(database, NotificationHandler(ledger, delivery), confirmed("a", email="nobody@example.org"))
    assert result.report.error_type == "smtp_refused"
    assert "550" not in str(result.report.error)
    assert await outcomes(database, schemas) == {"a.confirmed": "refused"}
    assert await ledger.next_due_s() is None


async def test_a_letter_that_cannot_be_sent_for_days_is_given_up_and_its_address_forgotten(
    database: Pool, schemas: Schemas, measured: Measured
) -> None:
    server = Choosy()
    server.not_yet.add("ada@example.org")
    ledger = NotificationLedger(database, schemas, "me")
    delivery = Delivery(server, ledger, measured.meters.notifications, away_s=0.0, first_pause_s=0.01)
    postman = Postman(ledger, delivery, Recorded())
    await call(database, NotificationHandler(ledger, delivery), confirmed("a"))
    table = f"{schemas['notification']}.notifications"
    await database.execute(f"UPDATE {table} SET created_at = created_at - interval '4 days'")
    await asyncio.sleep(0.05)
    assert await postman.round() == 0
    assert await outcomes(database, schemas) == {"a.confirmed": "abandoned"}
    assert "ada" not in (await everything_stored(database, schemas)).lower()


async def test_pauses_grow_with_every_attempt(database: Pool, schemas: Schemas, measured: Measured) -> None:
    server = Choosy()
    server.not_yet.add("ada@example.org")
    ledger = NotificationLedger(database, schemas, "me")
    delivery = Delivery(server, ledger, measured.meters.notifications, away_s=0.0, first_pause_s=0.1)
    event = confirmed("a")
    assert isinstance(event.body, BookingConfirmed)
    await call(database, NotificationHandler(ledger, delivery), event)
    pauses = []
    for _ in range(3):
        due_s = await ledger.next_due_s()
        assert due_s is not None
        pauses.append(due_s)
        await database.execute(
            f"UPDATE {schemas['notification']}.notifications SET next_attempt_at = clock_timestamp()"
        )
        await Postman(ledger, delivery, Recorded()).round()
    assert pauses[0] < 0.11
    assert 0.1 < pauses[1] < 0.21
    assert 0.2 < pauses[2] < 0.41
