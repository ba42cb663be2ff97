"""The AsyncAPI 3.0 document: every topic, its key, its headers, its messages, and who sends and receives them.

Made from the models, so it cannot go stale; committed as ``schemas/asyncapi.json`` (JSON is YAML, so any AsyncAPI tool
reads it).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic.json_schema import models_json_schema

from schemas import commands, events, headers, limits, replies, requests, topics
from schemas.base import Message
from schemas.examples import BOOKING_ID, example
from schemas.export import PlainSchema, plain_text

_KAFKA_BINDING = "0.5.0"
_DEAD_LETTER = "DeadLetter"
_KEY = {
    "type": "string",
    "pattern": headers.KEY_PATTERN,
    "maxLength": limits.MAX_ID,
    "description": "the booking id; chosen by whoever asks, and the key of every record about the booking",
}

REPLIES_TO: dict[type[Message], tuple[type[Message], ...]] = {
    commands.CheckAvailability: (replies.AvailabilityFound, replies.AvailabilityRefused),
    commands.AcquireLock: (replies.LockAcquired, replies.LockRefused),
    commands.ReleaseLock: (replies.LockReleased,),
    commands.ProcessPayment: (replies.PaymentProcessed, replies.PaymentDeclined, replies.PaymentUnknown),
    commands.RefundPayment: (replies.PaymentRefunded,),
    commands.ConfirmBooking: (replies.ConfirmationIssued, replies.ConfirmationRefused),
    commands.RestoreInventory: (replies.InventoryRestored,),
}
"""Which replies each command may get; every command gets exactly one."""


@dataclass(frozen=True, slots=True)
class Channel:
    """One topic. ``senders`` and ``receivers`` are roles; ``anyone`` is any program that may reach the broker."""

    name: str
    topic: str
    title: str
    what: str
    messages: tuple[type[Message], ...]
    headers: str
    senders: tuple[str, ...]
    receivers: tuple[str, ...]


def _commands(worker: str, topic: str, what: str, *messages: type[Message]) -> Channel:
    title = f"Commands to the {worker} worker"
    return Channel(worker, topic, title, what, messages, "CommandHeaders", ("orchestrator",), (worker,))


CHANNELS: tuple[Channel, ...] = (
    Channel(
        "requests",
        topics.REQUESTS,
        "What anyone may ask",
        "A publisher in any language needs only the key, `ce_type` and the JSON body; other headers get defaults.",
        (requests.BookingRequested, requests.BookingCancellationRequested),
        "RequestHeaders",
        ("anyone",),
        ("orchestrator",),
    ),
    _commands("availability", topics.AVAILABILITY, "Find priced offers.", commands.CheckAvailability),
    _commands("locking", topics.LOCKING, "Hold a room, and let it go.", commands.AcquireLock, commands.ReleaseLock),
    _commands("payment", topics.PAYMENT, "Charge, and refund.", commands.ProcessPayment, commands.RefundPayment),
    _commands(
        "confirmation",
        topics.CONFIRMATION,
        "Commit the room-nights, and give them back.",
        commands.ConfirmBooking,
        commands.RestoreInventory,
    ),
    Channel(
        "replies",
        topics.REPLIES,
        "Replies of all workers",
        "One typed reply per command, matched on command id and saga epoch; late and repeated ones are dropped.",
        tuple(reply for answers in REPLIES_TO.values() for reply in answers),
        "ReplyHeaders",
        ("availability", "locking", "payment", "confirmation"),
        ("orchestrator",),
    ),
    Channel(
        "events",
        topics.EVENTS,
        "What became of bookings",
        "One event when a booking ends, and another when a confirmed booking is cancelled.",
        (events.BookingConfirmed, events.BookingFailed, events.BookingCancelled),
        "EventHeaders",
        ("orchestrator",),
        ("notification", "anyone"),
    ),
)
_STEPS: dict[type[Message], str] = {
    commands.CheckAvailability: "check_availability",
    commands.AcquireLock: "acquire_lock",
    commands.ProcessPayment: "process_payment",
    commands.ConfirmBooking: "confirm",
}
_ENDS: dict[type[Message], str] = {
    events.BookingConfirmed: "confirmed",
    events.BookingFailed: "failed",
    events.BookingCancelled: "cancelled",
}
_COMMAND_CHANNELS = {message: channel for channel in CHANNELS for message in channel.messages if message in REPLIES_TO}


def document() -> dict[str, Any]:
    """The whole document, as JSON-ready values."""
    return {
        "asyncapi": "3.0.0",
        "id": "urn:booking-saga",
        "info": {
            "title": "Booking saga",
            "version": "1.0.0",
            "description": (
                "Bookings as an orchestrated saga on Kafka. The key of every record is the booking id. The envelope is "
                "CloudEvents 1.0 in binary mode, in Kafka headers; bodies are JSON. Every environment may put a prefix "
                "before all topic names. A type's version is part of `ce_type`."
            ),
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": headers.JSON,
        "channels": {channel.name: _channel(channel) for channel in CHANNELS} | {"deadLetters": _dead_letters()},
        "operations": dict(_operations()),
        "components": {
            "messages": {
                **{cls.__name__: _message(cls, channel) for channel in CHANNELS for cls in channel.messages},
                _DEAD_LETTER: _dead_letter(),
            },
            "schemas": _schemas(),
        },
    }


def _ref(*path: str) -> dict[str, str]:
    return {"$ref": "#/" + "/".join(path)}


def _channel(channel: Channel) -> dict[str, Any]:
    return {
        "address": channel.topic,
        "title": channel.title,
        "description": channel.what,
        "messages": {cls.__name__: _ref("components", "messages", cls.__name__) for cls in channel.messages},
        "bindings": {"kafka": {"topic": channel.topic, "bindingVersion": _KAFKA_BINDING}},
    }


def _message(cls: type[Message], channel: Channel) -> dict[str, Any]:
    ce_type = cls.type_name()
    name = cls.__name__
    shown = example(ce_type)
    message: dict[str, Any] = {
        "name": ce_type,
        "title": name,
        "summary": plain_text(cls.__doc__ or "").partition(". ")[0].rstrip("."),
        "contentType": headers.JSON,
        "headers": _ref("components", "schemas", channel.headers),
        "payload": _ref("components", "schemas", name),
        "bindings": _key_binding(),
        "examples": [
            {
                "name": name,
                "headers": _header_example(cls, channel),
                "payload": shown.model_dump(mode="json", exclude_none=True),
            }
        ],
    }
    if channel.headers in {"CommandHeaders", "ReplyHeaders"}:
        message["correlationId"] = {
            "description": "the command that is carried out or answered",
            "location": f"$message.header#/{headers.SAGA_COMMAND}",
        }
    return message


def _header_example(cls: type[Message], channel: Channel) -> dict[str, str]:
    asked = next((asked for asked, answers in REPLIES_TO.items() if cls in answers), cls)
    command_id = _command_id(asked)
    return headers.example(
        channel.headers,
        cls.type_name(),
        message_id=command_id if asked is cls else f"{command_id}.reply",
        source="/booking/orchestrator" if asked is cls else f"/booking/{_COMMAND_CHANNELS[asked].name}",
        command_id=command_id,
    )


def _command_id(cls: type[Message]) -> str:
    if undoes := getattr(example(cls.type_name()), "undoes", None):
        return f"{undoes}.undo"
    return f"{BOOKING_ID}.{_STEPS[cls]}.1" if cls in _STEPS else f"{BOOKING_ID}.{_ENDS.get(cls, 'requested')}"


def _key_binding() -> dict[str, Any]:
    # Spelled out each time: the published schema of this binding finds a reference ambiguous.
    return {"kafka": {"key": _KEY, "bindingVersion": _KAFKA_BINDING}}


def _operations() -> Iterable[tuple[str, dict[str, Any]]]:
    for channel in CHANNELS:
        for role in channel.senders:
            sent = [cls for cls in channel.messages if channel.name != "replies" or _answers(role, cls)]
            yield f"{role}.send.{channel.name}", _operation("send", role, channel.name, sent)
        for role in channel.receivers:
            operation = _operation("receive", role, channel.name, channel.messages)
            answers = [reply for cls in channel.messages for reply in REPLIES_TO.get(cls, ())]
            if answers:
                operation["reply"] = {
                    "channel": _ref("channels", "replies"),
                    "messages": [_ref("channels", "replies", "messages", reply.__name__) for reply in answers],
                }
            yield f"{role}.receive.{channel.name}", operation
    dead_letter = [_ref("channels", "deadLetters", "messages", _DEAD_LETTER)]
    yield (
        "anyRole.send.deadLetters",
        {
            "action": "send",
            "channel": _ref("channels", "deadLetters"),
            "summary": "Every role puts aside what it cannot handle",
            "messages": dead_letter,
        },
    )


def _answers(role: str, reply: type[Message]) -> bool:
    return any(reply in REPLIES_TO[asked] for asked, channel in _COMMAND_CHANNELS.items() if channel.name == role)


def _operation(action: str, role: str, channel: str, messages: Sequence[type[Message]]) -> dict[str, Any]:
    return {
        "action": action,
        "channel": _ref("channels", channel),
        "summary": f"{role} {action}s {', '.join(cls.__name__ for cls in messages)}",
        "tags": [{"name": role}],
        "messages": [_ref("channels", channel, "messages", cls.__name__) for cls in messages],
    }


def _schemas() -> dict[str, Any]:
    messages = [cls for channel in CHANNELS for cls in channel.messages]
    _, definitions = models_json_schema(
        [(cls, "validation") for cls in messages],
        ref_template="#/components/schemas/{model}",
        schema_generator=PlainSchema,
    )
    return {**definitions["$defs"], **headers.header_schemas()}


def _dead_letters() -> dict[str, Any]:
    return {
        "address": topics.DEAD_LETTERS,
        "title": "What could not be handled",
        "description": "The original record with its cause and origin; card numbers, tokens and e-mails are masked.",
        "messages": {_DEAD_LETTER: _ref("components", "messages", _DEAD_LETTER)},
        "bindings": {"kafka": {"topic": topics.DEAD_LETTERS, "bindingVersion": _KAFKA_BINDING}},
    }


def _dead_letter() -> dict[str, Any]:
    return {
        "name": _DEAD_LETTER,
        "title": "Dead letter",
        "summary": "A record that could not be handled; its headers say why and where it came from",
        "contentType": "application/octet-stream",
        "headers": _ref("components", "schemas", "DeadLetterHeaders"),
        "payload": {"description": "the original bytes, masked, and cut at the size limit"},
        # Whatever key the original had: it may be the very reason why it is here.
        "bindings": {"kafka": {"key": {"type": "string"}, "bindingVersion": _KAFKA_BINDING}},
    }
