"""The payment provider over HTTP: idempotency keys, timeouts, jittered retries, and asking when an answer is lost."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Literal, Self, TypeVar

import aiohttp
from pydantic import BaseModel, Field, ValidationError
from pydantic_core import to_json
from pydantic_settings import BaseSettings, SettingsConfigDict
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

from saga.errors import TransientFailure
from workers.payment.gateway import (
    Answered,
    Captured,
    ChargeOrder,
    ChargeOutcome,
    Declined,
    Found,
    NothingCaptured,
    OnRetry,
    Refunded,
    Rejected,
    Retry,
    UndoOutcome,
    Unknown,
    Voided,
    ignore_retry,
)
from workers.retrying import retried
from workers.serving import Problem

T = TypeVar("T")

_OK = frozenset({200, 201})


class GatewayPolicy(BaseSettings):
    """How patient the gateway is; every field is ``SAGA_GATEWAY_<FIELD>`` in the environment.

    ``timeout_s`` is per request, ``attempts`` counts the first one, pauses grow from ``backoff_s`` to ``backoff_max_s``
    with jitter.
    """

    model_config = SettingsConfigDict(env_prefix="SAGA_GATEWAY_", frozen=True, extra="ignore")

    timeout_s: float = Field(2.0, gt=0, le=60)
    attempts: int = Field(3, ge=1, le=20)
    backoff_s: float = Field(0.1, ge=0, le=10)
    backoff_max_s: float = Field(1.0, ge=0, le=60)


class _Card(BaseModel):
    brand: str = ""
    last_four: str = ""


class _Charge(BaseModel):
    id: str
    status: Literal["captured", "declined", "voided"]
    amount: int
    currency: str
    card: _Card = _Card()
    decline_code: str = ""
    refund: str = ""


class _ChargeList(BaseModel):
    data: list[_Charge]


class _Refund(BaseModel):
    id: str
    charge: str
    amount: int
    currency: str


class _Void(BaseModel):
    status: Literal["refunded", "voided", "declined"]
    refund: _Refund | None = None


class _UnsettledError(Exception):
    """An attempt that settled nothing. ``sent``: the provider may have acted on it."""

    def __init__(self, reason: str, *, sent: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.sent = sent


class _RefusedError(Exception):
    """The provider answered with a problem that repeating would not solve."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class _Meter:
    """What one call of the gateway has cost so far, and whether a charge of it may still be under way."""

    def __init__(self) -> None:
        self.attempts = 0
        self.waited_s = 0.0
        self.in_flight = False

    def answered(self, outcome: T) -> Answered[T]:
        return Answered(outcome, max(self.attempts, 1), round(self.waited_s * 1000, 3))


