"""A directory of its own for whatever a stack stores, removed when the stack stops.

A supervisor that was killed cannot remove its directory; the next one to start does, once its owner is gone.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import time
from pathlib import Path

from saga.stacks.processes import is_alive, started_at

_PREFIX = "booking-saga-"
_OWNER = "owner.json"
_YOUNG_S = 600.0
# Preferred to /tmp, which may be memory: a database whose fsync reaches no disk would flatter every measurement.
_PERSISTENT = Path("/var/tmp")  # noqa: S108 - mkdtemp below makes the name unpredictable and the directory ours


class Workspace:
    """A fresh directory that others may traverse but not list (PostgreSQL may run as another user than us)."""

    def __init__(self) -> None:
        root = _PERSISTENT if os.access(_PERSISTENT, os.W_OK) else Path(tempfile.gettempdir())
        _sweep(root)
        self.path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=root))
        self.path.chmod(0o711)
        pid = os.getpid()
        (self.path / _OWNER).write_text(json.dumps({"pid": pid, "started": started_at(pid)}), "utf-8")

    def remove(self) -> None:
        """Remove it with everything in it; harmless when it is gone."""
        shutil.rmtree(self.path, ignore_errors=True)


def _sweep(root: Path) -> None:
    for path in root.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError, ValueError, KeyError):
            if path.stat().st_uid == os.geteuid() and _abandoned(path):
                shutil.rmtree(path, ignore_errors=True)


def _abandoned(path: Path) -> bool:
    owner = path / _OWNER
    if not owner.exists():
        # Perhaps its owner is just about to sign it.
        return time.time() - path.stat().st_mtime > _YOUNG_S
    signed = json.loads(owner.read_text("utf-8"))
    return not is_alive(int(signed["pid"]), started=float(signed["started"]))
