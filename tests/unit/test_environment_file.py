"""What `saga up` leaves is private, and yields to the real environment."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from pydantic import SecretStr

from saga.errors import InvalidSettings
from saga.settings import Settings
from saga.stacks import environment
from saga.stacks.environment import Environment, Process
from saga.stacks.processes import started_at

_URL = "postgresql://someone:hunter2@127.0.0.1:1/saga"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith("SAGA_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SAGA_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def _running(**variables: str) -> Environment:
    here = Process("supervisor", os.getpid(), started_at(os.getpid()))
    return Environment("embedded", "two servers", here, variables, (Process("locking", 12, 3.5, "log", "here"),))


def test_what_is_written_is_read_back() -> None:
    written = _running(SAGA_BROKERS="127.0.0.1:1")
    environment.write(written)
    assert environment.read() == written


def test_nobody_else_may_read_it_even_where_it_was_readable_before(home: Path) -> None:
    home.mkdir()
    (home / "environment.json").write_text("{}")
    (home / "environment.json").chmod(0o644)
    path = environment.write(_running(SAGA_DATABASE_URL=_URL))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_settings_come_from_the_running_environment() -> None:
    environment.write(_running(SAGA_BROKERS="127.0.0.1:1", SAGA_DATABASE_URL=_URL, SAGA_SMTP_PORT="77"))
    settings = environment.resolve_settings()
    assert settings.brokers == "127.0.0.1:1"
    assert settings.smtp_port == 77
    assert settings.database_url.get_secret_value() == _URL


def test_the_real_environment_wins_over_the_running_one(monkeypatch: pytest.MonkeyPatch) -> None:
    environment.write(_running(SAGA_BROKERS="127.0.0.1:1", SAGA_SMTP_PORT="77"))
    monkeypatch.setenv("SAGA_BROKERS", "127.0.0.1:2")
    settings = environment.resolve_settings()
    assert settings.brokers == "127.0.0.1:2"
    assert settings.smtp_port == 77


def test_an_environment_whose_supervisor_is_gone_is_not_used() -> None:
    left = _running(SAGA_BROKERS="127.0.0.1:1")
    # The same pid, but begun at another time: somebody else's by now.
    stale = Environment(left.stack, left.description, Process("supervisor", os.getpid(), 1.0), left.variables)
    environment.write(stale)
    assert not stale.running
    assert environment.resolve_settings().brokers == Settings().brokers


def test_without_a_file_there_is_no_environment() -> None:
    environment.remove()
    assert environment.read() is None
    assert environment.resolve_settings() == Settings()


@pytest.mark.parametrize("text", ["", "[]", '{"version": 1}', '{"version": 99}', "{"])
def test_a_file_that_makes_no_sense_is_named(home: Path, text: str) -> None:
    home.mkdir()
    (home / "environment.json").write_text(text)
    with pytest.raises(InvalidSettings, match=r"environment\.json"):
        environment.read()


def test_malformed_settings_are_named_without_their_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGA_SMTP_PORT", "tok_secret")
    with pytest.raises(InvalidSettings, match="SAGA_SMTP_PORT") as refused:
        environment.checked_settings()
    assert "tok_secret" not in str(refused.value)


def test_settings_travel_to_a_child_process_and_back(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(database_url=SecretStr(_URL), topic_prefix="x.", smtp_port=77, otlp_insecure=False)
    variables = environment.variables_of(settings)
    assert set(variables) == {"SAGA_DATABASE_URL", "SAGA_TOPIC_PREFIX", "SAGA_SMTP_PORT", "SAGA_OTLP_INSECURE"}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert Settings() == settings
    everything = environment.variables_of(settings, everything=True)
    assert everything["SAGA_PRICING_URL"] == settings.pricing_url
