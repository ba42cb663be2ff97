"""Versioned SQL migrations: yoyo applies them, an advisory lock keeps two processes from doing it at once.

Each owner's ``migrations/NNNN_name.sql`` files are written without schema names: they run with ``search_path`` set to
the owner's schema (under the environment's prefix), then ``public``. yoyo's own lock table survives a killed process,
so it is not used; a transaction-scoped advisory lock disappears with its session.
"""

from __future__ import annotations

import asyncio
import zlib
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from saga.database.statements import Schemas
from saga.errors import DatabaseUnreachable, UsageError

if TYPE_CHECKING:
    from saga.settings import Settings

_GROUP = "booking_saga.migrations"
_SHARED = Path(__file__).parent / "shared"
"""Tables that several owners have alike; a package names those it wants in ``SHARES``."""


def owners() -> tuple[str, ...]:
    """Everyone who owns tables, in a stable order."""
    return tuple(sorted(point.name for point in entry_points(group=_GROUP)))


async def migrate(settings: Settings, *names: str) -> list[str]:
    """Bring the schemas of ``names`` (all owners when empty) up to date; returns the migrations applied now.

    Safe to run twice, and by several processes at once. Raises :class:`DatabaseUnreachable`.
    """
    return await asyncio.to_thread(_migrate, settings, names or owners(), apply=True)


async def pending(settings: Settings) -> list[str]:
    """Migrations not yet applied, as ``owner/NNNN_name``. Raises :class:`DatabaseUnreachable`."""
    return await asyncio.to_thread(_migrate, settings, owners(), apply=False)


def _folders(owner: str) -> list[str]:
    points = [point for point in entry_points(group=_GROUP) if point.name == owner]
    if not points:
        raise UsageError(f"nobody owns a schema called {owner!r}; the owners are {', '.join(owners())}")
    module = import_module(points[0].value)
    assert module.__file__ is not None
    shared = [str(_SHARED / name) for name in getattr(module, "SHARES", ())]
    return [*shared, str(Path(module.__file__).parent / "migrations")]


def _migrate(settings: Settings, names: tuple[str, ...], *, apply: bool) -> list[str]:
    import psycopg  # imported late: only migrating needs it

    url = settings.database_url.get_secret_value()
    schemas = Schemas(settings.schema_prefix)
    done: list[str] = []
    try:
        with psycopg.connect(url, autocommit=True) as guard:
            # Released with the session, whatever becomes of this process.
            guard.execute("SELECT pg_advisory_lock(%s)", (zlib.crc32(b"booking-saga migrations"),))
            if apply:
                guard.execute("CREATE EXTENSION IF NOT EXISTS btree_gist SCHEMA public")
            for owner in names:
                if apply:
                    guard.execute(f"CREATE SCHEMA IF NOT EXISTS {schemas[owner]}".encode())
                done += [f"{owner}/{name}" for name in _apply(url, schemas.name(owner), _folders(owner), apply=apply)]
    except psycopg.OperationalError as error:
        raise DatabaseUnreachable(
            f"cannot migrate: PostgreSQL does not answer ({error}); check SAGA_DATABASE_URL, or run `saga up`"
        ) from error
    return done


def _apply(url: str, schema: str, folders: list[str], *, apply: bool) -> list[str]:
    from yoyo import get_backend, read_migrations

    backend: Any = get_backend(_yoyo_url(url, schema))
    try:
        migrations = backend.to_apply(read_migrations(*folders))
        ids = [str(migration.id) for migration in migrations]
        if apply and ids:
            backend.apply_migrations(migrations)
        return ids
    finally:
        backend.connection.close()


def _yoyo_url(url: str, schema: str) -> str:
    parts = urlsplit(url)
    query = [*parse_qsl(parts.query), ("options", f"-csearch_path={schema},public -cclient_min_messages=warning")]
    return urlunsplit(("postgresql+psycopg", parts.netloc, parts.path, urlencode(query, quote_via=quote), ""))
