"""Connections to PostgreSQL: one pool per role, sized for its work, cheap to borrow from."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import asyncpg

from saga.errors import DatabaseUnreachable

if TYPE_CHECKING:
    from saga.settings import Settings


Connection: TypeAlias = "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
"""A connection borrowed from a pool."""


class _Connection(asyncpg.Connection):
    """A connection that is not reset when it goes back to the pool.

    Nothing session-wide is ever set on a pooled connection (no ``SET``, no ``LISTEN``, no advisory session locks), so
    the reset's extra round trip, which halves the rate of short queries, buys nothing.
    """

    async def reset(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109  # asyncpg's signature
        """Do nothing; see the class."""


async def connect_pool(
    settings: Settings, *, role: str, min_size: int = 1, max_size: int = 4
) -> asyncpg.Pool[asyncpg.Record]:
    """Open a pool whose sessions carry ``role`` as their application name.

    A session that stops in mid-transaction (a process that was suspended) gives its locks back after ten seconds.
    Raises :class:`DatabaseUnreachable`.
    """
    try:
        return await asyncpg.create_pool(
            settings.database_url.get_secret_value(),
            min_size=min_size,
            max_size=max_size,
            timeout=15,
            command_timeout=60,
            connection_class=_Connection,
            server_settings={
                "application_name": f"booking-saga-{role}",
                "idle_in_transaction_session_timeout": "10000",
                "jit": "off",
                # Our statements are few and take arrays: planning each anew costs more than running it.
                "plan_cache_mode": "force_generic_plan",
            },
        )
    except (OSError, TimeoutError, asyncpg.PostgresError) as error:
        raise DatabaseUnreachable(
            f"cannot open PostgreSQL for {role} ({type(error).__name__}: {error}); "
            "check SAGA_DATABASE_URL, or start a stack with `saga up`"
        ) from error
