"""A log line carries its role and its trace, and nothing that must not be seen."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
import structlog
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, use_span

from saga.errors import InvalidSettings
from saga.logging import configure_logging
from saga.settings import Settings

_CARD = "4111 1111 1111 1111"
_EMAIL = "guest@example.com"


@pytest.fixture(autouse=True)
def logging_restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


def _lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_both_ways_of_logging_give_the_same_json(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(Settings(log_format="json"), role="payment")
    structlog.get_logger("ours").info("charged", amount=3)
    logging.getLogger("theirs").info("charged %s", 3, extra={"amount": 3})
    ours, theirs = _lines(capsys)
    assert (ours["event"], theirs["event"]) == ("charged", "charged 3")
    for line in (ours, theirs):
        assert line["role"] == "payment"
        assert line["amount"] == 3
        assert line["level"] == "info"
        assert str(line["timestamp"]).endswith("Z")


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_nothing_sensitive_is_logged_wherever_it_hides(capsys: pytest.CaptureFixture[str], log_format: str) -> None:
    configure_logging(Settings(log_format=log_format))
    log = structlog.get_logger("ours")
    log.info("paid with %s", _CARD, guest=_EMAIL, nested={"list": [_CARD]}, password="hunter2", odd=_Odd())
    logging.getLogger("theirs").warning("from %s", _EMAIL, extra={"number": 4111111111111111})
    try:
        int(f"no such card {_CARD}")
    except ValueError:
        log.exception("failed")
    said = capsys.readouterr().err
    assert said.count("redacted") >= 8
    assert "ValueError" in said
    for secret in (_CARD, _EMAIL, "hunter2", "4111111111111111"):
        assert secret not in said


def test_a_line_within_a_span_names_its_trace(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(Settings(log_format="json"))
    context = SpanContext(0xABC, 0xDEF, is_remote=False, trace_flags=TraceFlags(1))
    with use_span(NonRecordingSpan(context)):
        logging.getLogger("theirs").info("inside")
    logging.getLogger("theirs").info("outside")
    inside, outside = _lines(capsys)
    assert inside["trace_id"] == f"{0xABC:032x}"
    assert inside["span_id"] == f"{0xDEF:016x}"
    assert "trace_id" not in outside


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(InvalidSettings, match="LOUD"):
        configure_logging(Settings(log_level="LOUD"))


class _Odd:
    def __repr__(self) -> str:
        return f"Odd({_EMAIL})"
