"""``docs/extending.md`` can be followed: what it says to write is written into a copy of the sources, and run there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COPIED = ("schemas", "saga", "workers", "tests", "pyproject.toml")

_BLOCKS = re.compile(r"^```(?:python|sql)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PAGE = (ROOT / "docs" / "extending.md").read_text("utf-8")


def block(containing: str) -> str:
    """The one piece of code on the page that begins with, or else holds, these words."""
    blocks = _BLOCKS.findall(_PAGE)
    found = [code for code in blocks if code.lstrip().startswith(containing)]
    found = found or [code for code in blocks if containing in code]
    assert len(found) == 1, f"{len(found)} pieces of code on the page hold {containing!r}"
    return str(found[0])


class Copy:
    """A copy of the sources that is being edited."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, directory / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, directory / name)

    def create(self, name: str, code: str) -> None:
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code, "utf-8")

    def append(self, name: str, code: str) -> None:
        self.create(name, f"{(self.directory / name).read_text('utf-8')}\n\n{code}")

    def before(self, name: str, anchor: str, code: str) -> None:
        self.replace(name, anchor, code + anchor)

    def after(self, name: str, anchor: str, code: str) -> None:
        self.replace(name, anchor, anchor + code)

    def replace(self, name: str, old: str, new: str) -> None:
        """Change the first place of ``old``."""
        text = (self.directory / name).read_text("utf-8")
        assert old in text, f"{name} no longer holds {old!r}; look at what docs/extending.md says about it"
        self.create(name, text.replace(old, new, 1))

    def run(self, *arguments: str) -> str:
        """Run Python on the copy."""
        environment = {**os.environ, "PYTHONPATH": str(self.directory)}
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.directory,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{' '.join(arguments)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    """The sources with everything that the page says, in its order."""
    copy = Copy(tmp_path_factory.mktemp("extended"))
    _write_messages(copy)
    _write_definition(copy)
    for name in ("__init__.py", "handler.py", "role.py", "migrations/0001_parking.sql", "sql/parking.sql"):
        copy.create(f"workers/parking/{name}", block(_FIRST_LINES[name]))
    copy.create("tests/unit/machine/test_parking_space.py", block('"""A parking space is reserved before'))
    return copy


_FIRST_LINES = {
    "__init__.py": '"""Parking spaces: one for each',
    "handler.py": '"""The parking worker',
    "role.py": '"""The role ``parking``',
    "migrations/0001_parking.sql": "-- One row per reservation",
    "sql/parking.sql": "-- name: queue",
}


def _write_messages(copy: Copy) -> None:
    copy.append("schemas/commands.py", block("class ReserveParking"))
    copy.append("schemas/replies.py", block("class ParkingReserved"))
    copy.after("schemas/requests.py", '    source: Source = "api"\n', block("parking: bool = Field"))
    copy.before("schemas/topics.py", "CONFIRMATION =", block("PARKING ="))
    copy.replace("schemas/topics.py", "LOCKING, PAYMENT,", "LOCKING, PARKING, PAYMENT,")
    asyncapi = "schemas/asyncapi.py"
    copy.before(asyncapi, "    commands.ProcessPayment: (", block("commands.ReserveParking: (replies"))
    copy.before(asyncapi, '    _commands("payment"', block('_commands("parking"'))
    copy.before(asyncapi, '    commands.ProcessPayment: "', block('commands.ReserveParking: "'))
    copy.replace(asyncapi, '("availability", "locking", "payment"', '("availability", "locking", "parking", "payment"')
    examples = "EXAMPLES: tuple[Message, ...] = (\n"
    copy.after("schemas/examples.py", examples, block("commands.ReserveParking(booking_id=BOOKING_ID"))


def _write_definition(copy: Copy) -> None:
    booking = "saga/booking.py"
    copy.after(booking, "    source: str\n", block("parking: bool = False"))
    copy.after(booking, "        source=request.source,\n", "        parking=request.parking,\n")
    copy.before(booking, "def _process_payment(", block("def _reserve_parking") + "\n\n")
    copy.before(booking, "def _paid(", block("def _parking_reserved") + "\n\n")
    copy.before(booking, '        compensatable("process_payment")', block('compensatable("reserve_parking")'))
    copy.replace(booking, "    version=1,\n", block("version=2,"))
    copy.replace(
        booking, "DEFINITIONS = {(DEFINITION.name, DEFINITION.version): DEFINITION}\n", block("_WITHOUT_PARKING")
    )
    copy.before(booking, "from datetime import date\n", "from dataclasses import replace\n")


def test_the_pages_own_sentences_about_the_saga_hold(copy: Copy) -> None:
    told = copy.run("-m", "pytest", "-q", "tests/unit/machine/test_parking_space.py", "-p", "no:cacheprovider")
    assert "3 passed" in told


def test_the_pages_worker_can_be_loaded_with_its_statements(copy: Copy) -> None:
    copy.run(
        "-c",
        "import workers.parking.role\n"
        "from saga.database import Schemas\n"
        "from workers.parking.handler import ParkingHandler\n"
        "assert len(ParkingHandler(Schemas('drill_')).handles) == 2",
    )


def test_the_pages_messages_are_a_compatible_change_that_can_be_exported(copy: Copy) -> None:
    cli = ("-m", "saga.cli.main", "schema")
    copy.run(*cli, "export", "schemas/json")
    copy.run(*cli, "asyncapi", "--output", "schemas/asyncapi.json")
    assert copy.run(*cli, "check") in _PAGE


def test_a_stored_saga_of_the_old_version_still_has_its_definition(copy: Copy) -> None:
    told = copy.run(
        "-c",
        "from saga.booking import DEFINITIONS\n"
        "for (name, version), one in sorted(DEFINITIONS.items()):\n"
        "    print(name, version, len(one.steps))",
    )
    assert told.split() == ["booking", "1", "4", "booking", "2", "5"]
