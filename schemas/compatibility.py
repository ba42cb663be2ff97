"""Which changes to a message type would break somebody.

A topic's readers and writers are deployed apart, messages outlive both, and running sagas finish on the version they
started with. So a version must be readable *both ways*: by new readers what was written before, and by old readers
what is written now. A new optional field is fine; almost anything else is a new version beside the old one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

Schema = Mapping[str, Any]

# Said for people; they promise nothing.
_ANNOTATIONS = {"$defs", "$id", "$schema", "description", "examples", "title"}
# Handled by name below.
_STRUCTURE = {"$ref", "anyOf", "const", "enum", "items", "properties", "required"}
_LOWER_BOUNDS = {"minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"}
_UPPER_BOUNDS = {"maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"}

_OLD_DATA = "what was written before would be refused"
_OLD_READERS = "readers of the old version would refuse what is written now"
_MISSED = "readers of the old version rely on it"


def incompatibilities(old_schema: Schema, new_schema: Schema) -> list[str]:
    """Why ``new_schema`` may not replace ``old_schema`` under the same version; empty where it may.

    Both are JSON Schemas as :mod:`schemas.export` writes them. Each line names the place, the change and who breaks.
    """
    return list(_compare("body", _Node(old_schema, old_schema), _Node(new_schema, new_schema)))


def incompatible_types(old: Mapping[str, Schema], new: Mapping[str, Schema]) -> dict[str, list[str]]:
    """The same for whole sets of schemas by ``ce_type``; a new type is fine, one that is gone is not."""
    found = {}
    for ce_type, schema in sorted(old.items()):
        if ce_type not in new:
            found[ce_type] = ["the type is gone, but it is still on topics and in running sagas; keep it"]
        elif problems := incompatibilities(schema, new[ce_type]):
            found[ce_type] = problems
    return found


class _Node:
    """A schema within its document, so that references can be followed."""

    def __init__(self, schema: Schema, document: Schema) -> None:
        while "$ref" in schema:
            target: Any = document
            for part in schema["$ref"].removeprefix("#/").split("/"):
                target = target[part]
            # What stands beside a reference (a default) belongs to the place, not to the target.
            schema = {**target, **{key: value for key, value in schema.items() if key != "$ref"}}
        self.schema = schema
        self._document = document

    def child(self, schema: Schema) -> _Node:
        return _Node(schema, self._document)

    def variants(self) -> dict[str, _Node]:
        """The alternatives of a union by what tells them apart; a plain schema is its own only one."""
        choices = [self.child(choice) for choice in self.schema.get("anyOf", ())] or [self]
        kinds = [choice.kind() for choice in choices]
        return {
            kind if kinds.count(kind) == 1 else f"{kind} {choice.schema.get('title', '')}".strip(): choice
            for kind, choice in zip(kinds, choices, strict=True)
        }

    def kind(self) -> str:
        schema = self.schema
        if "type" not in schema and ("const" in schema or "enum" in schema):
            return "enum"
        return str(schema.get("type", "anything"))


def _compare(place: str, old: _Node, new: _Node) -> Iterator[str]:
    yield from _default(place, old.schema, new.schema)
    before, after = old.variants(), new.variants()
    for kind in sorted(before.keys() - after.keys()):
        # Every integer is a number, so a reader of numbers reads what was written as integers.
        if not (kind == "integer" and "number" in after):
            yield f"{place}: it may no longer be {kind}; {_OLD_DATA}"
    for kind in sorted(after.keys() - before.keys()):
        if not (kind == "integer" and "number" in before):
            yield f"{place}: it may now be {kind}; {_OLD_READERS}"
    for kind in sorted(before.keys() & after.keys()):
        yield from _fields(place, before[kind], after[kind])
        yield from _choices(place, before[kind].schema, after[kind].schema)
        yield from _bounds(place, before[kind].schema, after[kind].schema)
        yield from _rest(place, before[kind].schema, after[kind].schema)
        if "items" in before[kind].schema and "items" in after[kind].schema:
            items = before[kind].child(before[kind].schema["items"]), after[kind].child(after[kind].schema["items"])
            yield from _compare(f"{place}[]", *items)


def _fields(place: str, old: _Node, new: _Node) -> Iterator[str]:
    before, after = old.schema.get("properties", {}), new.schema.get("properties", {})
    required_before, required_after = set(old.schema.get("required", ())), set(new.schema.get("required", ()))
    for name in sorted(before.keys() - after.keys()):
        yield f"{place}.{name}: the field is gone; {_MISSED}"
    for name in sorted(required_after - before.keys()):
        yield f"{place}.{name}: a new field is required; {_OLD_DATA}"
    for name in sorted(before.keys() & after.keys()):
        if name in required_after - required_before:
            yield f"{place}.{name}: the field is now required; {_OLD_DATA}"
        if name in required_before - required_after:
            yield f"{place}.{name}: the field is no longer required; {_MISSED}"
        yield from _compare(f"{place}.{name}", old.child(before[name]), new.child(after[name]))


def _default(place: str, old: Schema, new: Schema) -> Iterator[str]:
    # A default that comes or goes is a matter of `required`.
    if "default" in old and "default" in new and old["default"] != new["default"]:
        change = f"{json.dumps(old['default'])} to {json.dumps(new['default'])}"
        yield f"{place}: the default went from {change}; where it was left out, it would now mean something else"


def _choices(place: str, old: Schema, new: Schema) -> Iterator[str]:
    before, after = _values(old), _values(new)
    if before == after:
        return
    if before is None:
        yield f"{place}: only certain values are allowed now; {_OLD_DATA}"
        return
    if after is None:
        yield f"{place}: any value is allowed now; {_OLD_READERS}"
        return
    if gone := sorted(before - after):
        yield f"{place}: {', '.join(gone)} may no longer be used; {_OLD_DATA}"
    if added := sorted(after - before):
        yield f"{place}: {', '.join(added)} may now be used; {_OLD_READERS}"


def _values(schema: Schema) -> set[str] | None:
    if "const" in schema:
        return {json.dumps(schema["const"])}
    return {json.dumps(value) for value in schema["enum"]} if "enum" in schema else None


def _bounds(place: str, old: Schema, new: Schema) -> Iterator[str]:
    for bound in sorted((_LOWER_BOUNDS | _UPPER_BOUNDS) & (old.keys() | new.keys())):
        before, after = old.get(bound), new.get(bound)
        if before == after:
            continue
        change = f"{bound} went from {'none' if before is None else before} to {'none' if after is None else after}"
        if before is None:
            narrower = True
        elif after is None:
            narrower = False
        else:
            narrower = after > before if bound in _LOWER_BOUNDS else after < before
        yield f"{place}: {change}; {_OLD_DATA if narrower else _OLD_READERS}"


def _rest(place: str, old: Schema, new: Schema) -> Iterator[str]:
    known = _ANNOTATIONS | _STRUCTURE | _LOWER_BOUNDS | _UPPER_BOUNDS | {"default", "type"}
    for keyword in sorted((old.keys() | new.keys()) - known):
        before, after = old.get(keyword), new.get(keyword)
        if before != after:
            yield f"{place}: {keyword} changed from {json.dumps(before)} to {json.dumps(after)}; give it a new version"
