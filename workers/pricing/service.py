"""The pricing engine's HTTP interface: ``POST /v1/quotes`` and ``GET /healthz``."""

from __future__ import annotations

from aiohttp import web
from pydantic import ValidationError
from pydantic_core import to_json

from workers.pricing.messages import QuoteRequest
from workers.pricing.rates import RateBook
from workers.pricing.tariff import Tariff, price_nights
from workers.serving import FieldError, invalid_request, problem_response

_LOOK_AGAIN_S = 0.05  # how soon an unknown property may ask the database again


class PricingService:
    """Answers quotes from a :class:`RateBook`."""

    def __init__(self, book: RateBook) -> None:
        self._book = book

    def app(self) -> web.Application:
        """A new application; make it after instrumentation is on, which patches the class."""
        app = web.Application(client_max_size=64 * 1024)
        app.router.add_post("/v1/quotes", self._quotes)
        app.router.add_get("/healthz", self._healthz)
        return app

    async def _healthz(self, request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _quotes(self, request: web.Request) -> web.Response:
        try:
            asked = QuoteRequest.model_validate_json(await request.read())
        except ValidationError as error:
            return invalid_request(error)
        tariff = self._book.tariff(asked.property_id)
        if tariff is None or any(offer.room_id not in tariff.rooms for offer in asked.offers):
            await self._book.refresh(unless_within_s=_LOOK_AGAIN_S)
            tariff = self._book.tariff(asked.property_id)
        if tariff is None:
            detail = f"there are no rates for property {asked.property_id}; load them with `saga seed`"
            return problem_response("unknown-property", "Unknown property", 404, detail)
        return self._price(asked, tariff)

    def _price(self, asked: QuoteRequest, tariff: Tariff) -> web.Response:
        unknown = [
            FieldError(pointer=f"/offers/{n}", detail=f"no rate for room {offer.room_id} of type {offer.room_type}")
            for n, offer in enumerate(asked.offers)
            if (rate := tariff.rooms.get(offer.room_id)) is None or rate.room_type != offer.room_type
        ]
        if unknown:
            detail = f"property {asked.property_id}: " + "; ".join(item.detail for item in unknown[:5])
            return problem_response("unknown-room", "Unknown room or room type", 422, detail, errors=unknown)
        source = self._book.exchange_rate(tariff.currency)
        target = self._book.exchange_rate(asked.currency)
        if source is None or target is None:
            missing = tariff.currency if source is None else asked.currency
            detail = f"there is no exchange rate for {missing}; rates are in {tariff.currency}"
            return problem_response("unknown-currency", "Unknown currency", 422, detail)
        weights = tariff.weights(asked.check_in, (asked.check_out - asked.check_in).days)
        quotes = []
        for offer in asked.offers:
            nightly = price_nights(tariff.rooms[offer.room_id].nightly_amount, weights, source, target)
            quotes.append(
                {
                    "room_id": offer.room_id,
                    "room_type": offer.room_type,
                    "total_amount": sum(nightly),
                    "currency": asked.currency,
                    "nightly": nightly,
                }
            )
        # The body of workers.pricing.messages.Quotes, without making its objects only to take them apart again.
        body = {"property_id": asked.property_id, "check_in": asked.check_in, "check_out": asked.check_out}
        return web.Response(body=to_json({**body, "quotes": quotes}), content_type="application/json")
