"""``saga schema`` as it is typed."""

from __future__ import annotations

import json
import shlex
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from saga.cli.main import invoke
from schemas.base import message_class
from schemas.export import committed_schemas, json_schemas, write_schemas
from schemas.requests import BookingRequested


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither a running environment nor variables of whoever runs the tests."""
    monkeypatch.setenv("SAGA_HOME", str(tmp_path / "home"))
    for variable in ("SAGA_BROKERS", "SAGA_TOPIC_PREFIX", "SAGA_KAFKA_SECURITY_PROTOCOL", "SAGA_LOG_LEVEL"):
        monkeypatch.delenv(variable, raising=False)


class Said:
    """What one command line came to."""

    def __init__(self, capsys: pytest.CaptureFixture[str], *words: str) -> None:
        self.code = invoke(["schema", *words])
        self.out, self.err = capsys.readouterr()

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def test_alone_it_lists_every_type_under_its_topic(capsys: pytest.CaptureFixture[str]) -> None:
    said = Said(capsys)
    assert said.code == 0
    assert said.out.splitlines()[0] == "booking.requests"
    assert all(ce_type in said.out for ce_type in json_schemas())
    assert Said(capsys, "list").out == said.out


def test_a_list_for_programs_names_type_topic_and_summary(capsys: pytest.CaptureFixture[str]) -> None:
    types = Said(capsys, "list", "--json").json["types"]
    assert types == Said(capsys, "--json").json["types"]
    assert sorted(row["type"] for row in types) == sorted(json_schemas())
    assert all(row["topic"].startswith("booking.") and row["summary"] for row in types)


def test_showing_a_type_tells_its_fields_an_example_and_how_to_publish_it(capsys: pytest.CaptureFixture[str]) -> None:
    said = Said(capsys, "show", "BookingRequested")
    assert said.code == 0
    for expected in ("on booking.requests", "payment_token", "required", 'default "EUR"', '"tok_visa"', "kcat -P"):
        assert expected in said.out


def test_showing_a_type_for_programs_gives_its_schema(capsys: pytest.CaptureFixture[str]) -> None:
    told = Said(capsys, "show", "LockRefused", "--json").json
    assert told["type"] == "booking.LockRefused.v1"
    assert told["schema"] == json_schemas()["booking.LockRefused.v1"]
    assert told["headers"]["required"]
    assert "kcat" not in told, "only the saga itself says this"


def test_fields_of_parts_are_shown_as_well(capsys: pytest.CaptureFixture[str]) -> None:
    assert "offers[].total_minor" in Said(capsys, "show", "AvailabilityFound").out


@pytest.mark.parametrize("ce_type", sorted(json_schemas()))
def test_every_type_can_be_shown_by_its_full_name(capsys: pytest.CaptureFixture[str], ce_type: str) -> None:
    said = Said(capsys, "show", ce_type)
    assert said.code == 0
    assert said.out.startswith(ce_type)


def _kcat(line: str) -> tuple[str, list[str]]:
    """The body that is piped into kcat, and kcat's own words."""
    words = shlex.split(line.replace("|\n", "| "))
    assert words[:2] == ["printf", "%s\\n"]
    assert words[3] == "|"
    return words[2], words[4:]


def test_the_kcat_example_publishes_a_valid_request_for_days_to_come(capsys: pytest.CaptureFixture[str]) -> None:
    body, kcat = _kcat(Said(capsys, "show", "BookingRequested", "--json").json["kcat"])
    request = BookingRequested.model_validate_json(body)
    assert request.check_in > datetime.now(UTC).date()
    options = dict(zip(kcat[2::2], kcat[3::2], strict=True))
    assert kcat[:2] == ["kcat", "-P"]
    assert options["-t"] == "booking.requests"
    assert options["-k"]
    name, _, ce_type = options["-H"].partition("=")
    assert (name, message_class(ce_type)) == ("ce_type", BookingRequested)


