"""SQL as named, described statements in one place per owner.

A ``.sql`` file next to the code holds blocks::

    -- name: acquire
    -- what: take the lock if no live one overlaps
    INSERT INTO {{locking}}.locks ...;

``{{owner}}`` becomes the owner's schema under the environment's prefix, so that a drill's schemas and the live ones
never meet. (The habit is procrastinate's.)
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources

_BLOCK = re.compile(
    r"^-- name: (?P<name>[a-z_]+)\n-- what: (?P<what>.+)\n(?P<sql>(?:(?!-- name: ).*\n?)+)", re.MULTILINE
)
_SCHEMA = re.compile(r"\{\{([a-z_]+)\}\}")


@dataclass(frozen=True, slots=True)
class Schemas:
    """Names of the owners' schemas in one environment: ``Schemas("drill_")["locking"] == '"drill_locking"'``."""

    prefix: str = ""
    aliases: tuple[tuple[str, str], ...] = ()
    """Other names for owners, for statements that several of them share: ``(("owner", "locking"),)``."""

    def name(self, owner: str) -> str:
        """The bare schema name, for catalogues and ``search_path``."""
        return f"{self.prefix}{dict(self.aliases).get(owner, owner)}"

    def __getitem__(self, owner: str) -> str:
        return f'"{self.name(owner)}"'

    def fill(self, sql: str) -> str:
        """``sql`` with every ``{{owner}}`` replaced by its quoted schema."""
        return _SCHEMA.sub(lambda match: self[match.group(1)], sql)


class Statements(Mapping[str, str]):
    """The statements of one file, ready to run in one environment."""

    def __init__(self, statements: dict[str, str], described: dict[str, str]) -> None:
        self._statements = statements
        self.described = described

    @classmethod
    def load(cls, package: str, filename: str, schemas: Schemas) -> Statements:
        """Read ``filename`` from ``package``. Raises ``ValueError`` for a file with text outside named blocks."""
        text = resources.files(package).joinpath(filename).read_text("utf-8")
        statements: dict[str, str] = {}
        described: dict[str, str] = {}
        rest = text
        for match in _BLOCK.finditer(text):
            name = match["name"]
            if name in statements:
                raise ValueError(f"{package}/{filename}: statement {name!r} is there twice; rename one")
            statements[name] = schemas.fill(match["sql"].strip().removesuffix(";"))
            described[name] = match["what"]
            rest = rest.replace(match.group(0), "", 1)
        if rest.strip():
            raise ValueError(f"{package}/{filename}: text outside '-- name: / -- what:' blocks: {rest.strip()[:80]!r}")
        return cls(statements, described)

    def __getitem__(self, name: str) -> str:
        return self._statements[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._statements)

    def __len__(self) -> int:
        return len(self._statements)
