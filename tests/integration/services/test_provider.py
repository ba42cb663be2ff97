"""The payment provider over HTTP: charges, refunds, voids, idempotency, faults."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import asyncpg
import pytest
import pytest_asyncio

from saga.settings import Settings
from tests.support.services import Running, provider_running
from workers.provider.ledger import charge_id_of
from workers.provider.messages import Charge

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: Mapping[str, Any]

    @property
    def problem(self) -> str:
        return str(self.body["type"]).removeprefix("urn:booking-saga:problem:")


@dataclass(frozen=True, slots=True)
class Merchant:
    """Somebody with an API key."""

    session: aiohttp.ClientSession
    url: str

    async def ask(self, method: str, path: str, body: object = None, **headers: str) -> Answer:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.session.request(method, self.url + path, json=body, headers=sent) as response:
            return Answer(response.status, await response.json(content_type=None))

    async def charge(self, key: str, *, source: str = "tok_visa", booking: str = "", amount: int = 4200) -> Answer:
        body = {"amount": amount, "currency": "EUR", "source": source, "metadata": {"booking_id": booking or key}}
        return await self.ask("POST", "/v1/charges", body, Idempotency_Key=key)

    async def void(self, key: str) -> Answer:
        return await self.ask("POST", "/v1/voids", {"idempotency_key": key, "booking_id": key, "reason": "undo"})

    async def find(self, key: str) -> list[Mapping[str, Any]]:
        return list((await self.ask("GET", f"/v1/charges?idempotency_key={key}")).body["data"])


@pytest_asyncio.fixture
async def provider(settings: Settings) -> AsyncIterator[Running]:
    async with provider_running(settings) as running:
        yield running


@pytest_asyncio.fixture
async def merchant(provider: Running, settings: Settings) -> AsyncIterator[Merchant]:
    headers = {"Authorization": f"Bearer {settings.provider_api_key.get_secret_value()}"}
    async with aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(total=10)) as session:
        yield Merchant(session, provider.url)


@pytest.fixture
def key() -> str:
    return f"bk-provider-{next(_numbers)}.payment.1"


async def count(provider: Running, table: str, key: str) -> int:
    schema = provider.schemas["provider"]
    return int(
        await provider.pool.fetchval(f"SELECT count(*) FROM {schema}.{table} WHERE charge_id = $1", charge_id_of(key))
    )


async def test_a_good_card_is_charged_and_the_charge_can_be_found(merchant: Merchant, key: str) -> None:
    answer = await merchant.charge(key, source="tok_mastercard")
    assert answer.status == 201
    assert answer.body["status"] == "captured"
    assert answer.body["amount"] == 4200
    assert answer.body["card"] == {"brand": "mastercard", "last_four": "4444"}
    assert answer.body["metadata"] == {"booking_id": key}
    assert await merchant.find(key) == [answer.body]
    assert Charge.model_validate(answer.body).model_dump(exclude_none=True) == answer.body
    assert (await merchant.ask("GET", f"/v1/charges/{answer.body['id']}")).body == answer.body
    assert await merchant.find("never-" + key) == []


async def test_a_decline_is_an_answer_with_its_code_and_takes_nothing(merchant: Merchant, key: str) -> None:
    answer = await merchant.charge(key, source="tok_declined_insufficient_funds")
    assert (answer.status, answer.body["status"]) == (201, "declined")
    assert answer.body["decline_code"] == "insufficient_funds"
    assert (await merchant.charge(key, source="tok_declined_insufficient_funds")).body == answer.body


async def test_the_same_key_charges_once_and_repeats_its_answer(
    merchant: Merchant, provider: Running, key: str
) -> None:
    first, second = await merchant.charge(key), await merchant.charge(key)
    assert (first.status, second.status) == (201, 200)
    assert first.body == second.body
    assert await count(provider, "charges", key) == 1


async def test_requests_with_one_key_at_the_same_time_make_one_charge(
    merchant: Merchant, provider: Running, key: str
) -> None:
    answers = await asyncio.gather(*(merchant.charge(key) for _ in range(20)))
    assert sorted(answer.status for answer in answers) == [200] * 19 + [201]
    assert len({answer.body["id"] for answer in answers}) == 1
    assert await count(provider, "charges", key) == 1


async def test_a_key_used_for_another_request_is_refused(merchant: Merchant, key: str) -> None:
    await merchant.charge(key)
    for answer in (await merchant.charge(key, amount=1), await merchant.charge(key, source="tok_amex")):
        assert (answer.status, answer.problem) == (422, "idempotency-key-reused")
    both = await asyncio.gather(merchant.charge(key + "x", amount=1), merchant.charge(key + "x", amount=2))
    assert sorted(answer.status for answer in both) == [201, 422]


async def test_a_booking_is_captured_at_most_once_whatever_the_key(
    merchant: Merchant, provider: Running, key: str
) -> None:
    answers = await asyncio.gather(*(merchant.charge(f"{key}-{n}", booking=key) for n in range(5)))
    assert sorted(answer.status for answer in answers) == [201, 409, 409, 409, 409]
    assert {answer.problem for answer in answers if answer.status == 409} == {"booking-already-charged"}
    schema = provider.schemas["provider"]
    with pytest.raises(asyncpg.UniqueViolationError):  # the database itself forbids it
        await provider.pool.execute(
            f"INSERT INTO {schema}.charges SELECT 'k2-' || idempotency_key, 'ch_2' || charge_id, status, booking_id, "
            f"fingerprint, amount, currency, card_brand, card_last_four, decline_code "
            f"FROM {schema}.charges WHERE booking_id = $1",
            key,
        )


async def test_a_declined_booking_may_be_charged_with_another_key(merchant: Merchant, key: str) -> None:
    await merchant.charge(key, source="tok_declined_fraud")
    assert (await merchant.charge(key + "-again", booking=key)).status == 201


async def test_a_refund_gives_everything_back_once(merchant: Merchant, provider: Running, key: str) -> None:
    charge = (await merchant.charge(key)).body["id"]
    refunds = await asyncio.gather(*(merchant.ask("POST", "/v1/refunds", {"charge": charge}) for _ in range(5)))
    assert {answer.status for answer in refunds} == {200}
    assert len({answer.body["id"] for answer in refunds}) == 1
    assert refunds[0].body["amount"] == 4200
    assert await count(provider, "refunds", key) == 1
    (found,) = await merchant.find(key)
    assert (found["status"], found["amount_refunded"], found["refund"]) == ("captured", 4200, refunds[0].body["id"])


async def test_what_was_not_captured_cannot_be_refunded(merchant: Merchant, key: str) -> None:
    declined = (await merchant.charge(key, source="tok_declined_fraud")).body["id"]
    answer = await merchant.ask("POST", "/v1/refunds", {"charge": declined})
    assert (answer.status, answer.problem) == (422, "not-captured")
    answer = await merchant.ask("POST", "/v1/refunds", {"charge": charge_id_of("never-" + key)})
    assert (answer.status, answer.problem) == (404, "unknown-charge")


async def test_voiding_a_captured_charge_refunds_it_in_full(merchant: Merchant, provider: Running, key: str) -> None:
    await merchant.charge(key)
    voids = [await merchant.void(key) for _ in range(3)]
    assert {answer.body["status"] for answer in voids} == {"refunded"}
    assert {answer.body["refund"]["amount"] for answer in voids} == {4200}
    assert await count(provider, "refunds", key) == 1


async def test_a_void_before_its_charge_makes_the_late_charge_impossible(
    merchant: Merchant, provider: Running, key: str
) -> None:
    assert (await merchant.void(key)).body == {"object": "void", "idempotency_key": key, "status": "voided"}
    late = await merchant.charge(key)
    assert (late.status, late.problem) == (409, "voided")
    assert (await merchant.void(key)).body["status"] == "voided"
    assert await count(provider, "refunds", key) == 0
    (found,) = await merchant.find(key)
    assert (found["status"], found["amount"]) == ("voided", 0)


async def test_a_declined_charge_needs_no_undo(merchant: Merchant, key: str) -> None:
    await merchant.charge(key, source="tok_declined_expired_card")
    assert (await merchant.void(key)).body["status"] == "declined"


async def test_charge_and_void_at_the_same_time_never_leave_money_taken(merchant: Merchant, provider: Running) -> None:
    keys = [f"race-{next(_numbers)}" for _ in range(30)]
    answers = await asyncio.gather(*(call(key) for key in keys for call in (merchant.charge, merchant.void)))
    assert {answer.status for answer in answers} <= {200, 201, 409}
    schema = provider.schemas["provider"]
    kept = await provider.pool.fetchval(
        f"SELECT count(*) FROM {schema}.charges c LEFT JOIN {schema}.refunds r USING (charge_id) "
        "WHERE c.booking_id = ANY($1) AND c.status = 'captured' AND r.refund_id IS NULL",
        keys,
    )
    assert kept == 0


async def test_strangers_are_turned_away(merchant: Merchant, key: str) -> None:
    for header in ("Bearer wrong", "", "Basic x"):
        answer = await merchant.ask("GET", f"/v1/charges?idempotency_key={key}", Authorization=header)
        assert (answer.status, answer.problem) == (401, "unauthorized")
    async with merchant.session.get(merchant.url + "/healthz", headers={"Authorization": ""}) as response:
        assert response.status == 200


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ({"source": "tok_unheard_of"}, "unknown-token"),
        ({"source": "4242424242424242"}, "invalid-request"),
        ({"amount": 0}, "invalid-request"),
        ({"currency": "euro"}, "invalid-request"),
        ({"metadata": {}}, "invalid-request"),
    ],
)
async def test_a_charge_that_makes_no_sense_is_refused_without_repeating_its_values(
    merchant: Merchant, key: str, body: dict[str, object], problem: str
) -> None:
    good = {"amount": 1, "currency": "EUR", "source": "tok_visa", "metadata": {"booking_id": key}}
    answer = await merchant.ask("POST", "/v1/charges", good | body, Idempotency_Key=key)
    assert (answer.status, answer.problem) == (422, problem)
    assert "4242" not in str(answer.body)
    assert await merchant.find(key) == []


async def test_a_charge_needs_an_idempotency_key(merchant: Merchant) -> None:
    assert (await merchant.ask("POST", "/v1/charges", {})).problem == "idempotency-key-required"


async def test_slow_cards_are_slow(merchant: Merchant, key: str) -> None:
    started = asyncio.get_running_loop().time()
    assert (await merchant.charge(key, source="tok_slow_200")).status == 201
    assert asyncio.get_running_loop().time() - started >= 0.2


async def test_timeout_after_charge_takes_the_money_silently_and_answers_when_asked_again(
    merchant: Merchant, key: str
) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await merchant.charge(key, source="tok_timeout_after_charge")
    (found,) = await merchant.find(key)
    assert found["status"] == "captured"
    assert (await merchant.charge(key, source="tok_timeout_after_charge")).body == found


async def test_timeout_before_charge_takes_nothing_for_as_many_attempts_as_asked(merchant: Merchant, key: str) -> None:
    for _ in range(2):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await merchant.charge(key, source="tok_timeout_before_charge_2")
        assert await merchant.find(key) == []
    assert (await merchant.charge(key, source="tok_timeout_before_charge_2")).status == 201


async def test_unavailable_tokens_get_503_and_nothing_is_taken(merchant: Merchant, key: str) -> None:
    assert [(await merchant.charge(key, source="tok_unavailable_2")).status for _ in range(3)] == [503, 503, 201]
    assert (await merchant.charge(key + "x", source="tok_unavailable")).problem == "unavailable"
    assert await merchant.find(key + "x") == []


async def test_refunds_can_be_made_to_fail_per_booking(merchant: Merchant, provider: Running, key: str) -> None:
    await merchant.charge(key, source="tok_refund_unavailable_2")
    assert [(await merchant.void(key)).status for _ in range(3)] == [503, 503, 200]
    assert await count(provider, "refunds", key) == 1


async def test_faults_of_the_whole_service_are_set_and_lifted_at_run_time(merchant: Merchant, key: str) -> None:
    set_to = await merchant.ask("PUT", "/v1/faults", {"down": True, "seed": 3})
    assert (set_to.status, set_to.body["down"]) == (200, True)
    assert (await merchant.charge(key)).status == 503
    assert (await merchant.ask("GET", "/v1/faults")).body["seed"] == 3
    await merchant.ask("PUT", "/v1/faults", {"error_rate": 1})
    assert [(await merchant.charge(key)).status, (await merchant.void(key)).status] == [500, 500]
    await merchant.ask("PUT", "/v1/faults", {"decline_rate": 1})
    assert (await merchant.charge(key)).body["decline_code"] == "do_not_honor"
    assert (await merchant.ask("PUT", "/v1/faults", {"decline_rate": 2})).problem == "invalid-request"
    await merchant.ask("PUT", "/v1/faults", {})
    assert (await merchant.charge(key + "x")).body["status"] == "captured"


async def test_concurrent_charges_share_commits(merchant: Merchant, provider: Running) -> None:
    counter = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"

    async def commits() -> int:
        await provider.pool.execute("SELECT pg_stat_force_next_flush()")
        return int(await provider.pool.fetchval(counter))

    before = await commits()
    answers = await asyncio.gather(*(merchant.charge(f"group-{next(_numbers)}") for _ in range(200)))
    assert {answer.status for answer in answers} == {201}
    assert await commits() - before < 120


async def test_charges_outlive_the_provider(merchant: Merchant, settings: Settings, key: str) -> None:
    charged = (await merchant.charge(key)).body
    async with provider_running(settings) as another:
        assert await Merchant(merchant.session, another.url).find(key) == [charged]
        assert (await Merchant(merchant.session, another.url).charge(key)).body == charged
