"""The payment provider's HTTP interface; the house's own stand-in for Stripe, Adyen and the like.

======================================  ==================================================================
``POST /v1/charges``                    ``Idempotency-Key`` required; 201 captured or declined
``GET /v1/charges?idempotency_key=K``   what became of a charge whose answer was lost; one or none
``GET /v1/charges/{id}``                one charge
``POST /v1/refunds``                    give a charge back in full
``POST /v1/voids``                      make sure the charge with a key takes no money, arrived or not
``GET`` and ``PUT /v1/faults``          latency and faults of the whole service
``GET /healthz``                        no key needed
======================================  ==================================================================

All but the last want ``Authorization: Bearer <key>``. Errors are problem bodies (RFC 9457): ``unauthorized``,
``invalid-request``, ``idempotency-key-required``, ``idempotency-key-reused``, ``unknown-token``, ``unknown-charge``,
``not-captured``, ``booking-already-charged``, ``voided``, ``unavailable``.
"""

from __future__ import annotations

import asyncio
import hmac
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from hashlib import blake2b

from aiohttp import web
from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json

from workers.provider.faults import Faults
from workers.provider.ledger import AlreadyCharged, Charged, Entry, KeyReused, Ledger, Order, Undo, charge_id_of
from workers.provider.messages import (
    ChargeRequest,
    IdempotencyKey,
    Refund,
    RefundRequest,
    Void,
    VoidRequest,
)
from workers.provider.tokens import Behaviour, behaviour_of
from workers.serving import invalid_request, json_response, problem_response

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_KEY: TypeAdapter[str] = TypeAdapter(IdempotencyKey)
_REMEMBERED = 20_000
_SILENCE_CHECK_S = 0.05
_SILENCE_CHECKS = 1200
_FAILED = ("error", "The provider failed", 500, "the fault `error_rate` struck; nothing was done")
_UNAVAILABLE = ("unavailable", "The provider is unavailable", 503)


