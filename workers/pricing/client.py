"""How a worker asks the pricing engine: one HTTP call prices every offer of a booking."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Self

import aiohttp
from pydantic import ValidationError
from tenacity import AsyncRetrying, RetryError, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

from saga.errors import TransientFailure
from workers.pricing.messages import QuoteRequest, Quotes
from workers.retrying import retried
from workers.serving import Problem

_JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True, slots=True)
class QuotesRefused:
    """The engine understood the question and has no price: asking again would not help.

    ``reason`` is ``unknown-property``, ``unknown-room``, ``unknown-currency`` or ``invalid-request``.
    """

    reason: str
    detail: str


class _EngineDownError(Exception):
    """The engine did not answer, or answered that it cannot; the question may be asked again."""


class PricingClient:
    """A kept-alive client of one pricing engine; share it between tasks, and close it (``async with``).

    A quote changes nothing, so it is asked again freely: ``attempts`` times in all on connection errors, timeouts and
    5xx answers, with exponential jittered pauses starting at ``backoff_s``.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float = 2.0,
        attempts: int = 4,
        backoff_s: float = 0.05,
        max_connections: int = 64,
    ) -> None:
        self._quotes_url = url.rstrip("/") + "/v1/quotes"
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=max_connections, keepalive_timeout=60),
            timeout=aiohttp.ClientTimeout(total=timeout_s),
        )
        self._retrying = AsyncRetrying(
            retry=retry_if_exception_type(_EngineDownError),
            stop=stop_after_attempt(attempts),
            wait=wait_exponential_jitter(multiplier=backoff_s, max=1.0, jitter=backoff_s),
        )

    async def quotes(self, request: QuoteRequest) -> Quotes | QuotesRefused:
        """Price every offer of ``request``.

        Raises :class:`TransientFailure` when the engine does not answer after all attempts.
        """
        body = request.__pydantic_serializer__.to_json(request)
        try:
            return await retried(self._retrying, lambda: self._ask(body))
        except RetryError as error:
            cause = error.last_attempt.exception()
            raise TransientFailure(
                "pricing_unavailable", f"the pricing engine at {self._quotes_url}: {cause}"
            ) from cause

    async def _ask(self, body: bytes) -> Quotes | QuotesRefused:
        try:
            async with self._session.post(self._quotes_url, data=body, headers=_JSON) as response:
                answer = await response.read()
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise _EngineDownError(f"{type(error).__name__}: {error}") from error
        if response.status == 200:
            try:
                return Quotes.model_validate_json(answer)
            except ValidationError as error:
                raise _EngineDownError(f"HTTP 200 with {error.error_count()} errors in its body") from error
        if response.status >= 500 or response.status == 429:
            raise _EngineDownError(f"HTTP {response.status}")
        try:
            problem = Problem.model_validate_json(answer)
        except ValidationError:
            return QuotesRefused("invalid-request", f"HTTP {response.status} without a problem body")
        return QuotesRefused(problem.name, problem.detail)

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
