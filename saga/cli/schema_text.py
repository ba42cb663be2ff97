"""Message types in words: a table of fields, an example, and the kcat command line that sends or reads it."""

from __future__ import annotations

import json
import shlex
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from schemas import headers
from schemas.asyncapi import CHANNELS, Channel
from schemas.base import Message
from schemas.examples import BOOKING_ID, example
from schemas.export import json_schema, plain_text
from schemas.requests import BookingRequested

if TYPE_CHECKING:
    from saga.settings import Settings

_WORDS = {"minimum": "from {}", "maximum": "to {}", "minLength": "from {}", "maxLength": "up to {} characters"}
_WORDS |= {"minItems": "of {}", "maxItems": "to {}"}


def summaries() -> list[dict[str, str]]:
    """Type, topic, and the first sentence of what it says, in the order in which a booking meets them."""
    return [
        {"type": cls.type_name(), "topic": channel.topic, "summary": _summary(cls)}
        for channel in CHANNELS
        for cls in channel.messages
    ]


def details(cls: type[Message], settings: Settings) -> dict[str, Any]:
    """All about one type, as JSON-ready values."""
    channel = _channel(cls)
    told: dict[str, Any] = {
        "type": cls.type_name(),
        "topic": settings.topic_prefix + channel.topic,
        "key": "the booking id",
        "senders": channel.senders,
        "receivers": channel.receivers,
        "schema": json_schema(cls),
        "headers": headers.header_schemas()[channel.headers],
        "example": example(cls.type_name()).model_dump(mode="json", exclude_none=True),
    }
    if (line := kcat(cls, settings)) is not None:
        told["kcat"] = line
    return told


def describe(cls: type[Message], settings: Settings) -> str:
    """The same for people."""
    channel = _channel(cls)
    lines = [
        f"{cls.type_name()}  on {settings.topic_prefix}{channel.topic}, keyed by the booking id",
        f"from {', '.join(channel.senders)} to {', '.join(channel.receivers)}",
        "",
        plain_text(cls.__doc__ or ""),
        "",
        *_table(json_schema(cls)),
        "",
        "Example:",
        json.dumps(example(cls.type_name()).model_dump(mode="json", exclude_none=True), indent=2, ensure_ascii=False),
    ]
    if (line := kcat(cls, settings)) is not None:
        does = "Publish it (another key is another booking)" if "anyone" in channel.senders else "Read it"
        lines += ["", f"{does}:", line]
    return "\n".join(lines)


def kcat(cls: type[Message], settings: Settings) -> str | None:
    """The command line by which anyone publishes or reads this type; None for what only the saga itself says."""
    channel = _channel(cls)
    reach = ["-b", settings.brokers, *_security(settings), "-t", settings.topic_prefix + channel.topic]
    if "anyone" in channel.senders:
        body = _upcoming(example(cls.type_name())).model_dump_json(exclude_none=True)
        # The partitioner of the saga's own clients: a cancellation must land behind the request it is about.
        reach += ["-X", "topic.partitioner=murmur2_random"]
        send = ["kcat", "-P", *reach, "-k", BOOKING_ID, "-H", f"ce_type={cls.type_name()}"]
        return f"printf '%s\\n' {shlex.quote(body)} |\n  {shlex.join(send)}"
    if "anyone" in channel.receivers:
        return shlex.join(["kcat", "-C", *reach, "-o", "beginning", "-f", "%k %h %s\\n"])
    return None


def _upcoming(message: Message) -> Message:
    # Nobody can book a night that is over, so an example to be copied starts from today.
    if not isinstance(message, BookingRequested):
        return message
    check_in = datetime.now(UTC).date() + timedelta(days=30)
    nights = message.check_out - message.check_in
    return message.model_copy(update={"check_in": check_in, "check_out": check_in + nights})


def _security(settings: Settings) -> list[str]:
    if settings.kafka_security_protocol == "PLAINTEXT":
        return []
    known = {"security.protocol": settings.kafka_security_protocol}
    if settings.kafka_ca_file is not None:
        known["ssl.ca.location"] = str(settings.kafka_ca_file)
    if settings.kafka_security_protocol.startswith("SASL"):
        # The password stays out: kcat reads it from the file named by KCAT_CONFIG, as `sasl.password=...`.
        known |= {"sasl.mechanism": settings.kafka_sasl_mechanism, "sasl.username": settings.kafka_username}
    return [part for name, value in known.items() for part in ("-X", f"{name}={value}")]


def _channel(cls: type[Message]) -> Channel:
    return next(channel for channel in CHANNELS if cls in channel.messages)


def _summary(cls: type[Message]) -> str:
    return plain_text(cls.__doc__ or "").partition(". ")[0].rstrip(".")


def _table(schema: dict[str, Any]) -> list[str]:
    rows = _rows("", schema, schema)
    first, second = (max(len(row[place]) for row in rows) for place in (0, 1))
    return [f"  {name:<{first}}  {need:<{second}}  {words}".rstrip() for name, need, words in rows]


def _rows(prefix: str, schema: dict[str, Any], document: dict[str, Any]) -> list[tuple[str, str, str]]:
    rows = []
    required = set(schema.get("required", ()))
    for name, field in schema["properties"].items():
        default = json.dumps(field.get("default"))
        need = "required" if name in required else "optional" if default == "null" else f"default {default}"
        rows.append((prefix + name, need, _in_words(field)))
        if (reference := field.get("items", {}).get("$ref")) is not None:
            rows += _rows(f"{prefix}{name}[].", document["$defs"][reference.rpartition("/")[2]], document)
    return rows


def _in_words(field: dict[str, Any]) -> str:
    if "anyOf" in field:
        described = " or ".join(_in_words(choice) for choice in field["anyOf"] if choice.get("type") != "null")
    elif "enum" in field or "const" in field:
        described = " | ".join(json.dumps(value) for value in field.get("enum", [field.get("const")]))
    elif field.get("type") == "array":
        described = "list"
    else:
        described = str(field.get("format") or field.get("type", "anything"))
    limits = " ".join(words.format(field[name]) for name, words in _WORDS.items() if name in field)
    described = f"{described}, {limits}" if limits else described
    return f"{described}; {field['description']}" if "description" in field else described