class ProviderService:
    """Decides what a charge does (token, faults), has the ledger write it, and answers."""

    def __init__(self, ledger: Ledger, api_key: str, faults: Faults) -> None:
        self._ledger = ledger
        self._authorization = f"Bearer {api_key}".encode()
        self._faults = faults
        self._attempts: OrderedDict[str, int] = OrderedDict()
        self._undos_refused: OrderedDict[str, int] = OrderedDict()

    def app(self) -> web.Application:
        """A new application; make it after instrumentation is on, which patches the class."""
        app = web.Application(client_max_size=64 * 1024)
        app.router.add_get("/healthz", self._healthz)
        for method, path, handler in (
            ("POST", "/v1/charges", self._create_charge),
            ("GET", "/v1/charges", self._find_charge),
            ("GET", "/v1/charges/{id}", self._get_charge),
            ("POST", "/v1/refunds", self._create_refund),
            ("POST", "/v1/voids", self._create_void),
        ):
            app.router.add_route(method, path, self._guarded(handler, even_when_down=False))
        app.router.add_get("/v1/faults", self._guarded(self._get_faults, even_when_down=True))
        app.router.add_put("/v1/faults", self._guarded(self._put_faults, even_when_down=True))
        return app

    def _guarded(self, handler: Handler, *, even_when_down: bool) -> Handler:
        async def guarded(request: web.Request) -> web.StreamResponse:
            given = request.headers.get("Authorization", "").encode()
            if not hmac.compare_digest(given, self._authorization):
                return problem_response(
                    "unauthorized", "Wrong or missing API key", 401, "send Authorization: Bearer <key>"
                )
            if self._faults.down and not even_when_down:
                return problem_response(*_UNAVAILABLE, "the fault `down` is set")
            try:
                return await handler(request)
            except ValidationError as error:
                return invalid_request(error)

        return guarded

    async def _healthz(self, request: web.Request) -> web.StreamResponse:
        return web.Response(text="ok\n")

    async def _create_charge(self, request: web.Request) -> web.StreamResponse:
        key = request.headers.get("Idempotency-Key", "")
        if not key:
            title = "A charge needs an Idempotency-Key header"
            return problem_response(
                "idempotency-key-required", title, 400, "send one key per charge, the same on every retry"
            )
        _KEY.validate_python(key)
        asked = ChargeRequest.model_validate_json(await request.read())
        behaviour = behaviour_of(asked.source)
        if behaviour is None:
            detail = "this provider never issued that token; see workers/provider/tokens.py for the test tokens"
            return problem_response("unknown-token", "Unknown token", 422, detail)
        attempt = self._attempt(key)
        if attempt <= behaviour.unavailable_attempts:
            return problem_response(*_UNAVAILABLE, "the token asks for it")
        if self._faults.errors(key, attempt):
            return problem_response(*_FAILED)
        if attempt <= behaviour.silent_attempts or self._faults.silent_before(key, attempt):
            return await _silence(request)
        self._remember_undo_faults(key, behaviour)
        result = await self._ledger.charge(self._order(key, asked, behaviour))
        if not isinstance(result, Charged):
            return _conflict(result, asked.metadata.booking_id)
        delay_s = self._faults.delay_s(key, attempt) + behaviour.delay_ms / 1000
        if delay_s:
            await asyncio.sleep(delay_s)
        if (result.fresh and behaviour.silent_after_capture) or self._faults.silent_after(key, attempt):
            return await _silence(request)
        return _charged(result)

    def _remember_undo_faults(self, key: str, behaviour: Behaviour) -> None:
        if behaviour.unavailable_undos:
            self._undos_refused[charge_id_of(key)] = behaviour.unavailable_undos
            if len(self._undos_refused) > _REMEMBERED:
                self._undos_refused.popitem(last=False)

    def _attempt(self, key: str) -> int:
        """Which attempt with this key this is, counted from 1; the oldest keys are forgotten first."""
        attempt = self._attempts.pop(key, 0) + 1
        self._attempts[key] = attempt
        if len(self._attempts) > _REMEMBERED:
            self._attempts.popitem(last=False)
        return attempt

    async def _undo_fault(self, name: str, charge_id: str) -> web.StreamResponse | None:
        """The answer to a refund or void that is not to happen now, or None; holds it for the latency asked for."""
        attempt = self._attempt(name)
        delay_s = self._faults.delay_s(name, attempt)
        if delay_s:
            await asyncio.sleep(delay_s)
        if attempt <= self._undos_refused.get(charge_id, 0):
            return problem_response(*_UNAVAILABLE, "the token asks for it")
        if self._faults.errors(name, attempt):
            return problem_response(*_FAILED)
        return None

    def _order(self, key: str, asked: ChargeRequest, behaviour: Behaviour) -> Order:
        code = behaviour.decline_code or ("do_not_honor" if self._faults.declines(key) else "")
        same = f"{asked.amount}\x1f{asked.currency}\x1f{asked.source}\x1f{asked.metadata.booking_id}"
        return Order(
            key=key,
            status="declined" if code else "captured",
            booking_id=asked.metadata.booking_id,
            fingerprint=blake2b(same.encode(), digest_size=16).hexdigest(),
            amount=asked.amount,
            currency=asked.currency,
            brand=behaviour.brand,
            last_four=behaviour.last_four,
            decline_code=code,
        )

    async def _find_charge(self, request: web.Request) -> web.StreamResponse:
        key = _KEY.validate_python(request.query.get("idempotency_key", ""))
        entry = await self._ledger.by_key(key)
        return _json({"object": "list", "data": [_charge(entry)] if entry else []})

    async def _get_charge(self, request: web.Request) -> web.StreamResponse:
        charge_id = request.match_info["id"]
        entry = await self._ledger.by_charge(charge_id)
        return _json(_charge(entry)) if entry else _unknown_charge(charge_id)

    async def _create_refund(self, request: web.Request) -> web.StreamResponse:
        asked = RefundRequest.model_validate_json(await request.read())
        if fault := await self._undo_fault(f"undo {asked.charge}", asked.charge):
            return fault
        entry = await self._ledger.refund(Undo(asked.charge, asked.reason))
        if entry is None:
            return _unknown_charge(asked.charge)
        refund = _refund(entry)
        if refund is None:
            detail = f"charge {entry.charge_id} is {entry.status}; only a captured charge can be refunded"
            return problem_response("not-captured", "Nothing to refund", 422, detail)
        return json_response(refund)

    async def _create_void(self, request: web.Request) -> web.StreamResponse:
        asked = VoidRequest.model_validate_json(await request.read())
        charge_id = charge_id_of(asked.idempotency_key)
        if fault := await self._undo_fault(f"undo {charge_id}", charge_id):
            return fault
        entry = await self._ledger.void(Undo(asked.idempotency_key, asked.reason, asked.booking_id))
        status = "refunded" if entry.status == "captured" else entry.status
        return json_response(Void(idempotency_key=entry.key, status=status, refund=_refund(entry)))

    async def _get_faults(self, request: web.Request) -> web.StreamResponse:
        return json_response(self._faults)

    async def _put_faults(self, request: web.Request) -> web.StreamResponse:
        self._faults = Faults.model_validate_json(await request.read())
        return json_response(self._faults)


