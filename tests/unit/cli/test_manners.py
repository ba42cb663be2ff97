"""What every verb of the developer and the on-call engineer keeps to: help, exit codes, one-line errors, no secrets."""

from __future__ import annotations

import importlib
import json
import shlex

import click
import pytest

from tests.unit.cli.conftest import Say

MODULES = {"publish": "publish", "cancel": "cancel", "list": "list_", "show": "show", "doctor": "doctor"}
CARD = "4242424242424242"
NEEDS_DATABASE = (("list",), ("show", "bk-1"), ("cancel", "bk-1"), ("publish", "--count", "2"), ("publish", "--wait"))


def command_of(verb: str) -> click.Command:
    command = importlib.import_module(f"saga.cli.{MODULES[verb]}").command
    assert isinstance(command, click.Command)
    return command


def examples_of(verb: str) -> list[str]:
    """The command lines in the help's examples that run this verb, without the remark behind them."""
    examples = (command_of(verb).epilog or "").split("Examples:")[1].split("\n\n")[0]
    runs = [line.strip().split("   ")[0] for line in examples.splitlines() if f"saga {verb}" in line]
    return [run[run.index(f"saga {verb}") :].split(" | ")[0] for run in runs if "xargs" not in run]


@pytest.mark.parametrize("verb", MODULES)
def test_help_shows_examples_and_exit_codes(say: Say, verb: str) -> None:
    said = say(verb, "--help")
    assert said.code == 0
    assert "Examples:" in said.out
    assert "xit codes" in said.out
    assert "--json" in said.out


@pytest.mark.parametrize("verb", MODULES)
def test_every_example_of_the_help_is_understood(verb: str) -> None:
    examples = examples_of(verb)
    assert examples
    for example in examples:
        words = shlex.split(example)[2:]
        command_of(verb).make_context(verb, words)


@pytest.mark.parametrize("words", NEEDS_DATABASE, ids=" ".join)
def test_a_database_that_does_not_answer_is_one_line_and_exit_code_3(say: Say, words: tuple[str, ...]) -> None:
    said = say(*words)
    assert said.code == 3
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert "PostgreSQL" in said.err
    assert "`saga up`" in said.err
    assert "s3cret-word" not in said.err


def test_a_broker_that_does_not_answer_is_one_line_and_exit_code_3(say: Say) -> None:
    said = say("publish", "--property", "htl-001")
    assert said.code == 3
    assert said.err.count("\n") == 1
    assert "SAGA_BROKERS" in said.err


@pytest.mark.parametrize("verb", MODULES)
def test_a_card_number_on_the_command_line_is_refused_and_not_repeated(say: Say, verb: str) -> None:
    for words in ((CARD,), ("--no-such-flag", CARD), ("--json=" + CARD,), ("4242 4242 4242 4242",)):
        said = say(verb, *words)
        assert said.code == 2
        assert "payment provider's token" in said.err
        assert "4242" not in said.err + said.out


@pytest.mark.parametrize(
    "words",
    [
        ("publish", "--source", "ada@example.com"),
        ("publish", "--guests", "tok_visa_1881"),
        ("list", "--since", "ada@example.com"),
        ("list", "--limit", "tok_visa_1881"),
    ],
    ids=" ".join,
)
def test_what_was_typed_wrong_is_not_repeated_when_it_is_sensitive(say: Say, words: tuple[str, ...]) -> None:
    said = say(*words)
    assert said.code == 2
    assert words[1] in said.err
    assert words[2] not in said.err


def test_doctor_finds_that_nothing_answers_and_says_what_to_do(say: Say) -> None:
    said = say("doctor")
    assert said.code == 3
    for what in ("broker", "database", "pricing", "provider", "mail"):
        assert any(line.startswith("DOWN") and f" {what} " in line for line in said.out.splitlines()), what
    assert "SAGA_BROKERS" in said.out
    assert "SAGA_DATABASE_URL" in said.out
    assert "s3cret-word" not in said.out


def test_doctor_tells_programs_the_same(say: Say) -> None:
    said = say("doctor", "--json")
    report = json.loads(said.out)
    assert said.code == 3
    assert report["healthy"] is False
    assert {finding["what"] for finding in report["findings"] if finding["verdict"] == "unreachable"} == {
        *("broker", "database", "pricing", "provider", "mail")
    }
    assert next(f for f in report["findings"] if f["what"] == "collector")["verdict"] == "note"


def test_doctor_names_a_malformed_setting(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGA_PARTITIONS", "many")
    said = say("doctor")
    assert said.code == 2
    assert "SAGA_PARTITIONS" in said.err
