"""Child processes under our control: their logs, their end, and the promise that none outlives us.

The kernel's request "signal me when my parent dies" is bound to the *thread* that started the child, so every child
here is started by one thread that lives as long as the process does.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path

from saga.errors import StackError
from saga.stacks import launch

_LAUNCHER = Path(launch.__file__)
_Request = tuple[Sequence[str], Mapping[str, str], Path, "Future[subprocess.Popen[bytes]]"]


class _Spawner:
    """The one thread that starts children."""

    def __init__(self) -> None:
        self._requests: queue.SimpleQueue[_Request] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def spawn(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._serve, name="spawner", daemon=True)
                self._thread.start()
        future: Future[subprocess.Popen[bytes]] = Future()
        self._requests.put((command, environment, log, future))
        return future.result()

    def _serve(self) -> None:
        while True:
            command, environment, log, future = self._requests.get()
            try:
                with log.open("ab") as output:
                    future.set_result(
                        subprocess.Popen(  # noqa: S603 - commands come from this package, never through a shell
                            command,
                            env=dict(environment),
                            stdin=subprocess.DEVNULL,
                            stdout=output,
                            stderr=subprocess.STDOUT,
                            # Ctrl-C is for the supervisor alone, which then stops its children in order.
                            start_new_session=True,
                        )
                    )
            except OSError as error:
                future.set_exception(error)


_spawner = _Spawner()


class Child:
    """A process of ours, from its start to its end.

    ``stop_signal`` asks it to end cleanly; ``orphan_signal`` is what the kernel sends it if we die first. With
    ``user`` (uid, gid) it runs as somebody else, which only root can ask for. With ``direct`` the program asks the
    kernel itself (:func:`saga.stacks.launch.die_with_parent`), which saves starting an interpreter.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        log: Path,
        environment: Mapping[str, str] | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
        orphan_signal: signal.Signals = signal.SIGKILL,
        user: tuple[int, int] | None = None,
        direct: bool = False,
    ) -> None:
        self.name = name
        self.log = log
        self._stop_signal = stop_signal
        uid, gid = user or (-1, -1)
        launcher = [sys.executable, "-I", "-S", str(_LAUNCHER), str(os.getpid()), str(int(orphan_signal))]
        full = command if direct else [*launcher, str(uid), str(gid), *command]
        log.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._process = _spawner.spawn(full, environment if environment is not None else os.environ, log)
        except OSError as error:
            raise StackError(f"cannot start {name} ({command[0]}): {error}") from error

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """``None`` while it runs; negative: the signal that ended it."""
        return self._process.poll()

    @property
    def running(self) -> bool:
        return self.exit_code is None

    def terminate(self) -> None:
        """Ask it to end; does not wait."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(self._stop_signal)
            self._process.send_signal(signal.SIGCONT)  # a suspended process hears nothing until it goes on

    def signal(self, signum: signal.Signals) -> None:
        """Send it any signal (``SIGSTOP`` makes a zombie of an orchestrator)."""
        self._process.send_signal(signum)

    def kill(self) -> None:
        """End it as a crash would, and wait until it is gone."""
        self._process.kill()
        self._process.wait()

    def wait(self, seconds: float) -> bool:
        """Wait for its end; whether it came within ``seconds``."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def stop(self, grace_s: float = 10.0) -> None:
        """Ask it to end, wait, and kill it when it has not after ``grace_s``; harmless when it has ended."""
        if self.running:
            self.terminate()
            if not self.wait(grace_s):
                self.kill()

    def last_lines(self, count: int = 15) -> str:
        """The end of its log, for an error message."""
        return tail(self.log, count)


def tail(log: Path, count: int) -> str:
    """The last ``count`` lines of a log file; a note in their place when it is empty or gone."""
    with contextlib.suppress(OSError), log.open("rb") as source:
        source.seek(max(0, source.seek(0, os.SEEK_END) - 64 * 1024))
        lines = source.read().decode("utf-8", "replace").splitlines()[-count:]
        if lines:
            return "\n".join(lines)
    return "(it logged nothing)"


def stop_pid(pid: int, *, started: float, grace_s: float = 20.0) -> bool:
    """End a process that is not our child: SIGTERM, wait, SIGKILL; whether there was one.

    ``started`` is the creation time it must have (seconds since the epoch): a pid that another process has taken since
    is left alone.
    """
    import psutil

    try:
        process = psutil.Process(pid)
        if abs(process.create_time() - started) > 1:
            return False
        process.terminate()
        try:
            process.wait(grace_s)
        except psutil.TimeoutExpired:
            process.kill()
            process.wait(5)
    except psutil.NoSuchProcess:
        return False
    return True


def is_alive(pid: int, *, started: float) -> bool:
    """Whether the process that had ``pid`` and began at ``started`` still runs."""
    import psutil

    try:
        process = psutil.Process(pid)
        return abs(process.create_time() - started) <= 1 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def started_at(pid: int) -> float:
    """When the process began, in seconds since the epoch; with the pid it names a process for good."""
    import psutil

    return psutil.Process(pid).create_time()


def wait_until(child: Child, ready: Callable[[], bool], *, deadline_s: float) -> None:
    """Poll ``ready()`` until it is true. Raises :class:`StackError` with the end of the log if it ends or is late."""
    what, end = child.name, time.monotonic() + deadline_s
    while not ready():
        code = child.exit_code
        if code is not None:
            raise StackError(f"{what} ended with code {code} before it was ready:\n{child.last_lines()}")
        if time.monotonic() > end:
            raise StackError(f"{what} was not ready within {deadline_s:.0f} s; its last words:\n{child.last_lines()}")
        time.sleep(0.03)
