"""A module of ours as a process of its own that carries out orders: one JSON line in, one JSON line back.

The publisher and the pump are such processes, so that their CPU is counted by itself. One ends when its input does,
which happens at the latest when whoever gave the orders is gone.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from saga.errors import SagaError, StackError
from saga.stacks.launch import die_with_parent
from saga.stacks.processes import tail

if TYPE_CHECKING:
    from saga.settings import Settings

_log = logging.getLogger(__name__)

Answer = Mapping[str, Any]

_PARENT = "SAGA_PARENT"
_START_S = 60.0
_STOP_S = 15.0


class Errand:
    """The ordering side. To be used as an async context manager; leaving ends the process."""

    def __init__(self, module: str, environment: Mapping[str, str], log: Path) -> None:
        self._module = module
        self._environment = environment
        self._log = log
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """The process, while it runs."""
        assert self._process is not None, "enter it first"
        return self._process.pid

    async def __aenter__(self) -> Self:
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                self._module,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                # Ctrl-C is for us alone; this process then ends with its input.
                start_new_session=True,
                env={**os.environ, **self._environment, _PARENT: str(os.getpid())},
            )
        try:
            await asyncio.wait_for(self._answer(), _START_S)
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._end()

    async def ask(self, order: str, **words: Any) -> Answer:
        """Give an order and return the answer to it, however long that takes.

        Raises :class:`StackError`, with the end of its log, when the process ends instead.
        """
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"order": order, **words}).encode() + b"\n")
            await self._process.stdin.drain()
        except ConnectionError:
            pass  # it has ended: the answer that does not come says so
        return await self._answer()

    async def _answer(self) -> Answer:
        assert self._process is not None
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            await self._process.wait()
            raise StackError(f"{self._module} ended with code {self._process.returncode}:\n{tail(self._log, 15)}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    async def _end(self) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        assert process.stdin is not None
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), _STOP_S)
        except TimeoutError:
            process.kill()
            await process.wait()


def run_errand(role: str, serve: Callable[[Settings], Coroutine[Any, Any, None]]) -> None:
    """Be such a process until ``serve`` returns. What else may end it is in its log, redacted as all logs are."""
    import uvloop

    from saga.logging import configure_logging
    from saga.settings import Settings

    settings = Settings()
    configure_logging(settings, role=role)
    try:
        uvloop.run(serve(settings))
    except SagaError as error:
        _log.error("%s: %s", type(error).__name__, error)  # its message says it all
        sys.exit(error.exit_code)
    except Exception:  # noqa: BLE001  # the interpreter's own traceback would pass no redaction
        _log.exception("failed")
        sys.exit(1)


async def carry_out_orders(handle: Callable[[str, Answer], Awaitable[Answer]]) -> None:
    """The ordered side: say that it is ready, then answer every order by ``handle(order, words)`` until input ends."""
    parent = os.environ.pop(_PARENT, "")
    if parent:
        die_with_parent(int(parent))
    loop = asyncio.get_running_loop()
    orders = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    _say({"ready": True})
    while line := await orders.readline():
        words = json.loads(line)
        _say(await handle(words.pop("order"), words))


def _say(answer: Answer) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()
