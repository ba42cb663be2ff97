"""The `saga` command as a user meets it: quick help, one-line errors, exit codes, and an environment up and down."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from saga.cli.main import VERBS

Saga = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def saga(tmp_path: Path) -> Iterator[Saga]:
    """Run the command with a home of its own and no settings of ours; whatever it left up is taken down."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SAGA_")}
    environment["SAGA_HOME"] = str(tmp_path / "home")

    def run(*arguments: str, timeout_s: float = 60, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "saga.cli.main", *arguments],
            env={**environment, **variables},
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    yield run
    run("down")


def test_help_names_every_verb_without_loading_any(saga: Saga) -> None:
    shown = saga("--help")
    assert shown.returncode == 0
    assert all(f"  {verb} " in shown.stdout for verb in VERBS)
    program = (
        "import sys\nfrom saga.cli.main import invoke\ninvoke(['--help'])\n"
        "heavy = {'rich', 'pydantic', 'aiokafka', 'asyncpg', 'opentelemetry', 'saga.settings'} & sys.modules.keys()\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)\n"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, check=False).stderr == b""


@pytest.mark.parametrize("verb", ["up", "down", "run"])
def test_help_of_a_verb_shows_examples(saga: Saga, verb: str) -> None:
    shown = saga(verb, "--help")
    assert shown.returncode == 0
    assert f"  saga {verb}" in shown.stdout.split("Examples:")[1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["frobnicate"], "No such command"),
        (["run", "worker", "pricing"], "name a worker: availability"),
        (["run", "nobody"], "there is no role 'nobody'"),
        (["run", "payment", "now"], "did you mean `saga run worker now`"),
        (["up", "--stack", "punched-cards"], "is not one of"),
    ],
)
def test_wrong_use_is_told_in_words_and_exits_with_2(saga: Saga, arguments: list[str], said: str) -> None:
    failed = saga(*arguments)
    assert failed.returncode == 2
    assert said in failed.stderr
    assert "Traceback" not in failed.stderr


def test_malformed_settings_exit_with_2_and_name_the_variable(saga: Saga) -> None:
    failed = saga("run", "pricing", SAGA_SMTP_PORT="many")
    assert failed.returncode == 2
    assert "SAGA_SMTP_PORT" in failed.stderr
    assert "Traceback" not in failed.stderr


def test_a_role_without_a_database_exits_with_3_saying_what_to_do_and_no_password(saga: Saga) -> None:
    failed = saga("run", "pricing", SAGA_DATABASE_URL="postgresql://someone:hunter2@127.0.0.1:1/saga")
    assert failed.returncode == 3
    last = failed.stderr.splitlines()[-1]
    assert last.startswith("saga: ")
    assert "SAGA_DATABASE_URL" in last
    assert "hunter2" not in failed.stderr


def test_a_stack_that_cannot_run_here_says_why(saga: Saga) -> None:
    failed = saga("up", "--stack", "env")
    assert failed.returncode == 1
    assert "SAGA_BROKERS and SAGA_DATABASE_URL are not set" in failed.stderr


def test_an_interrupted_command_exits_with_130(tmp_path: Path) -> None:
    environment = {**os.environ, "SAGA_HOME": str(tmp_path)}
    command = [sys.executable, "-m", "saga.cli.main", "up", "--foreground", "--stack", "embedded"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        while "starting the services" not in running.stderr.readline():
            assert running.poll() is None
        started = psutil.Process(running.pid).children(recursive=True)
        assert started
        running.send_signal(signal.SIGINT)
        assert running.wait(30) == 130
        assert "Traceback" not in running.stderr.read()
    _, alive = psutil.wait_procs(started, timeout=5)
    assert alive == []
    assert not (tmp_path / "environment.json").exists()


def test_an_environment_goes_up_in_the_background_and_down_again(saga: Saga, tmp_path: Path) -> None:
    state = tmp_path / "home" / "environment.json"
    up = saga("up", "--stack", "embedded", "--json", timeout_s=120)
    assert up.returncode == 0, up.stderr
    shown = json.loads(up.stdout)
    names = [process["name"] for process in shown["processes"]]
    assert shown["stack"] == "embedded"
    assert {"tansu", "postgres", "orchestrator", "payment", "collector", "mailbox"} <= set(names)
    processes = [psutil.Process(process["pid"]) for process in shown["processes"]]
    assert all(process.is_running() for process in processes)
    assert "postgresql://" not in up.stdout + up.stderr

    assert stat.S_IMODE(state.stat().st_mode) == 0o600
    url = json.loads(state.read_text())["variables"]["SAGA_DATABASE_URL"]
    with psycopg.connect(url) as connection:
        rooms = connection.execute("SELECT count(*) FROM inventory.rooms").fetchone()
    assert rooms == (1_200,)

    again = saga("up", "--json")
    assert json.loads(again.stdout)["supervisor"] == shown["supervisor"]
    assert saga("up", "--stack", "kafka").returncode == 2

    locking = next(process for process in shown["processes"] if process["name"] == "locking")
    os.kill(locking["pid"], signal.SIGKILL)
    supervisor = psutil.Process(shown["supervisor"])
    assert _eventually(lambda: "locking" in _roles(supervisor)), "a role that ends is started again"

    down = saga("down", "--json")
    assert down.returncode == 0
    assert "supervisor" in json.loads(down.stdout)["stopped"]
    _, alive = psutil.wait_procs([supervisor, *processes], timeout=5)
    assert alive == []
    assert not state.exists()
    assert "Nothing was running." in saga("down").stdout


def _roles(supervisor: psutil.Process) -> set[str]:
    lines = []
    for child in supervisor.children():
        with contextlib.suppress(psutil.NoSuchProcess):  # it has just ended
            lines.append(child.cmdline())
    return {line[-1] for line in lines if line}  # a process that has ended, or not quite begun, has none


def _eventually(holds: Callable[[], bool], seconds: float = 15) -> bool:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True
