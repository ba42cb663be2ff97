"""One set of schemas per module: these tests name their own keys, and migrating for each would take longer than it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest_asyncio

from tests.support.stacks import drop_schemas, isolated_settings

if TYPE_CHECKING:
    from saga.settings import Settings
    from tests.support.stacks import StartedStack


@pytest_asyncio.fixture(scope="module")
async def settings(stack: StartedStack) -> AsyncIterator[Settings]:
    """Settings with a schema prefix of the module's own; each test migrates what it uses."""
    mine = isolated_settings(stack.endpoints)
    yield mine
    await asyncio.to_thread(drop_schemas, mine)
