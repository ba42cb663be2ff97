"""What the HTTP services share: a port that opens and closes cleanly, JSON answers, problem bodies (RFC 9457)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from aiohttp import web
from pydantic import BaseModel, ValidationError

from saga.errors import UsageError

if TYPE_CHECKING:
    from saga.runtime import Runtime

PROBLEM_URN = "urn:booking-saga:problem:"


class FieldError(BaseModel):
    """One thing that is wrong with a request: where, and what."""

    pointer: str
    detail: str


class Problem(BaseModel):
    """An error answer as RFC 9457 has it. ``type`` is :data:`PROBLEM_URN` followed by a stable name."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[FieldError] | None = None

    @property
    def name(self) -> str:
        """The stable name at the end of ``type``: ``unknown-property``, ``invalid-request``, ..."""
        return self.type.removeprefix(PROBLEM_URN)


def json_response(body: BaseModel, *, status: int = 200) -> web.Response:
    """``body`` serialised by pydantic-core."""
    encoded = body.__pydantic_serializer__.to_json(body, exclude_none=True)
    return web.Response(body=encoded, status=status, content_type="application/json")


def problem_response(
    name: str, title: str, status: int, detail: str, *, errors: list[FieldError] | None = None
) -> web.Response:
    """An ``application/problem+json`` answer."""
    problem = Problem(type=PROBLEM_URN + name, title=title, status=status, detail=detail, errors=errors)
    encoded = problem.__pydantic_serializer__.to_json(problem, exclude_none=True)
    return web.Response(body=encoded, status=status, content_type="application/problem+json")


def field_errors(error: ValidationError) -> list[FieldError]:
    """What is wrong with a request, without the values that were sent (they may be secrets)."""
    return [
        FieldError(pointer="/" + "/".join(str(part) for part in item["loc"]), detail=item["msg"])
        for item in error.errors(include_url=False, include_input=False, include_context=False)
    ]


def invalid_request(error: ValidationError) -> web.Response:
    """The answer to a body that does not fit its model: 422, one entry per field."""
    errors = field_errors(error)
    detail = "; ".join(f"{item.pointer}: {item.detail}" for item in errors[:5])
    return problem_response("invalid-request", "The request body is not valid", 422, detail, errors=errors)


@asynccontextmanager
async def listening(app: web.Application, host: str, port: int) -> AsyncIterator[int]:
    """Serve ``app`` while the context is open; gives the port (port 0 takes a free one).

    Raises :class:`UsageError` when the address cannot be bound.
    """
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=2)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port, backlog=1024)
        try:
            await site.start()
        except OSError as error:
            raise UsageError(
                f"cannot listen on {host}:{port} ({error.strerror or error}); stop what holds the port or take another"
            ) from error
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


async def serve(runtime: Runtime, app: web.Application, url: str) -> None:
    """Serve ``app`` on the port of ``url`` until the role is told to stop. Raises :class:`UsageError` as above."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    async with listening(app, runtime.settings.listen_host, port):
        runtime.ready()
        await runtime.stopping.wait()
