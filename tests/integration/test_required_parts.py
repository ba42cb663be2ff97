"""What a session cannot test is skipped with its reason; what it was told to require fails instead."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_REPOSITORY = Path(__file__).parents[2]
_TESTS = """
import pytest

@pytest.mark.needs("mainframe")
def test_on_the_mainframe():
    pass

def test_on_any_stack(stack):
    assert stack.stack.name == "embedded"
"""


def _pytest(tmp_path: Path, **variables: str) -> tuple[int, str]:
    (tmp_path / "test_needing.py").write_text(_TESTS)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SAGA_")}
    options = ["-q", "-p", "tests.conftest", "-p", "no:cacheprovider", "--strict-markers", "-rs", "--confcutdir", "."]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "--config-file", "pyproject.toml", str(tmp_path)],
        cwd=_REPOSITORY,
        env={**environment, "SAGA_STACK": "embedded", **variables},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_a_missing_part_skips_with_its_reason_and_the_rest_runs(tmp_path: Path) -> None:
    code, said = _pytest(tmp_path)
    assert code == 0, said
    assert "needs mainframe, which this session does not have" in said
    assert "1 passed, 1 skipped" in said


def test_a_required_part_that_is_missing_fails_what_needs_it_and_whatever_needs_a_stack(tmp_path: Path) -> None:
    code, said = _pytest(tmp_path, SAGA_REQUIRE="mainframe,postgres")
    assert code == 1, said
    assert "though SAGA_REQUIRE asks for it" in said
    assert "the embedded stack lacks mainframe, which is required" in said
    assert "passed" not in said.splitlines()[-1]
