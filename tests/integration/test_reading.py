"""The typed reader: pages agree with what a plain sort and filter say, whatever the times, statuses and ids."""

from __future__ import annotations

import random
from itertools import product

import asyncpg
import pytest

from saga.database import Schemas
from saga.engine.state import Status
from saga.errors import SagaError
from saga.settings import Settings
from saga.store.reading import Cursor, Filter, Reader, Summary, open_reader

INSERT = """
INSERT INTO {{saga}}.sagas (id, definition, version, status, step, epoch, error_type, trace_id, started_us, updated_us,
                            ended_us, state)
SELECT id, 'booking', 1, status, '', 1, error_type, '0', started_us, started_us, 0, '{}'
FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[]) AS t(id, status, error_type, started_us)
"""


@pytest.fixture
async def stored(settings: Settings, database: asyncpg.Pool[asyncpg.Record]) -> list[Summary]:
    """Two hundred sagas, many of which began in the same microsecond; newest first."""
    dice = random.Random(5)
    sagas = []
    for number in dice.sample(range(1_000), 200):
        status = dice.choice(list(Status))
        error = dice.choice(["timeout", "payment_declined"]) if status not in {"RUNNING", "CONFIRMED"} else ""
        started = dice.randrange(30)
        sagas.append(Summary(f"bk.{number}", status, "", error, "0", started, started, 0))
    columns = zip(*((one.id, one.status.value, one.error_type, one.started_us) for one in sagas), strict=True)
    await database.execute(Schemas(settings.schema_prefix).fill(INSERT), *map(list, columns))
    return sorted(sagas, key=lambda one: (one.started_us, one.id), reverse=True)


async def all_pages(reader: Reader, wanted: Filter, limit: int) -> list[Summary]:
    found: list[Summary] = []
    after: Cursor | None = None
    while True:
        page = await reader.page(wanted, limit=limit, after=after)
        assert len(page.sagas) <= limit
        found += page.sagas
        if page.after is None:
            return found
        after = Cursor.parse(str(page.after))


async def test_pages_agree_with_a_plain_filter(stored: list[Summary], settings: Settings) -> None:
    live = (Status.RUNNING, Status.COMPENSATING)
    choices = ((), live, (Status.FAILED,), (Status.CONFIRMED, Status.FAILED), (Status.NEEDS_ATTENTION,), tuple(Status))
    async with open_reader(settings) as reader:
        for statuses, errors, (since, until) in product(choices, ((), ("timeout",)), ((0, 99), (10, 20), (25, 3))):
            expected = [
                one
                for one in stored
                if (not statuses or one.status in statuses)
                and (not errors or one.error_type in errors)
                and since <= one.started_us <= until
            ]
            wanted = Filter(statuses, errors, since, until)
            assert await all_pages(reader, wanted, 7) == expected
            assert await all_pages(reader, wanted, 500) == expected


async def test_outcomes_leave_out_those_that_do_not_exist(stored: list[Summary], settings: Settings) -> None:
    async with open_reader(settings) as reader:
        asked = [one.id for one in stored[:3]]
        assert await reader.outcomes([*asked, "bk.none"]) == {one.id: one for one in stored[:3]}
        assert await reader.outcomes([]) == {}


async def test_a_saga_that_does_not_exist_is_none(database: object, settings: Settings) -> None:
    async with open_reader(settings) as reader:
        assert await reader.find("bk.none") is None
        assert await reader.history("bk.none") == ()


async def test_tables_that_are_not_there_are_said_to_be_missing(settings: Settings) -> None:
    async with open_reader(settings) as reader:
        with pytest.raises(SagaError, match="not there yet"):
            await reader.page(Filter())


@pytest.mark.parametrize("text", ["", "5", "5.", ".x", "x.5", "\u0665.x", "9" * 30 + ".x"])
def test_what_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no cursor"):
        Cursor.parse(text)
