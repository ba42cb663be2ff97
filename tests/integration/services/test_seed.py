"""``saga seed``: the catalogue in the database, by the command itself."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import date
from pathlib import Path

import asyncpg
import pytest
from click.testing import CliRunner, Result

from saga.cli.seed import command
from saga.database import Schemas, connect_pool
from saga.errors import DatabaseUnreachable, UsageError
from saga.seeding import load_seeder
from saga.settings import Settings
from tests.support.services import pricing_running
from workers.pricing.client import PricingClient
from workers.pricing.messages import QuoteRequest, Quotes
from workers.seeding import CatalogueSeeder

Run = Callable[..., Result]


@pytest.fixture
def run(settings: Settings) -> Run:
    def invoke(*arguments: str) -> Result:
        environment = {
            "SAGA_DATABASE_URL": settings.database_url.get_secret_value(),
            "SAGA_SCHEMA_PREFIX": settings.schema_prefix,
        }
        return CliRunner().invoke(command, arguments, env=environment)

    return invoke


async def counts(settings: Settings) -> tuple[int, int, int]:
    schemas = Schemas(settings.schema_prefix)
    async with await connect_pool(settings, role="test", max_size=1) as pool:
        return (
            await pool.fetchval(f"SELECT count(*) FROM {schemas['inventory']}.properties"),
            await pool.fetchval(f"SELECT count(*) FROM {schemas['inventory']}.rooms"),
            await pool.fetchval(f"SELECT count(*) FROM {schemas['pricing']}.room_rates"),
        )


async def test_the_sample_is_loaded_and_loading_it_again_changes_nothing(settings: Settings, run: Run) -> None:
    for _ in range(2):
        result = await asyncio.to_thread(run, "--json")
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout) == {"properties": 40, "rooms": 1200, "rates": 1200, "bad_rows": []}
        assert await counts(settings) == (40, 1200, 1200)


async def test_every_room_that_was_seeded_can_be_priced(settings: Settings, run: Run) -> None:
    await asyncio.to_thread(run)
    schemas = Schemas(settings.schema_prefix)
    async with pricing_running(settings) as pricing, PricingClient(pricing.url) as client:
        rooms = await pricing.pool.fetch(
            f"SELECT property_id, json_agg(json_build_object('room_id', room_id, 'room_type', room_type)) "
            f"FROM {schemas['inventory']}.rooms GROUP BY property_id"
        )
        for property_id, offers in rooms:
            request = QuoteRequest.model_validate(
                {
                    "property_id": property_id,
                    "check_in": date(2026, 7, 1),
                    "check_out": date(2026, 7, 4),
                    "guests": 2,
                    "currency": "EUR",
                    "offers": json.loads(offers)[:50],
                }
            )
            answer = await client.quotes(request)
            assert isinstance(answer, Quotes), answer
            assert all(1_000 < quote.total_amount < 1_000_000 for quote in answer.quotes)  # 10 to 10,000 euros


async def test_a_file_is_loaded_and_its_bad_rows_are_named(settings: Settings, run: Run, tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    exported = await asyncio.to_thread(run, "--properties", "3", "--rooms", "30", "--export", str(path))
    assert exported.exit_code == 0
    assert "written to" in exported.output
    lines = path.read_text("utf-8").splitlines()
    lines[4] = lines[4].replace(",FR,", ",France,")
    path.write_text("\n".join(lines) + "\n", "utf-8")
    result = await asyncio.to_thread(run, "--file", str(path), "--json")
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert (report["properties"], report["rooms"]) == (3, 29)
    (bad,) = report["bad_rows"]
    assert bad["where"] == "line 5"
    assert "country" in bad["reason"]
    spoken = await asyncio.to_thread(run, "--file", str(path))
    assert "left out: line 5" in spoken.stderr
    assert "29 rooms" in spoken.stdout


async def test_a_changed_catalogue_updates_what_is_there_and_leaves_the_rest(settings: Settings, run: Run) -> None:
    await asyncio.to_thread(run, "--properties", "2", "--rooms", "20")
    await asyncio.to_thread(run, "--properties", "1", "--rooms", "10", "--seed", "2")
    properties, rooms, rates = await counts(settings)
    assert properties >= 2
    assert rooms >= 20
    assert rates == rooms


async def test_wrong_use_and_absent_databases_say_what_to_do(run: Run, settings: Settings) -> None:
    assert run("--properties", "0").exit_code == 2
    nowhere = await asyncio.to_thread(run, "--file", "nowhere.csv")
    assert isinstance(nowhere.exception, UsageError)
    same = await asyncio.to_thread(run, "--file", "x.csv", "--export", "x.csv")
    assert isinstance(same.exception, UsageError)
    elsewhere = {"SAGA_DATABASE_URL": "postgresql://127.0.0.1:1/postgres"}
    away = await asyncio.to_thread(CliRunner().invoke, command, env=elsewhere)
    assert isinstance(away.exception, DatabaseUnreachable)
    assert "Examples:" in run("--help").output


def test_the_seeder_is_found_by_its_entry_point() -> None:
    assert isinstance(load_seeder(), CatalogueSeeder)


async def test_a_night_of_a_room_cannot_be_sold_twice(settings: Settings, run: Run) -> None:
    await asyncio.to_thread(run)
    sold = f"{Schemas(settings.schema_prefix)['inventory']}.sold_nights"
    sql = f"INSERT INTO {sold} (property_id, room_id, night, booking_id) VALUES ('htl-001', '101', '2026-05-01', $1)"
    async with await connect_pool(settings, role="test", max_size=1) as pool:
        await pool.execute(sql, "bk-1")
        with pytest.raises(asyncpg.UniqueViolationError):
            await pool.execute(sql, "bk-2")
