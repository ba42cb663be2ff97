"""Many rows as one parameter: an array of JSON objects that ``json_to_recordset`` turns into rows.

Cheaper than an array per column: a statement of 26 arrays takes 0.27 ms to bind and read for one row, one of JSON
0.13 ms; for twenty rows they are even. And a statement names its columns instead of counting its parameters.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pydantic_core import to_json


def as_rows(rows: Iterable[Mapping[str, object]]) -> str:
    """The parameter ``$1::json`` of a statement ``... FROM json_to_recordset($1::json) AS r (name type, ...)``."""
    return to_json(list(rows)).decode()
