"""The supervisor of the roles: it waits until they serve, tells why one does not, and leaves none behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.request import urlopen

import psutil
import pytest

from saga.errors import StackError, UsageError
from saga.stacks.services import Services
from tests.support.stacks import StartServices

_SERVING = "import os, pathlib, time; pathlib.Path(os.environ['SAGA_READY_FILE']).touch(); time.sleep(60)"


def _script(program: str) -> Callable[[str], Sequence[str]]:
    return lambda _role: [sys.executable, "-c", program]


async def test_real_roles_serve_are_killed_come_back_and_stop(
    start_services: StartServices,
) -> None:
    services = await start_services(("pricing", "provider"))
    assert set(services.pids()) == {"pricing", "provider"}
    assert _answers(services.settings.pricing_url)
    for used in services.usage().values():
        assert 0 < used.rss_bytes < 200 * 1024 * 1024
        assert used.cpu_s > 0

    first = services.pids()["pricing"]
    services.kill("pricing")
    assert services.exited() == {"pricing": -signal.SIGKILL}
    services.restart("pricing")
    assert services.pids()["pricing"] != first
    assert _answers(services.settings.pricing_url)

    services.stop()
    assert services.pids() == {}
    assert services.exited() == {"pricing": 0, "provider": 0}


def test_a_role_that_ends_early_is_named_with_its_last_words(tmp_path: Path) -> None:
    program = "import sys; print('there is no such table'); sys.exit(3)"
    services = Services({}, tmp_path, roles=("locking",), command=_script(program))
    with pytest.raises(StackError, match=r"locking ended with code 3.*\n.*no such table"):
        services.start()
    assert services.pids() == {}


def test_a_role_that_is_late_is_named_and_none_is_left_running(tmp_path: Path) -> None:
    late = _script("import time; print('still thinking', flush=True); time.sleep(60)")
    services = Services({}, tmp_path, roles=("locking", "payment"), command=late, deadline_s=1.0)
    with pytest.raises(StackError, match=r"locking, payment not ready within 1 s.*\n.*still thinking"):
        services.start()
    assert services.pids() == {}


def test_a_taken_port_is_given_up_for_another(tmp_path: Path) -> None:
    """The first attempt fails as a server does whose port was taken after it was chosen."""
    once = tmp_path / "failed-once"
    program = (
        f"import os, pathlib, sys, time\nonce = pathlib.Path({str(once)!r})\n"
        "if not once.exists():\n"
        "    once.write_text(os.environ['SAGA_PRICING_URL']); sys.exit('OSError: [Errno 98] Address already in use')\n"
    ) + _SERVING
    with Services({}, tmp_path / "run", roles=("pricing",), command=_script(program)) as services:
        assert services.environment["SAGA_PRICING_URL"] != once.read_text()


def test_addresses_that_were_given_are_kept(tmp_path: Path) -> None:
    given = {"SAGA_PRICING_URL": "http://127.0.0.1:8601"}
    with Services(given, tmp_path, roles=("pricing", "provider"), command=_script(_SERVING)) as services:
        assert services.environment["SAGA_PRICING_URL"] == "http://127.0.0.1:8601"
        assert services.settings.provider_url.startswith("http://127.0.0.1:")
        assert "SAGA_SMTP_PORT" not in services.environment


def test_several_of_one_role_run_side_by_side_under_names_of_their_own(tmp_path: Path) -> None:
    with Services({}, tmp_path, roles=("locking",), command=_script(_SERVING)) as services:
        services.start_some(["locking:2"], {"SAGA_FAULT": "locking.after_commit"})
        assert set(services.pids()) == {"locking", "locking:2"}
        with pytest.raises(UsageError, match="runs already"):
            services.start_some(["locking"])
        with pytest.raises(UsageError, match="no process 'payment'"):
            services.kill("payment")
        services.child("locking").signal(signal.SIGSTOP)  # what is suspended must not hold up the end
    assert services.pids() == {}


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_role_outlives_its_supervisor(signum: signal.Signals, tmp_path: Path) -> None:
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom saga.stacks.services import Services\n"
        "services = Services({}, Path(sys.argv[1]), command=lambda role: [sys.executable, '-c', sys.argv[2]])\n"
        "services.start()\nprint(*services.pids().values(), flush=True)\ntime.sleep(60)\n"
    )
    role = (
        "import os\nfrom saga.stacks.launch import die_with_parent\n"
        "die_with_parent(int(os.environ['SAGA_PARENT']))\n" + _SERVING
    )
    command = [sys.executable, "-c", program, str(tmp_path), role]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as supervisor:
        assert supervisor.stdout is not None
        processes = [psutil.Process(int(pid)) for pid in supervisor.stdout.readline().split()]
        assert len(processes) == 10
        supervisor.send_signal(signum)
        _, alive = psutil.wait_procs(processes, timeout=15)
        assert alive == []


def test_a_role_started_by_a_process_that_is_gone_ends_at_once(tmp_path: Path) -> None:
    environment = {**os.environ, "SAGA_PARENT": "1" if os.getpid() != 1 else "2", "SAGA_HOME": str(tmp_path)}
    began = time.monotonic()
    ended = subprocess.run(
        [sys.executable, "-m", "saga.cli.main", "run", "pricing"], env=environment, timeout=30, check=False
    )
    assert ended.returncode == -signal.SIGKILL
    assert time.monotonic() - began < 10


def _answers(url: str) -> bool:
    with urlopen(f"{url}/healthz", timeout=5) as answer:
        return bool(answer.status == 200)