def test_the_kcat_example_leads_to_the_environment_at_hand(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAGA_BROKERS", "10.0.0.7:9094")
    monkeypatch.setenv("SAGA_TOPIC_PREFIX", "drill.")
    monkeypatch.setenv("SAGA_KAFKA_SECURITY_PROTOCOL", "SASL_SSL")
    monkeypatch.setenv("SAGA_KAFKA_USERNAME", "publisher")
    monkeypatch.setenv("SAGA_KAFKA_PASSWORD", "hunter2")
    said = Said(capsys, "show", "BookingCancellationRequested")
    for expected in ("-b 10.0.0.7:9094", "-t drill.booking.requests", "sasl.username=publisher", "SASL_SSL"):
        assert expected in said.out
    assert "hunter2" not in said.out


def test_events_come_with_the_kcat_line_that_reads_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert "kcat -C -b 127.0.0.1:9092 -t booking.events" in Said(capsys, "show", "BookingConfirmed").out


def test_an_example_can_be_piped(capsys: pytest.CaptureFixture[str]) -> None:
    said = Said(capsys, "example", "BookingRequested")
    assert said.out.count("\n") == 1
    assert BookingRequested.model_validate_json(said.out).check_in == date(2027, 3, 1)


@pytest.mark.parametrize("words", [("show",), ("example",)])
def test_a_misspelt_type_is_wrong_use_and_a_near_one_is_suggested(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    said = Said(capsys, *words, "BookingRequsted")
    assert said.code == 2
    assert said.out == ""
    assert "did you mean BookingRequested?" in said.err
    assert Said(capsys, *words, "Zebra").err.endswith("`saga schema list` names those there are\n")


def test_a_type_may_be_written_in_lower_case(capsys: pytest.CaptureFixture[str]) -> None:
    assert Said(capsys, "show", "bookingrequested").out.startswith("booking.BookingRequested.v1")


def test_json_in_the_wrong_place_is_said_to_be(capsys: pytest.CaptureFixture[str]) -> None:
    said = Said(capsys, "--json", "show", "LockRefused")
    assert said.code == 2
    assert "saga schema show ... --json" in said.err


def test_exporting_writes_one_file_per_type(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    said = Said(capsys, "export", str(tmp_path / "out"), "--json")
    assert said.json["written"] == sorted(path.name for path in (tmp_path / "out").iterdir())
    assert len(said.json["written"]) == len(json_schemas())
    assert f"{len(json_schemas())} schemas written" in Said(capsys, "export", str(tmp_path / "out")).out


def _older(folder: Path) -> None:
    """Schemas of an earlier version, whose readers rely on a field that is gone."""
    write_schemas(folder)
    path = folder / "booking.LockRefused.v1.json"
    schema = json.loads(path.read_text())
    schema["properties"]["queue_length"] = {"type": "integer"}
    path.write_text(json.dumps(schema))


def test_exporting_over_schemas_that_would_break_is_refused_unless_forced(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    _older(tmp_path)
    before = {path.name: path.read_text() for path in tmp_path.iterdir()}
    said = Said(capsys, "export", str(tmp_path))
    assert said.code == 1
    assert "body.queue_length: the field is gone" in said.err
    assert "--force" in said.err
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == before
    assert Said(capsys, "export", str(tmp_path), "--force").code == 0


def test_checking_what_is_committed_finds_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    said = Said(capsys, "check", "--json")
    assert (said.code, said.json) == (0, {"checked": len(committed_schemas()), "incompatible": {}, "stale": []})
    assert "all compatible" in Said(capsys, "check").out


def test_checking_against_an_older_version_finds_what_would_break(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    _older(tmp_path)
    said = Said(capsys, "check", "--against", str(tmp_path), "--json")
    assert said.code == 1
    assert list(said.json["incompatible"]) == ["booking.LockRefused.v1"]
    assert "booking.LockRefused.v1: body.queue_length" in Said(capsys, "check", "--against", str(tmp_path)).err


@pytest.mark.parametrize("content", [None, "not JSON"])
def test_checking_against_what_is_no_schema_is_wrong_use(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, content: str | None
) -> None:
    if content is not None:
        (tmp_path / "booking.LockRefused.v1.json").write_text(content)
    said = Said(capsys, "check", "--against", str(tmp_path))
    assert said.code == 2
    assert str(tmp_path) in said.err
    assert Said(capsys, "check", "--against", str(tmp_path / "nowhere")).code == 2


def test_the_asyncapi_document_is_printed_or_written(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    printed = Said(capsys, "asyncapi")
    assert printed.json["asyncapi"] == "3.0.0"
    assert Said(capsys, "asyncapi", "--output", str(tmp_path / "a.json")).code == 0
    assert (tmp_path / "a.json").read_text() == printed.out


def test_a_place_that_cannot_be_written_to_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    nowhere = str(tmp_path / "file" / "below")
    for words in (("export", nowhere), ("asyncapi", "--output", nowhere)):
        said = Said(capsys, *words)
        assert said.code == 2
        assert nowhere in said.err


@pytest.mark.parametrize("words", [(), ("show",), ("example",), ("export",), ("asyncapi",), ("check",)])
def test_help_comes_with_examples(capsys: pytest.CaptureFixture[str], words: tuple[str, ...]) -> None:
    said = Said(capsys, *words, "--help")
    assert said.code == 0
    assert "Examples:" in said.out
    assert f"saga schema {' '.join(words)}".rstrip() in said.out
