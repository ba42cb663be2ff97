"""Roles look rows up by key even where the planner, seeing an empty table, would rather read all of it."""

from __future__ import annotations

import pytest

from saga.database import connect_pool
from saga.settings import Settings
from tests.support.stacks import StartedStack, isolated_settings


@pytest.fixture
def settings(stack: StartedStack) -> Settings:
    return isolated_settings(stack.endpoints)


async def _plan(settings: Settings, *, reads_widely: bool) -> str:
    async with (
        await connect_pool(settings, role="tests", max_size=1, reads_widely=reads_widely) as pool,
        pool.acquire() as connection,
    ):
        await connection.execute("CREATE TEMPORARY TABLE few (id text PRIMARY KEY)")
        await connection.execute("INSERT INTO few VALUES ('a')")
        await connection.execute("ANALYZE few")
        rows = await connection.fetch("EXPLAIN SELECT * FROM few WHERE id = ANY ('{a,b}'::text[])")
        return "\n".join(row[0] for row in rows)


async def test_a_role_uses_the_index_of_a_table_that_is_nearly_empty(settings: Settings) -> None:
    assert "Index" in await _plan(settings, reads_widely=False)


async def test_who_reads_whole_tables_is_left_to_the_planner(settings: Settings) -> None:
    assert "Seq Scan" in await _plan(settings, reads_widely=True)
