"""The stack asked for is taken or refused with what to do about it; never silently replaced by another."""

from __future__ import annotations

import pytest

from saga.errors import StackUnavailable, UsageError
from saga.stacks.base import Endpoints
from saga.stacks.choose import NAMES, choose
from saga.stacks.ports import free_ports, is_free


@pytest.fixture(autouse=True)
def nothing_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SAGA_STACK", "SAGA_BROKERS", "SAGA_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)


def test_an_unknown_stack_is_refused_naming_those_there_are() -> None:
    with pytest.raises(UsageError, match="embedded"):
        choose("redis")


def test_the_environment_chooses_where_the_command_line_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGA_STACK", "env")
    with pytest.raises(StackUnavailable, match="SAGA_BROKERS and SAGA_DATABASE_URL are not set"):
        choose()
    assert choose("embedded").stack.name == "embedded"


def test_the_env_stack_needs_both_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGA_BROKERS", "127.0.0.1:1")
    with pytest.raises(StackUnavailable, match="SAGA_DATABASE_URL is not set"):
        choose("env")


def test_an_env_stack_that_does_not_answer_says_so_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGA_BROKERS", "127.0.0.1:1")
    monkeypatch.setenv("SAGA_DATABASE_URL", "postgresql://someone:hunter2@127.0.0.1:1/saga")
    stack = choose("env").stack
    with pytest.raises(StackUnavailable, match=r"127\.0\.0\.1:1") as refused:
        stack.start()
    assert "hunter2" not in str(refused.value)


def test_compose_says_that_it_is_still_to_come() -> None:
    with pytest.raises(StackUnavailable, match=r"compose\.yaml"):
        choose("compose")


def test_tests_with_addresses_in_the_environment_use_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGA_BROKERS", "127.0.0.1:1")
    monkeypatch.setenv("SAGA_DATABASE_URL", "postgresql://127.0.0.1:1/saga")
    choice = choose("auto", "tests")
    assert choice.stack.name == "env"
    assert "compose" in choice.passed_over


def test_a_demo_does_not_touch_a_cluster_named_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGA_BROKERS", "127.0.0.1:1")
    monkeypatch.setenv("SAGA_DATABASE_URL", "postgresql://127.0.0.1:1/saga")
    assert choose("auto", "demo").stack.name == "embedded"


def test_a_stack_without_a_required_part_is_refused() -> None:
    with pytest.raises(StackUnavailable, match="lacks kafka, which is required"):
        choose("embedded", "tests", require=frozenset({"kafka", "postgres"}))


def test_the_choice_tells_why_better_ones_were_passed_over() -> None:
    choice = choose("auto", "tests")
    lines = str(choice).splitlines()
    assert lines[0].startswith(f"stack: {choice.stack.name} (")
    assert any(line.startswith("  not compose: ") for line in lines)


def test_a_stack_with_no_real_part_that_is_required_cannot_be_chosen_automatically() -> None:
    with pytest.raises(StackUnavailable, match="no stack can run here") as refused:
        choose("auto", "tests", require=frozenset({"mainframe"}))
    assert all(f"  {name}: " in str(refused.value) for name in NAMES if name != "auto")


def test_endpoints_lead_a_process_to_the_stack() -> None:
    endpoints = Endpoints("127.0.0.1:1", "postgresql://127.0.0.1:2/x", "tansu", 30, 1, "two servers")
    assert endpoints.environment() == {
        "SAGA_BROKERS": "127.0.0.1:1",
        "SAGA_DATABASE_URL": "postgresql://127.0.0.1:2/x",
        "SAGA_BROKER_KIND": "tansu",
        "SAGA_FETCH_MAX_WAIT_MS": "30",
        "SAGA_REPLICATION": "1",
    }


def test_free_ports_are_different_and_can_be_listened_on() -> None:
    ports = free_ports(20)
    assert len(set(ports)) == 20
    assert all(is_free(port) for port in ports)
