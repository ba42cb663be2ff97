"""Protobuf's wire format for OTLP attributes, assembled from cached pieces and redacted on the way.

Traces repeat themselves: the same attribute names on every span, the same few values under most of them. So the unit
of caching is the encoded attribute, tag and length included: most attributes cost one dictionary look-up, and
redaction happens once per distinct value. Caches are bounded; an encoder belongs to one thread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from struct import pack
from typing import Any

from saga.telemetry.redaction import SECRET, is_sensitive_key, redact_text, redact_utf8, redact_value

_CACHED = 8_192  # entries of a cache before it starts afresh
_CACHED_LENGTH = 256  # longer strings are not worth keeping
_INT64 = range(-(2**63), 2**63)

_SHORT = tuple(bytes((n,)) if n < 128 else bytes((n & 127 | 128, n >> 7)) for n in range(4_096))


def varint(number: int) -> bytes:
    """An unsigned number in base 128, least significant group first."""
    if number < 4_096:
        return _SHORT[number]
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def field(tag: bytes, body: bytes) -> bytes:
    """A length-delimited field; ``tag`` is the encoded field number and wire type 2."""
    return tag + varint(len(body)) + body


def utf8(text: str) -> bytes:
    """UTF-8, which protobuf requires: lone surrogates become question marks instead of spoiling a whole batch."""
    return text.encode("utf-8", "replace")


class AttributeEncoder:
    """Encodes attributes as repeated ``KeyValue`` fields under one tag."""

    def __init__(self, tag: bytes) -> None:
        self._tag = tag
        self._keys: dict[str, tuple[bytes, bool]] = {}
        self._strings: dict[tuple[str, str], bytes] = {}
        self._ints: dict[tuple[str, int], bytes] = {}
        self._bools: dict[tuple[str, bool], bytes] = {}

    def extend(self, out: list[bytes], attributes: Mapping[str, Any]) -> None:
        """Append one field per attribute, in order; every attribute is encoded, whatever its type."""
        append = out.append
        strings, ints, bools = self._strings, self._ints, self._bools
        for pair in attributes.items():
            kind = type(pair[1])
            if kind is str:
                chunk = strings.get(pair)
            elif kind is int:
                chunk = ints.get(pair)
            elif kind is bool:
                chunk = bools.get(pair)
            else:
                chunk = None
            append(self._encode(*pair) if chunk is None else chunk)

    def _encode(self, key: str, value: Any) -> bytes:
        head, sensitive = self._keys.get(key) or self._add_key(key)
        if sensitive and value is not None:
            value = SECRET
        kind = type(value)
        if kind is str:
            data = redact_utf8(value)
            size = len(data)
            if size < 126:
                body = b"%b\x12%c\x0a%c%b" % (head, size + 2, size, data)
            else:
                body = head + field(b"\x12", field(b"\x0a", data))
        else:
            body = head + field(b"\x12", any_value(value))
        chunk = self._tag + varint(len(body)) + body
        if kind is str:
            if size <= _CACHED_LENGTH:
                _keep(self._strings, (key, value), chunk)
        elif kind is int:
            _keep(self._ints, (key, value), chunk)
        elif kind is bool:
            _keep(self._bools, (key, value), chunk)
        return chunk

    def _add_key(self, key: str) -> tuple[bytes, bool]:
        if len(self._keys) >= _CACHED:
            self._keys.clear()
        entry = (field(b"\x0a", redact_utf8(key)), is_sensitive_key(key))
        self._keys[key] = entry
        return entry


def _keep(cache: dict[Any, bytes], key: Any, chunk: bytes) -> None:
    if len(cache) >= _CACHED:
        cache.clear()
    cache[key] = chunk


def any_value(value: Any) -> bytes:
    """The body of an ``AnyValue``, redacted. Integers beyond 64 bits, which OTLP cannot hold, become decimal text."""
    kind = type(value)
    if kind is str:
        return field(b"\x0a", redact_utf8(value))
    if value is None:
        return b""
    if kind is bool:
        return b"\x10\x01" if value else b"\x10\x00"
    if isinstance(value, Mapping):
        return field(b"\x32", b"".join([_entry(str(key), item) for key, item in value.items()]))
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return field(b"\x2a", b"".join([field(b"\x0a", any_value(item)) for item in value]))
    return _scalar(redact_value(value) if isinstance(value, (str, int, float, bytes)) else redact_text(str(value)))


def _entry(key: str, value: Any) -> bytes:
    masked = SECRET if is_sensitive_key(key) and value is not None else value
    return field(b"\x0a", field(b"\x0a", redact_utf8(key)) + field(b"\x12", any_value(masked)))


def _scalar(value: Any) -> bytes:
    if isinstance(value, int) and value in _INT64:
        return b"\x18" + varint(value & 0xFFFF_FFFF_FFFF_FFFF)
    if isinstance(value, float):
        return b"\x21" + pack("<d", value)
    if isinstance(value, bytes):
        return field(b"\x3a", value)
    return field(b"\x0a", utf8(str(value)))
