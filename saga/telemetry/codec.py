"""Spans as JSON, for the rows that keep them until they are known to have been exported."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import TypeAdapter

from saga.telemetry.spans import SpanRecord

_adapter = TypeAdapter(tuple[SpanRecord, ...])


def spans_to_json(spans: Sequence[SpanRecord]) -> str:
    """Compact JSON of ``spans``."""
    return _adapter.dump_json(tuple(spans), exclude_defaults=True).decode()


def spans_from_json(text: str) -> tuple[SpanRecord, ...]:
    """The spans in ``text``."""
    return _adapter.validate_json(text)