async def _silence(request: web.Request) -> web.StreamResponse:
    """Never answer: hold the request until the client gives up, or for a minute, then cut the connection."""
    for _ in range(_SILENCE_CHECKS):
        if request.transport is None:
            break
        await asyncio.sleep(_SILENCE_CHECK_S)
    if request.transport is not None:
        request.transport.close()
    return web.Response(status=504)


def _conflict(result: KeyReused | AlreadyCharged, booking_id: str) -> web.Response:
    if isinstance(result, KeyReused):
        detail = "the key was used for a different request; a new charge needs a new key"
        return problem_response("idempotency-key-reused", "Idempotency key reused", 422, detail)
    detail = f"booking {booking_id} has a captured charge under another key"
    return problem_response("booking-already-charged", "Booking already charged", 409, detail)


def _charged(result: Charged) -> web.Response:
    if result.entry.status == "voided":
        detail = "the key was voided before its charge arrived; nothing was charged, and nothing will be"
        return problem_response("voided", "Charge voided", 409, detail)
    response = _json(_charge(result.entry), status=201 if result.fresh else 200)
    if not result.fresh:
        response.headers["Idempotent-Replayed"] = "true"
    return response


def _unknown_charge(charge_id: str) -> web.Response:
    return problem_response("unknown-charge", "Unknown charge", 404, f"there is no charge {charge_id[:64]}")


def _charge(entry: Entry) -> dict[str, object]:
    """The body of :class:`workers.provider.messages.Charge`, without making its objects to take them apart again."""
    charge: dict[str, object] = {
        "object": "charge",
        "id": entry.charge_id,
        "status": entry.status,
        "idempotency_key": entry.key,
        "amount": entry.amount,
        "currency": entry.currency,
        "amount_refunded": entry.refunded,
        "created": entry.created,
    }
    if entry.status != "voided":
        charge["card"] = {"brand": entry.brand, "last_four": entry.last_four}
    if entry.decline_code:
        charge["decline_code"] = entry.decline_code
    if entry.refund_id:
        charge["refund"] = entry.refund_id
    if entry.booking_id:
        charge["metadata"] = {"booking_id": entry.booking_id}
    return charge


def _json(body: dict[str, object], status: int = 200) -> web.Response:
    return web.Response(body=to_json(body), status=status, content_type="application/json")


def _refund(entry: Entry) -> Refund | None:
    if entry.refund_id is None:
        return None
    return Refund(id=entry.refund_id, charge=entry.charge_id, amount=entry.refunded, currency=entry.currency)
