"""Taking a trace request apart without decoding it: the bytes of each span are found, grouped by trace, and kept.

The receiver shares its machine with what it observes, so it does the least that lets a trace be found again. A span's
encoding starts with its trace id in every known exporter; where it does not, the span is searched for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field


class MalformedRequest(ValueError):
    """Bytes that are not an OTLP trace request."""


@dataclass(frozen=True, slots=True)
class Scanned:
    """Spans of one request under one resource and scope, by trace id; every value may be joined into a ScopeSpans."""

    resource: bytes
    scope: bytes
    traces: dict[bytes, list[bytes]] = field(default_factory=dict)


def scan(body: bytes) -> list[Scanned]:
    """The parts of an ``ExportTraceServiceRequest``. Raises :class:`MalformedRequest`."""
    try:
        return list(_resource_spans(body))
    except IndexError:
        raise MalformedRequest("the request ends in the middle of a field") from None


def _resource_spans(body: bytes) -> Iterator[Scanned]:
    for number, start, stop in _fields(body, 0, len(body)):
        if number != 1:
            continue
        resource = b""
        scopes = []
        for inner, inner_start, inner_stop in _fields(body, start, stop):
            if inner == 1:
                resource = body[inner_start:inner_stop]
            elif inner == 2:
                scopes.append((inner_start, inner_stop))
        for scope_start, scope_stop in scopes:
            yield _scope_spans(body, scope_start, scope_stop, resource)


def _scope_spans(body: bytes, at: int, stop: int, resource: bytes) -> Scanned:
    scope = b""
    traces: dict[bytes, list[bytes]] = {}
    while at < stop:
        if body[at] != 0x12:  # anything but a span
            number, start, end = next(_fields(body, at, stop))
            if number == 1:
                scope = body[start:end]
            at = end
            continue
        size = body[at + 1]
        start = at + 2
        if size > 127:
            second = body[start]
            if second < 128:
                size = size & 127 | second << 7
                start += 1
            else:
                size, start = _varint(body, at + 1)
        end = start + size
        if end > stop:
            raise MalformedRequest("a span is longer than what holds it")
        trace_id = (
            body[start + 2 : start + 18] if body[start : start + 2] == b"\x0a\x10" else _trace_id(body, start, end)
        )
        spans = traces.get(trace_id)
        if spans is None:
            traces[trace_id] = [body[at:end]]
        else:
            spans.append(body[at:end])
        at = end
    return Scanned(resource, scope, traces)


def _trace_id(body: bytes, start: int, stop: int) -> bytes:
    for number, value_start, value_stop in _fields(body, start, stop):
        if number == 1 and value_stop - value_start == 16:
            return body[value_start:value_stop]
    raise MalformedRequest("a span has no trace id of 16 bytes")


def _fields(body: bytes, at: int, stop: int) -> Iterator[tuple[int, int, int]]:
    """(field number, start and end of its value) of every field of a message."""
    while at < stop:
        key, at = _varint(body, at)
        kind = key & 7
        if kind == 2:
            size, at = _varint(body, at)
        elif kind == 0:
            size = _varint(body, at)[1] - at
        elif kind == 1:
            size = 8
        elif kind == 5:
            size = 4
        else:
            raise MalformedRequest(f"there is no wire type {kind}")
        if at + size > stop:
            raise MalformedRequest("a field is longer than what holds it")
        yield key >> 3, at, at + size
        at += size


def _varint(body: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = body[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
        if shift > 63:
            raise MalformedRequest("a number is longer than 64 bits")
