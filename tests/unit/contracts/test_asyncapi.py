"""The AsyncAPI document: whole, resolvable, and in step with the wire, the topics and the saga's definition.

There is no JSON Schema of AsyncAPI among this project's dependencies, so its structure is checked by hand.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator, FormatChecker

import schemas
from saga.booking import DEFINITION
from saga.engine.envelope import Envelope, SagaHeaders, outgoing
from saga.messaging import deadletter, wire
from saga.telemetry.spans import SpanContext
from schemas import headers, topics
from schemas.asyncapi import CHANNELS, REPLIES_TO, document
from schemas.base import Message
from schemas.examples import BOOKING_ID, EXAMPLES
from schemas.export import committed_asyncapi, exported_classes, json_schemas, render

DOCUMENT = document()
MESSAGES: dict[str, Any] = DOCUMENT["components"]["messages"]
SPAN = SpanContext(1, 2, tracestate="vendor=x")


def walk(value: Any) -> Iterator[dict[str, Any]]:
    """Every object within a document."""
    if isinstance(value, dict):
        yield value
        for item in value.values():
            yield from walk(item)
    elif isinstance(value, list):
        for item in value:
            yield from walk(item)


def resolve(reference: str) -> Any:
    found: Any = DOCUMENT
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return found


def validator(schema: Any) -> Draft7Validator:
    """A schema of this document, in which references lead into the document."""
    return Draft7Validator({**schema, "components": DOCUMENT["components"]}, format_checker=FormatChecker())


def test_the_committed_document_is_what_the_models_say() -> None:
    assert committed_asyncapi() == json.loads(render(DOCUMENT)), "run `saga schema asyncapi`, see its --help"
    text = (Path(schemas.__file__).parent / "asyncapi.json").read_text("utf-8")
    assert text == render(DOCUMENT)


def test_it_is_asyncapi_3_with_all_that_must_be_there() -> None:
    assert DOCUMENT["asyncapi"] == "3.0.0"
    assert {"title", "version"} <= DOCUMENT["info"].keys()
    assert DOCUMENT["defaultContentType"] == "application/json"
    for channel in DOCUMENT["channels"].values():
        assert {"address", "messages", "bindings"} <= channel.keys()
    for operation in DOCUMENT["operations"].values():
        assert operation["action"] in {"send", "receive"}
        assert {"channel", "messages"} <= operation.keys()


def test_every_reference_leads_somewhere() -> None:
    references = [value["$ref"] for value in walk(DOCUMENT) if "$ref" in value]
    assert len(references) > 100
    for reference in references:
        assert resolve(reference)


def test_every_topic_is_a_channel_under_its_own_name() -> None:
    assert sorted(channel["address"] for channel in DOCUMENT["channels"].values()) == sorted(topics.ALL)
    assert all(c["address"] == c["bindings"]["kafka"]["topic"] for c in DOCUMENT["channels"].values())


def test_every_message_type_is_on_exactly_one_channel() -> None:
    placed = [cls for channel in CHANNELS for cls in channel.messages]
    assert sorted(cls.type_name() for cls in placed) == sorted(cls.type_name() for cls in exported_classes())
    assert {message["name"] for message in MESSAGES.values()} == {*json_schemas(), "DeadLetter"}


def test_operations_only_speak_of_messages_of_their_channel() -> None:
    for operation in DOCUMENT["operations"].values():
        channel = operation["channel"]["$ref"]
        assert operation["messages"]
        assert all(message["$ref"].startswith(f"{channel}/messages/") for message in operation["messages"])
        for message in operation.get("reply", {}).get("messages", ()):
            assert message["$ref"].startswith("#/channels/replies/messages/")


def test_every_channel_has_somebody_who_sends_and_all_but_dead_letters_somebody_who_receives() -> None:
    done = {(operation["action"], operation["channel"]["$ref"]) for operation in DOCUMENT["operations"].values()}
    for name in DOCUMENT["channels"]:
        assert ("send", f"#/channels/{name}") in done
        assert name == "deadLetters" or ("receive", f"#/channels/{name}") in done


def test_commands_topics_and_replies_are_those_of_the_sagas_definition() -> None:
    topic_of = {cls: channel.topic for channel in CHANNELS for cls in channel.messages}
    answered: dict[str, set[type[Message]]] = {}
    for step in DEFINITION.steps:
        answered[step.topic] = answered.get(step.topic, set()) | set(step.replies)
        if step.undo is not None:
            answered[step.undo.topic] = answered.get(step.undo.topic, set()) | step.undo.replies
    documented: dict[str, set[type[Message]]] = {}
    for asked, replies in REPLIES_TO.items():
        documented[topic_of[asked]] = documented.get(topic_of[asked], set()) | set(replies)
    assert documented == answered
    assert {topic_of[DEFINITION.starts_on], topic_of[DEFINITION.cancels_on]} == {topics.REQUESTS}


@pytest.mark.parametrize("name", sorted(MESSAGES.keys() - {"DeadLetter"}))
def test_the_examples_of_a_message_fit_its_payload_headers_and_key(name: str) -> None:
    message = MESSAGES[name]
    (shown,) = message["examples"]
    validator(resolve(message["payload"]["$ref"])).validate(shown["payload"])
    validator(resolve(message["headers"]["$ref"])).validate(shown["headers"])
    validator(message["bindings"]["kafka"]["key"]).validate(BOOKING_ID)
    assert shown["headers"]["ce_type"] == message["name"]


def _record(message: Message, saga: SagaHeaders | None) -> dict[str, str]:
    envelope = Envelope("m-1", BOOKING_ID, message, 1, "/booking/test", None, "tenant=a", saga)
    sent = wire.encode(outgoing("a-topic", envelope, SPAN))
    return {name: value.decode() for name, value in sent.headers}


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda message: type(message).__name__)
def test_what_is_written_to_the_wire_has_the_headers_that_are_documented(message: Message) -> None:
    channel = next(channel for channel in CHANNELS if type(message) in channel.messages)
    places = {
        "CommandHeaders": SagaHeaders(1, "step", 1, "c-1", SPAN, SPAN),
        "ReplyHeaders": SagaHeaders(1, "step", 1, "c-1"),
        "EventHeaders": SagaHeaders(1, "announce", 1, "c-1", SPAN),
    }
    written = _record(message, places.get(channel.headers))
    schema = headers.header_schemas()[channel.headers]
    Draft7Validator(schema, format_checker=FormatChecker()).validate(written)
    assert written.keys() <= schema["properties"].keys(), "nothing is written that is not documented"


def test_every_header_of_the_wire_is_documented_and_no_other() -> None:
    names = {value for name, value in vars(wire).items() if name.isupper() and isinstance(value, str)}
    documented = {*headers.CLOUD_EVENT, *headers.TRACE, *headers.SAGA, *headers.PLACE}
    assert documented == {name for name in names if name.startswith(("ce_", "trace", "baggage", "content-"))}


def test_every_header_of_a_dead_letter_is_documented_and_no_other() -> None:
    names = {value for name, value in vars(deadletter).items() if name.isupper() and isinstance(value, str)}
    assert set(headers.DEAD_LETTER) == {name for name in names if name.startswith("dlq_")}


def test_only_the_type_is_asked_of_a_foreign_publisher() -> None:
    assert headers.header_schemas()["RequestHeaders"]["required"] == ["ce_type"]


def test_the_document_holds_nothing_of_this_machine_and_no_card_number() -> None:
    text = render(DOCUMENT)
    assert str(Path(schemas.__file__).parents[1]) not in text
    assert "localhost" not in text
    assert "4242424242424242" not in text
