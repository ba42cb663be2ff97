"""What an empty stack needs before services start on it: tables, topics, and rooms to book."""

from __future__ import annotations

from typing import TYPE_CHECKING

from saga.stacks.base import Progress, silent

if TYPE_CHECKING:
    from saga.settings import Settings


async def prepare(settings: Settings, *, seed: bool, progress: Progress = silent) -> None:
    """Apply all migrations, create missing topics and, with ``seed``, load the sample catalogue. Safe to repeat.

    Raises :class:`saga.errors.Unreachable` when the broker or the database does not answer.
    """
    from saga.database import migrate
    from saga.messaging.topics import ensure_topics
    from schemas.topics import ALL

    progress("creating tables")
    await migrate(settings)
    progress("creating topics")
    await ensure_topics(settings, ALL)
    if seed:
        from saga.seeding import SeedSource, load_seeder

        progress("loading the sample catalogue")
        await load_seeder().load(settings, SeedSource())