class HttpPaymentProvider:
    """A kept-alive client of the provider at ``url``; share it between tasks, and close it (``async with``)."""

    def __init__(
        self, url: str, api_key: str, policy: GatewayPolicy | None = None, *, max_connections: int = 64
    ) -> None:
        policy = policy or GatewayPolicy()
        base = url.rstrip("/")
        self._charges, self._voids = f"{base}/v1/charges", f"{base}/v1/voids"
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=max_connections, keepalive_timeout=60),
            timeout=aiohttp.ClientTimeout(total=policy.timeout_s),
            headers={"Authorization": f"Bearer {api_key}", "Content-Type": "application/json"},
        )
        self._retrying = AsyncRetrying(
            retry=retry_if_exception_type(_UnsettledError),
            stop=stop_after_attempt(policy.attempts),
            wait=wait_exponential_jitter(
                multiplier=policy.backoff_s, max=policy.backoff_max_s, jitter=policy.backoff_s
            ),
            reraise=True,
        )

    async def charge(self, order: ChargeOrder, on_retry: OnRetry = ignore_retry) -> Answered[ChargeOutcome]:
        """See :meth:`workers.payment.gateway.PaymentProvider.charge`."""
        meter = _Meter()
        body = to_json(
            {
                "amount": order.amount_minor,
                "currency": order.currency,
                "source": order.token,
                "metadata": {"booking_id": order.booking_id},
            }
        )
        headers = {"Idempotency-Key": order.idempotency_key}

        async def attempt() -> ChargeOutcome:
            try:
                answer = await self._request(meter, "POST", self._charges, body=body, headers=headers)
            except _UnsettledError as lost:
                if not lost.sent:
                    raise
                # Never sent again blindly: what did become of it? Only if the provider has no charge under this key is
                # the order repeated, and the key still makes a copy that was merely slow harmless.
                try:
                    found = await self._find(meter, order.idempotency_key)
                except _UnsettledError:
                    meter.in_flight = True
                    raise
                if found is None:
                    raise
                return found if not isinstance(found, Refunded) else Voided()
            return _charge_outcome(_Charge.model_validate_json(answer))

        try:
            return meter.answered(await self._retry(meter, on_retry, attempt))
        except _RefusedError as refused:
            return meter.answered(_refusal(refused))
        except _UnsettledError as error:
            if meter.in_flight:
                return meter.answered(Unknown(error.reason))
            raise TransientFailure("provider_unavailable", f"charge: {error.reason}; nothing was taken") from error

    async def find(self, idempotency_key: str, on_retry: OnRetry = ignore_retry) -> Answered[Found | None]:
        """See :meth:`workers.payment.gateway.PaymentProvider.find`."""
        meter = _Meter()
        try:
            found = await self._retry(meter, on_retry, lambda: self._find(meter, idempotency_key))
        except (_UnsettledError, _RefusedError) as error:
            raise TransientFailure("provider_unavailable", f"find: {error}") from error
        return meter.answered(found)

    async def undo(
        self, idempotency_key: str, *, booking_id: str, reason: str, on_retry: OnRetry = ignore_retry
    ) -> Answered[UndoOutcome]:
        """See :meth:`workers.payment.gateway.PaymentProvider.undo`."""
        meter = _Meter()
        body = to_json({"idempotency_key": idempotency_key, "booking_id": booking_id, "reason": reason[:200]})
        try:
            # Idempotent at the provider, so a lost answer is simply asked for again.
            answer = await self._retry(
                meter, on_retry, lambda: self._request(meter, "POST", self._voids, body=body, headers={})
            )
        except (_UnsettledError, _RefusedError) as error:
            raise TransientFailure("provider_unavailable", f"undo: {error}") from error
        return meter.answered(_undo_outcome(_Void.model_validate_json(answer)))

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _retry(self, meter: _Meter, on_retry: OnRetry, attempt: Callable[[], Awaitable[T]]) -> T:
        def report(state: RetryCallState) -> None:
            error = state.outcome.exception() if state.outcome else None
            delay_s = state.next_action.sleep if state.next_action else 0.0
            on_retry(Retry(state.attempt_number, str(error), round(delay_s, 4), time.time_ns()))

        async def counted() -> T:
            meter.attempts += 1
            return await attempt()

        return await retried(self._retrying, counted, before_sleep=report)

    async def _find(self, meter: _Meter, key: str) -> Found | None:
        answer = await self._request(meter, "GET", self._charges, params={"idempotency_key": key})
        charges = _ChargeList.model_validate_json(answer).data
        if not charges:
            return None
        charge = charges[0]
        if charge.refund:
            return Refunded(charge.refund, charge.id, charge.amount, charge.currency)
        return _charge_outcome(charge)

    async def _request(
        self,
        meter: _Meter,
        method: str,
        url: str,
        *,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        params: dict[str, str] | None = None,
    ) -> bytes:
        """The body of a good answer. Raises :class:`_UnsettledError` and :class:`_RefusedError`."""
        started = time.perf_counter()
        try:
            async with self._session.request(method, url, data=body, headers=headers, params=params) as response:
                answer = await response.read()
        except aiohttp.ClientConnectorError as error:
            raise _UnsettledError("connection_failed", sent=False) from error
        except TimeoutError as error:
            meter.in_flight |= method == "POST"
            raise _UnsettledError("timeout", sent=True) from error
        except (aiohttp.ClientError, OSError) as error:
            meter.in_flight |= method == "POST"
            raise _UnsettledError("connection_lost", sent=True) from error
        finally:
            meter.waited_s += time.perf_counter() - started
        if response.status in _OK:
            return answer
        if response.status >= 500 or response.status == 429:
            # A proxy's 502 and 504 say nothing about the provider behind it.
            meter.in_flight |= method == "POST" and response.status in (502, 504)
            raise _UnsettledError(f"http_{response.status}", sent=response.status >= 500)
        if response.status == 401:
            raise TransientFailure("provider_unauthorized", "the provider refuses the key; check SAGA_PROVIDER_API_KEY")
        raise _refused(response.status, answer)


def _refused(status: int, answer: bytes) -> _RefusedError:
    try:
        problem = Problem.model_validate_json(answer)
    except ValidationError:
        return _RefusedError(f"http_{status}", "no problem body")
    return _RefusedError(problem.name.replace("-", "_"), problem.detail)


def _refusal(refused: _RefusedError) -> Voided | Rejected:
    return Voided() if refused.reason == "voided" else Rejected(refused.reason, refused.detail)


def _charge_outcome(charge: _Charge) -> Captured | Declined | Voided:
    if charge.status == "voided":
        return Voided()
    if charge.status == "declined":
        return Declined(charge.decline_code or "declined", charge.id, charge.card.last_four)
    return Captured(charge.id, charge.amount, charge.currency, charge.card.brand, charge.card.last_four)


def _undo_outcome(void: _Void) -> UndoOutcome:
    if void.refund is not None:
        return Refunded(void.refund.id, void.refund.charge, void.refund.amount, void.refund.currency)
    return NothingCaptured(void_recorded=void.status == "voided")
