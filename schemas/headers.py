"""The headers of every record, described for publishers and readers in any language.

:mod:`saga.messaging.wire` reads and writes them; a test keeps the two in step.
"""

from __future__ import annotations

from typing import Any, Final

from schemas import limits

JSON: Final = "application/json"
SAGA_COMMAND: Final = "ce_sagacommand"
KEY_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._:-]*$"
_TRACEPARENT = r"^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}"
_TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
_PARENT = {"ce_sagaparent": f"00-{_TRACE_ID}-00f067aa0ba902b7-01"}
_TIME = "2027-02-01T12:00:00.000000Z"


def _text(description: str, **more: Any) -> dict[str, Any]:
    return {"type": "string", "description": description, **more}


def _number(description: str, **more: Any) -> dict[str, Any]:
    return {"type": "string", "pattern": "^[0-9]+$", "description": f"{description}, in decimal", **more}


# Every header is text in UTF-8.
CLOUD_EVENT: Final[dict[str, dict[str, Any]]] = {
    "ce_id": _text("id of the message; the same id is the same message, however often it comes"),
    "ce_type": _text("type and version of the message, such as `booking.BookingRequested.v1`"),
    "ce_source": _text("who wrote it, such as `/booking/locking`"),
    "ce_time": _text("when it was written", format="date-time"),
    "ce_specversion": _text("version of CloudEvents", const="1.0"),
    "content-type": _text("type of the body", const=JSON),
}
TRACE: Final[dict[str, dict[str, Any]]] = {
    "traceparent": _text("W3C Trace Context: the span that sent this record; exactly one", pattern=_TRACEPARENT),
    "tracestate": _text("W3C Trace Context: what vendors added"),
    "baggage": _text("W3C Baggage; carried along unread"),
}
SAGA: Final[dict[str, dict[str, Any]]] = {
    "ce_sagaepoch": _number("the saga's epoch when the command was issued; a reply names the same"),
    "ce_sagastep": _text("the step of the saga"),
    "ce_sagaattempt": _number("how often the command had been sent, counting this time"),
    SAGA_COMMAND: _text("id of the command that is carried out or answered"),
}
PLACE: Final[dict[str, dict[str, Any]]] = {
    "ce_sagaparent": _text("traceparent of the span under which the step's span belongs", pattern=_TRACEPARENT),
    "ce_sagaundoes": _text("on undos: traceparent of the span being undone", pattern=_TRACEPARENT),
}
DEAD_LETTER: Final[dict[str, dict[str, Any]]] = {
    "dlq_cause": _text("why, in one word, such as `invalid_body`"),
    "dlq_detail": _text("why, in a sentence"),
    "dlq_topic": _text("topic of the original record"),
    "dlq_partition": _number("partition of the original record"),
    "dlq_offset": _number("offset of the original record"),
    "dlq_timestamp_ms": _number("timestamp of the original record, in milliseconds since the epoch"),
    "dlq_group": _text("consumer group that could not handle it"),
    "dlq_truncated": _number("size of the original body in bytes, where it had to be cut"),
}


def header_schemas() -> dict[str, dict[str, Any]]:
    """The header objects by name, as JSON Schemas."""
    everything = [*CLOUD_EVENT, "traceparent"]
    return {
        "RequestHeaders": _object(
            "Only `ce_type` is needed. Without `ce_id`, the same body under the same key counts as the same request; "
            f"without `traceparent`, the saga starts a trace. Bodies hold at most {limits.MAX_MESSAGE_BYTES} bytes.",
            {**CLOUD_EVENT, **TRACE},
            ["ce_type"],
        ),
        "CommandHeaders": _object("On commands.", {**CLOUD_EVENT, **TRACE, **SAGA, **PLACE}, [*everything, *SAGA]),
        "ReplyHeaders": _object("On replies.", {**CLOUD_EVENT, **TRACE, **SAGA}, [*CLOUD_EVENT, *SAGA]),
        "EventHeaders": _object("On events.", {**CLOUD_EVENT, **TRACE, **SAGA, **PLACE}, everything),
        "DeadLetterHeaders": _object(
            "Those of the original record, and these.",
            DEAD_LETTER,
            [name for name in DEAD_LETTER if name != "dlq_truncated"],
        ),
    }


def _object(description: str, properties: dict[str, dict[str, Any]], required: list[str]) -> dict[str, Any]:
    return {"type": "object", "description": description, "properties": properties, "required": required}


def example(kind: str, ce_type: str, *, message_id: str, source: str, command_id: str) -> dict[str, str]:
    """Headers as they could stand on a record of this type; ``kind`` is a name in :func:`header_schemas`."""
    if kind == "RequestHeaders":
        return {"ce_type": ce_type}
    undone = command_id.removesuffix(".undo")
    filled = {
        "ce_id": message_id,
        "ce_type": ce_type,
        "ce_source": source,
        "ce_time": _TIME,
        "ce_specversion": "1.0",
        "content-type": JSON,
        "traceparent": f"00-{_TRACE_ID}-b7ad6b7169203331-01",
        "ce_sagaepoch": "2",
        "ce_sagastep": "announce" if kind == "EventHeaders" else undone.split(".")[-2],
        "ce_sagaattempt": "1",
        SAGA_COMMAND: command_id,
    }
    if kind != "ReplyHeaders":
        filled |= _PARENT
    if kind == "CommandHeaders" and undone != command_id:
        filled["ce_sagaundoes"] = f"00-{_TRACE_ID}-53995c3f42cd8ad8-01"
    return filled
