"""A whole running saga for the verbs to talk to, shared by the tests of this folder, and a way to type at it."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from saga.cli.main import invoke
from saga.settings import Settings
from saga.stacks.environment import variables_of
from saga.stacks.prepare import prepare
from saga.stacks.services import Services
from tests.support.stacks import StartedStack, delete_topics, drop_schemas, isolated_settings


@dataclass(frozen=True, slots=True)
class Said:
    """What one command line came to."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed for programs."""
        return json.loads(self.out)


Saga = Callable[..., Said]


@pytest.fixture(scope="package")
def house(stack: StartedStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """Every role on a catalogue of forty hotels. Spans leave their processes at once."""
    settings = isolated_settings(stack.endpoints)
    try:
        asyncio.run(prepare(settings, seed=True))
        quick = {**variables_of(settings), "OTEL_BSP_SCHEDULE_DELAY": "50"}
        with Services(quick, tmp_path_factory.mktemp("house")) as services:
            yield services
        asyncio.run(delete_topics(settings))
    finally:
        drop_schemas(settings)


@pytest.fixture
def settings(house: Services) -> Settings:
    """Where everything of the house is."""
    return house.settings


@pytest.fixture
def saga(house: Services, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Saga:
    """Type a command line at the house: ``saga("publish", "--wait", SAGA_OTLP_ENDPOINT="")``."""
    for name in [name for name in os.environ if name.startswith("SAGA_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SAGA_HOME", str(tmp_path / "home"))
    environment: Mapping[str, str] = house.environment

    def run(*words: str, **variables: str) -> Said:
        with monkeypatch.context() as patched:
            for name, value in {**environment, **variables}.items():
                patched.setenv(name, value)
            code = invoke(words)
        said = capsys.readouterr()
        return Said(code, said.out, said.err)

    return run
