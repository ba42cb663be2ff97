"""Letters through a real SMTP conversation into the development mailbox."""

from __future__ import annotations

import asyncio
import socket

import pytest
from aiosmtpd.smtp import SMTP, Envelope, Session

from saga.errors import TransientFailure, UsageError
from saga.settings import Settings
from tests.support.services import HOST, mailbox_running
from tests.unit.test_letters import CONFIRMED
from workers.notification.letters import Letter, LetterWriter
from workers.notification.mailbox import receiving
from workers.notification.mailer import Mailer, Refused, Sent

WRITER = LetterWriter()


def at(settings: Settings, port: int) -> Settings:
    return settings.model_copy(update={"smtp_host": HOST, "smtp_port": port})


def a_letter(event: str, booking: str, email: str = "ada@example.com") -> Letter:
    return WRITER.write(event, CONFIRMED.model_copy(update={"booking_id": booking, "email": email}))


async def test_a_letter_arrives_as_it_was_written_and_can_be_found_by_booking(settings: Settings) -> None:
    async with mailbox_running(settings) as (port, store), Mailer(at(settings, port)) as mailer:
        letter = a_letter("evt-1", "mail-1")
        assert await mailer.send(letter) == Sent(letter.message_id, 1)
        (mail,) = await store.received("mail-1")
        assert (mail.message_id, mail.kind, mail.recipient) == (letter.message_id, "confirmed", "ada@example.com")
        assert mail.content == letter.content
        assert "ABC123" in mail.body()
        assert "<strong>ABC123</strong>" in mail.body("html")
        assert await store.received("mail-none") == []


async def test_many_letters_share_a_few_connections_and_all_arrive(settings: Settings) -> None:
    async with mailbox_running(settings) as (port, store), Mailer(at(settings, port), connections=3) as mailer:
        letters = [a_letter(f"evt-many-{n}", f"mail-many-{n}") for n in range(60)]
        sent = await asyncio.gather(*(mailer.send(letter) for letter in letters))
        assert sent == [Sent(letter.message_id, 1) for letter in letters]
        arrived = {mail.message_id for mail in await store.received() if mail.booking_id.startswith("mail-many-")}
        assert arrived == {letter.message_id for letter in letters}


async def test_a_letter_sent_twice_shows_as_two_deliveries_with_one_message_id(settings: Settings) -> None:
    async with mailbox_running(settings) as (port, store), Mailer(at(settings, port)) as mailer:
        for _ in range(2):
            await mailer.send(a_letter("evt-twice", "mail-twice"))
        received = await store.received("mail-twice")
        assert len(received) == 2
        assert len({mail.message_id for mail in received}) == 1


async def test_addresses_beyond_ascii_are_written_to(settings: Settings) -> None:
    async with mailbox_running(settings) as (port, store), Mailer(at(settings, port)) as mailer:
        assert isinstance(await mailer.send(a_letter("evt-utf8", "mail-utf8", "zoë@exämple.com")), Sent)
        (mail,) = await store.received("mail-utf8")
        assert mail.recipient == "zoë@exämple.com"


async def test_a_mailbox_that_was_restarted_gets_the_next_letter(settings: Settings) -> None:
    async with mailbox_running(settings) as (port, store):
        mailer = Mailer(at(settings, port), backoff_s=0.01)
        await mailer.send(a_letter("evt-before", "mail-restart"))
    async with mailbox_running(settings, port=port) as (_, store):
        sent = await mailer.send(a_letter("evt-after", "mail-restart"))
        assert isinstance(sent, Sent)
        assert len(await store.received("mail-restart")) == 2
        await mailer.close()


async def test_a_server_that_is_away_is_tried_again_and_then_reported(settings: Settings) -> None:
    with socket.create_server((HOST, 0)) as unused:
        port = unused.getsockname()[1]
    async with Mailer(at(settings, port), attempts=2, backoff_s=0.01) as mailer:
        with pytest.raises(TransientFailure, match="after 2 attempts"):
            await mailer.send(a_letter("evt-away", "mail-away"))


class Moody:
    """A server that answers RCPT and DATA as told."""

    def __init__(self, rcpt: list[str], data: list[str]) -> None:
        self._rcpt, self._data = rcpt, data
        self.taken = 0

    async def handle_RCPT(  # noqa: N802  # aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        answer = self._rcpt.pop(0) if self._rcpt else "250 OK"
        if answer.startswith("250"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802  # as above
        answer = self._data.pop(0) if self._data else "250 OK"
        self.taken += answer.startswith("250")
        return answer


@pytest.mark.parametrize(
    ("rcpt", "data", "expected", "attempts"),
    [
        (["451 later"], [], Sent, 2),
        ([], ["452 full", "421 busy"], Sent, 3),
        (["550 no such user"], [], Refused, 1),
        ([], ["554 spam"], Refused, 1),
    ],
)
async def test_4xx_is_tried_again_and_5xx_is_final(
    settings: Settings, rcpt: list[str], data: list[str], expected: type[object], attempts: int
) -> None:
    moody = Moody(rcpt, data)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(moody, hostname="moody.invalid", loop=loop), HOST, 0)
    async with server, Mailer(at(settings, server.sockets[0].getsockname()[1]), backoff_s=0.01) as mailer:
        outcome = await mailer.send(a_letter("evt-moody", "mail-moody"))
        assert isinstance(outcome, expected)
        assert moody.taken == isinstance(outcome, Sent)
        if isinstance(outcome, Sent):
            assert outcome.attempts == attempts
        else:
            assert isinstance(outcome, Refused)
            assert outcome.code >= 550
        assert isinstance(await mailer.send(a_letter("evt-next", "mail-moody")), Sent)


async def test_a_database_that_is_away_makes_the_mailbox_say_later_not_never(settings: Settings) -> None:
    async with mailbox_running(settings) as (port, store):
        await store._pool.close()
        async with Mailer(at(settings, port), attempts=2, backoff_s=0.01) as mailer:
            with pytest.raises(TransientFailure, match="SMTP 451"):
                await mailer.send(a_letter("evt-db", "mail-db"))


async def test_a_taken_port_is_said_plainly(settings: Settings) -> None:
    async with mailbox_running(settings) as (port, store):
        with pytest.raises(UsageError, match=f"{HOST}:{port}"):
            async with receiving(store, HOST, port):
                pytest.fail("two servers on one port")
