"""Run a program so that it dies with the process that asked for it.

    python -I -S launch.py PARENT_PID SIGNAL UID GID PROGRAM [ARGUMENT...]

The kernel is asked to send SIGNAL when the parent is gone (Linux; elsewhere the program just runs), then this process
becomes PROGRAM, as UID and GID where they are not -1. It runs as a script with nothing but the standard library, to
be quick about it. A process of its own instead of ``preexec_fn``: that would run Python
in a fork of a threaded parent. Giving up root clears the request, so it is made afterwards.
"""

from __future__ import annotations

import ctypes  # here, not where it is used: another user may be unable to read our standard library
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int, signum: int = signal.SIGKILL) -> None:
    """Have the kernel send ``signum`` to this process once ``parent`` is gone; at once when it is gone already."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(signum), 0, 0, 0)
        # The parent may have died before the request was made: then nobody would ever tell us.
        if os.getppid() != parent:
            os.kill(os.getpid(), signum)


def main(arguments: list[str]) -> None:
    """Become the program; returns only by raising ``OSError``."""
    parent, signum, uid, gid = (int(argument) for argument in arguments[:4])
    program = arguments[4:]
    if uid >= 0:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
        os.chdir("/")  # where we are, that user may not even look
    die_with_parent(parent, signum)
    os.execvp(program[0], program)  # noqa: S606 - the program and its arguments come from this package, never a shell


if __name__ == "__main__":
    main(sys.argv[1:])
