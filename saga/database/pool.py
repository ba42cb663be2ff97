"""Connections to PostgreSQL: one pool per role, sized for its work, cheap to borrow from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import asyncpg

from saga.errors import DatabaseUnreachable

if TYPE_CHECKING:
    from saga.settings import Settings


Connection: TypeAlias = "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
"""A connection borrowed from a pool."""


class _Connection(asyncpg.Connection):
    """A connection that is not reset when it goes back to the pool, and whose loss is always told as such.

    Nothing session-wide is ever set on a pooled connection (no ``SET``, no ``LISTEN``, no advisory session locks), so
    the reset's extra round trip, which halves the rate of short queries, buys nothing.

    Between a server's last words ("terminating connection") and the end of the connection asyncpg calls every use of it
    an internal error. Nothing was sent, so to everybody here it is a connection that is lost.
    """

    async def reset(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109  # asyncpg's signature
        """Do nothing; see the class."""

    async def execute(self, query: str, *args: Any, timeout: float | None = None) -> str:  # noqa: ASYNC109  # as above
        """See asyncpg."""
        try:
            return await super().execute(query, *args, timeout=timeout)
        except asyncpg.InternalClientError as error:
            raise _lost(error) from error

    async def _execute(self, *args: Any, **more: Any) -> Any:
        """What every query with arguments and every fetch goes through."""
        try:
            return await super()._execute(*args, **more)  # type: ignore[misc]  # the stubs leave out what is private
        except asyncpg.InternalClientError as error:
            raise _lost(error) from error


_BY_KEY = {
    # Our statements are few and take arrays: planning each anew costs more than running it.
    "plan_cache_mode": "force_generic_plan",
    # A plan made while a table is empty reads all of it, and would be kept while the table grows to a million rows.
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
}
"""For roles, all of whose statements look rows up by key."""


def _lost(error: Exception) -> asyncpg.InterfaceError:
    return asyncpg.InterfaceError(f"the connection is being closed by the server ({error})")


async def connect_pool(
    settings: Settings, *, role: str, min_size: int = 1, max_size: int = 4, reads_widely: bool = False
) -> asyncpg.Pool[asyncpg.Record]:
    """Open a pool whose sessions carry ``role`` as their application name.

    A session that stops in mid-transaction (a process that was suspended) gives its locks back after ten seconds.
    ``reads_widely``: the planner decides by the tables' sizes, for those who read whole tables; everybody else looks
    rows up by key. Raises :class:`DatabaseUnreachable`.
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
                **({} if reads_widely else _BY_KEY),
            },
        )
    except (OSError, TimeoutError, asyncpg.PostgresError) as error:
        raise DatabaseUnreachable(
            f"cannot open PostgreSQL for {role} ({type(error).__name__}: {error}); "
            "check SAGA_DATABASE_URL, or start a stack with `saga up`"
        ) from error
