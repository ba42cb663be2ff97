"""A command line without anything behind it: nothing listens where broker, database and services should be."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from saga.cli.main import invoke


@dataclass(frozen=True, slots=True)
class Said:
    """What one command line came to."""

    code: int
    out: str
    err: str


Say = Callable[..., Said]


@pytest.fixture(autouse=True)
def nothing_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[int]:
    """No variables of whoever runs the tests, no running environment, and a port at which nobody will ever answer."""
    for variable in [name for name in os.environ if name.startswith("SAGA_")]:
        monkeypatch.delenv(variable)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused, and nobody else gets it
        port: int = taken.getsockname()[1]
        monkeypatch.setenv("SAGA_HOME", str(tmp_path / "home"))
        monkeypatch.setenv("SAGA_BROKERS", f"127.0.0.1:{port}")
        monkeypatch.setenv("SAGA_DATABASE_URL", f"postgresql://saga:s3cret-word@127.0.0.1:{port}/saga")
        monkeypatch.setenv("SAGA_PRICING_URL", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("SAGA_PROVIDER_URL", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("SAGA_SMTP_PORT", str(port))
        yield port


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    """Run a command line in this process: ``say("publish", "--count", "3")``."""

    def run(*words: str) -> Said:
        code = invoke(words)
        captured = capsys.readouterr()
        return Said(code, captured.out, captured.err)

    return run
