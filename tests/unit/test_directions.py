"""Imports go one way, ``schemas`` <- ``saga`` <- ``workers``, and the engine knows nothing of bookings.

Read from the source, so that imports inside functions and under ``TYPE_CHECKING`` count too.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BOOKING_SPECIFIC = {
    "saga.booking",
    "schemas.commands",
    "schemas.events",
    "schemas.replies",
    "schemas.requests",
    "schemas.topics",
}
# Where the engine, the topics and the one definition are put together: somebody has to. Each with what it may name.
COMPOSITION = {
    "saga/orchestrator/role.py": {"saga.booking", "schemas.topics"},
    "saga/store/reading.py": {"saga.booking"},  # what operators read: stored states need their definitions
    "saga/messaging/consumer.py": {"schemas.topics"},  # every role makes sure that all topics exist
    "saga/messaging/deadletter.py": {"schemas.topics"},
    "saga/messaging/inbox.py": {"schemas.topics"},
}


def sources(*packages: str) -> Iterator[Path]:
    """Every module of these packages, given as paths."""
    for package in packages:
        found = sorted((ROOT / package).rglob("*.py"))
        assert found, f"{package} has no modules; was it moved?"
        yield from found


def imported(path: Path) -> set[str]:
    """The modules that one source file imports, by full name; ``from a import b`` gives both ``a`` and ``a.b``."""
    package = list(path.relative_to(ROOT).with_suffix("").parts)
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join([*package[: -node.level], *([node.module] if node.module else [])])
            module = base if node.level else node.module or ""
            names |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
    return names


def offences(paths: Iterator[Path], *forbidden: str) -> list[str]:
    """Which of ``forbidden`` modules, or anything below them, are imported where."""
    return [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in paths
        for name in sorted(imported(path))
        if any(name == module or name.startswith(f"{module}.") for module in forbidden)
    ]


def test_schemas_import_neither_the_saga_nor_the_workers() -> None:
    assert offences(sources("schemas"), "saga", "workers") == []


def test_the_saga_imports_no_worker() -> None:
    assert offences(sources("saga"), "workers") == []


def test_workers_import_neither_the_orchestrator_nor_its_machine_nor_its_store() -> None:
    forbidden = ("saga.orchestrator", "saga.store", "saga.engine.machine", "saga.engine.fold", "saga.booking")
    assert offences(sources("workers"), *forbidden) == []


@pytest.mark.parametrize("part", ["engine", "messaging", "store", "orchestrator", "telemetry", "database"])
def test_nothing_but_the_definition_knows_of_bookings(part: str) -> None:
    found = [
        offence
        for path in sources(f"saga/{part}")
        for offence in offences(iter([path]), *BOOKING_SPECIFIC - COMPOSITION.get(str(path.relative_to(ROOT)), set()))
    ]
    assert found == []


@pytest.mark.parametrize("module", COMPOSITION)
def test_every_exemption_is_still_needed(module: str) -> None:
    assert COMPOSITION[module] <= imported(ROOT / module)


def test_the_machine_does_no_io_and_reads_no_clock() -> None:
    impure = ["asyncio", "datetime", "os", "random", "secrets", "socket", "time", "uuid", "asyncpg", "aiokafka"]
    impure += ["saga.settings", "saga.database", "saga.messaging", "saga.store", "saga.runtime", "opentelemetry"]
    assert offences(sources("saga/engine"), *impure) == []


def test_no_text_of_the_engine_names_a_booking() -> None:
    named = []
    for path in sources("saga/engine"):
        tree = ast.parse(path.read_text())
        documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        named += [
            f"{path.name}:{node.lineno} {node.value!r}"
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation
            if "booking" in node.value.lower()
        ]
    assert named == []


def test_the_reader_of_imports_sees_every_form() -> None:
    module = ROOT / "saga" / "engine" / "machine.py"
    assert {"saga.engine.decision", "saga.engine.decision.Verdict", "dataclasses"} <= imported(module)
    lazily = ROOT / "saga" / "runtime.py"
    assert "saga.telemetry.setup" in imported(lazily)
