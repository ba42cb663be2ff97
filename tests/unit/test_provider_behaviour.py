"""Test tokens and seeded faults of the payment provider."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from workers.provider.faults import Faults, faults_from_environment
from workers.provider.tokens import Behaviour, behaviour_of


@pytest.mark.parametrize(
    ("token", "behaviour"),
    [
        ("tok_visa", Behaviour(brand="visa", last_four="4242")),
        ("tok_mastercard", Behaviour(brand="mastercard", last_four="4444")),
        ("tok_amex_1881", Behaviour(brand="amex", last_four="1881")),
        ("tok_declined_insufficient_funds", Behaviour(last_four="0002", decline_code="insufficient_funds")),
        ("tok_declined_fraud", Behaviour(last_four="0002", decline_code="fraud")),
        ("tok_slow_250", Behaviour(delay_ms=250)),
        ("tok_timeout_after_charge", Behaviour(silent_after_capture=True)),
        ("tok_timeout_before_charge", Behaviour(silent_attempts=1)),
        ("tok_timeout_before_charge_3", Behaviour(silent_attempts=3)),
        ("tok_unavailable_2", Behaviour(unavailable_attempts=2)),
        ("tok_refund_unavailable_2", Behaviour(unavailable_undos=2)),
    ],
)
def test_a_token_says_what_its_charge_does(token: str, behaviour: Behaviour) -> None:
    assert behaviour_of(token) == behaviour


@pytest.mark.parametrize("token", ["tok_", "tok_unheard_of", "tok_visa_12345", "tok_declined_", "4242424242424242", ""])
def test_a_token_nobody_issued_is_unknown(token: str) -> None:
    assert behaviour_of(token) is None


def test_without_a_number_unavailable_means_always() -> None:
    behaviour = behaviour_of("tok_unavailable")
    assert behaviour is not None
    assert behaviour.unavailable_attempts > 1000


def test_faults_depend_on_seed_key_and_attempt_alone() -> None:
    faults = Faults(seed=7, error_rate=0.5, decline_rate=0.5)
    keys = [f"key-{n}" for n in range(200)]
    assert [faults.errors(key, 1) for key in keys] == [faults.errors(key, 1) for key in keys]
    assert [faults.errors(key, 1) for key in keys] != [faults.errors(key, 2) for key in keys]
    assert [faults.errors(key, 1) for key in keys] != [Faults(seed=8, error_rate=0.5).errors(key, 1) for key in keys]
    assert [faults.errors(key, 0) for key in keys] != [faults.declines(key) for key in keys]


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 1.0])
def test_faults_strike_as_often_as_asked(rate: float) -> None:
    faults = Faults(timeout_after_charge_rate=rate)
    struck = sum(faults.silent_after(f"key-{n}", 1) for n in range(4000))
    assert abs(struck / 4000 - rate) <= 0.03
    assert rate not in (0.0, 1.0) or struck == 4000 * rate


def test_latency_stays_between_its_bounds() -> None:
    faults = Faults(latency_ms=20, latency_jitter_ms=10)
    delays = [faults.delay_s(f"key-{n}", 1) for n in range(200)]
    assert min(delays) >= 0.020
    assert max(delays) <= 0.030
    assert max(delays) - min(delays) > 0.005
    assert Faults().delay_s("key", 1) == 0


def test_faults_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGA_PROVIDER_FAULT_DECLINE_RATE", "0.25")
    monkeypatch.setenv("SAGA_PROVIDER_FAULT_DOWN", "true")
    assert faults_from_environment() == Faults(decline_rate=0.25, down=True)
    monkeypatch.setenv("SAGA_PROVIDER_FAULT_DECLINE_RATE", "2")
    with pytest.raises(ValidationError):
        faults_from_environment()


def test_a_body_of_faults_replaces_them_whatever_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGA_PROVIDER_FAULT_DOWN", "true")
    assert Faults.model_validate_json('{"latency_ms": 5}') == Faults(latency_ms=5)
    with pytest.raises(ValidationError, match="unheard_of"):
        Faults.model_validate_json('{"unheard_of": 1}')
