"""Every message type as JSON Schema (draft 2020-12), for those who do not read Python.

The exported files are committed under ``schemas/json``; a test keeps them equal to the models, and
:mod:`schemas.compatibility` refuses changes that would break somebody on a topic.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

from schemas.base import Message, message_classes

Schema = dict[str, Any]

DIALECT = GenerateJsonSchema.schema_dialect
_ROLE = re.compile(r":[a-z]+:`~?([^`]+)`")
_LITERAL = re.compile(r"``([^`]+)``")


class PlainSchema(GenerateJsonSchema):
    """Pydantic's schema without the titles that only repeat a field's name, and without markup in its texts."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        """No."""
        return False

    def sort(self, value: JsonSchemaValue, parent_key: str | None = None) -> JsonSchemaValue:
        """Sort keys as ever; on the way, turn docstrings into plain text."""
        plain: JsonSchemaValue = _plain(super().sort(value, parent_key))
        return plain


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: plain_text(item) if key == "description" and isinstance(item, str) else _plain(item)
            for key, item in value.items()
        }
    return [_plain(item) for item in value] if isinstance(value, list) else value


def plain_text(documentation: str) -> str:
    """A docstring as one paragraph without reStructuredText."""
    text = " ".join(documentation.split())
    return _LITERAL.sub(r"`\1`", _ROLE.sub(r"`\1`", text))


def exported_classes() -> tuple[type[Message], ...]:
    """Every message that travels: registered, and of this package (tests register their own)."""
    return tuple(cls for cls in message_classes() if cls.__module__.partition(".")[0] == __package__)


def json_schema(cls: type[Message]) -> Schema:
    """The schema of one message type."""
    schema = cls.model_json_schema(schema_generator=PlainSchema)
    return {"$schema": DIALECT, "$id": f"urn:booking-saga:{cls.type_name()}", **schema}


def json_schemas() -> dict[str, Schema]:
    """The schema of every message type, by ``ce_type``."""
    return {cls.type_name(): json_schema(cls) for cls in exported_classes()}


def committed_schemas() -> dict[str, Schema]:
    """The schemas as committed, by ``ce_type``."""
    folder = resources.files(__package__) / "json"
    if not folder.is_dir():
        return {}
    return {
        entry.name.removesuffix(".json"): json.loads(entry.read_text("utf-8"))
        for entry in folder.iterdir()
        if entry.name.endswith(".json")
    }


def committed_asyncapi() -> dict[str, Any]:
    """The AsyncAPI document as committed; empty where there is none."""
    path = resources.files(__package__) / "asyncapi.json"
    return dict(json.loads(path.read_text("utf-8"))) if path.is_file() else {}


def read_schemas(folder: Path) -> dict[str, Schema]:
    """The schemas exported to ``folder``, by ``ce_type``. Raises :class:`ValueError` where one is not JSON."""
    return {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(folder.glob("booking.*.json"))}


def render(document: Mapping[str, Any]) -> str:
    """The one way in which a document is written: sorted keys, two spaces, a newline at the end."""
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def write_schemas(folder: Path) -> list[Path]:
    """Write every schema to ``folder``, and remove those of types that are no more; returns what was written."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for ce_type, schema in json_schemas().items():
        path = folder / f"{ce_type}.json"
        path.write_text(render(schema), "utf-8")
        written.append(path)
    for stale in set(folder.glob("booking.*.json")) - set(written):
        stale.unlink()
    return written
