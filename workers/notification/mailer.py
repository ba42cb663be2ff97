"""Sends letters over SMTP: a few kept-alive connections, retries with jitter, and a clear end to trying."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import aiosmtplib
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

from saga.errors import TransientFailure
from saga.settings import Settings
from workers.notification.letters import SENDER_ADDRESS, Letter
from workers.retrying import retried


@dataclass(frozen=True, slots=True)
class Sent:
    """The server has taken the letter. ``attempts`` counts the one that succeeded."""

    message_id: str
    attempts: int


@dataclass(frozen=True, slots=True)
class Refused:
    """The server will never take this letter: ``code`` is its SMTP reply code, such as 550."""

    code: int


class _TryAgainError(Exception):
    """The server could not be reached, or said 4xx."""


class Mailer:
    """A small pool of connections to one SMTP server; share it between tasks, and close it (``async with``).

    When a connection breaks after the letter was handed over but before the server said so, the letter is sent again:
    its Message-ID is the same, so the copy is recognisable.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        connections: int = 4,
        timeout_s: float = 10.0,
        attempts: int = 5,
        backoff_s: float = 0.2,
    ) -> None:
        username = settings.smtp_username or None
        self._idle: asyncio.LifoQueue[aiosmtplib.SMTP] = asyncio.LifoQueue()
        self._clients = [
            aiosmtplib.SMTP(
                hostname=settings.smtp_host,
                port=settings.smtp_port,
                username=username,
                password=settings.smtp_password.get_secret_value() if username else None,
                timeout=timeout_s,
                use_tls=False,
                start_tls=settings.smtp_starttls,
                local_hostname=SENDER_ADDRESS.partition("@")[2],
            )
            for _ in range(connections)
        ]
        for client in self._clients:
            self._idle.put_nowait(client)
        self._retrying = AsyncRetrying(
            retry=retry_if_exception_type(_TryAgainError),
            stop=stop_after_attempt(attempts),
            wait=wait_exponential_jitter(multiplier=backoff_s, max=5.0, jitter=backoff_s),
            reraise=True,
        )

    async def send(self, letter: Letter) -> Sent | Refused:
        """Hand ``letter`` to the server.

        Raises :class:`TransientFailure` when the server still cannot take it after all attempts.
        """
        tries = 0

        async def attempt() -> Sent | Refused:
            nonlocal tries
            tries += 1
            return await self._attempt(letter, tries)

        try:
            return await retried(self._retrying, attempt)
        except _TryAgainError as error:
            raise TransientFailure("smtp_unavailable", f"after {tries} attempts: {error}") from error

    async def _attempt(self, letter: Letter, tries: int) -> Sent | Refused:
        client = await self._idle.get()
        try:
            if not client.is_connected:
                await client.connect()
            options = () if letter.recipient.isascii() else ("SMTPUTF8",)
            await client.sendmail(SENDER_ADDRESS, [letter.recipient], letter.content, mail_options=options)
        except aiosmtplib.SMTPRecipientsRefused as error:
            return _refused_or_raise(max(reply.code for reply in error.recipients))
        except aiosmtplib.SMTPResponseException as error:
            return _refused_or_raise(error.code)
        except (aiosmtplib.SMTPNotSupported, ValueError):
            return Refused(553)  # "mailbox name not allowed": this server cannot be given this address at all
        except (aiosmtplib.SMTPException, OSError, TimeoutError) as error:
            client.close()
            raise _TryAgainError(type(error).__name__) from error
        finally:
            self._idle.put_nowait(client)
        return Sent(letter.message_id, tries)

    async def close(self) -> None:
        """Say goodbye on every open connection."""
        for client in self._clients:
            if client.is_connected:
                try:
                    await client.quit()
                except (aiosmtplib.SMTPException, OSError):
                    client.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def _refused_or_raise(code: int) -> Refused:
    if code >= 500:
        return Refused(code)
    raise _TryAgainError(f"SMTP {code}")
