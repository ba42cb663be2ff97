"""One log line per fact, for people (console) or programs (JSON), with the trace it belongs to and nothing sensitive.

structlog formats everything, whether it came through structlog or the standard library, so that a dependency's message
passes the same redaction as ours.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType

    from structlog.typing import EventDict, Processor, WrappedLogger

    from saga.settings import Settings

# Loud at INFO about what is their business alone.
_CHATTY = ("aiokafka", "asyncio", "yoyo", "mail.log", "aiohttp.access")


def configure_logging(settings: Settings, *, role: str = "") -> None:
    """Send all logging of this process to standard error, in ``settings.log_format`` (``auto``: JSON off a terminal).

    May be called again; the last call holds. Raises :class:`saga.errors.InvalidSettings` for an unknown level.
    """
    from saga.errors import InvalidSettings

    structlog = _structlog()
    level = logging.getLevelNamesMapping().get(settings.log_level.upper())
    if level is None:
        raise InvalidSettings(f"SAGA_LOG_LEVEL={settings.log_level!r} is no level; use DEBUG, INFO, WARNING or ERROR")
    console = settings.log_format == "console" or (settings.log_format == "auto" and sys.stderr.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        _RoleAdder(role),
        _add_trace,
    ]
    renderer: Processor = (
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)
        if console
        else structlog.processors.JSONRenderer()
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            # Last before rendering: whatever was added on the way is covered.
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _redactor(), renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def _structlog() -> ModuleType:
    """structlog without rich, which it would load for pretty tracebacks that no role prints.

    Each of ten processes starts 150 ms of CPU sooner for it, and stays 6 MB smaller.
    """
    hidden = "rich" not in sys.modules and "structlog" not in sys.modules
    if hidden:
        sys.modules["rich"] = None  # type: ignore[assignment]  # Python's own way to say that a module cannot be imported
    try:
        import structlog
    finally:
        if hidden:
            del sys.modules["rich"]
    return structlog


class _RoleAdder:
    """Says which role is speaking, where several write to one terminal."""

    def __init__(self, role: str) -> None:
        self._role = role

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        if self._role:
            event.setdefault("role", self._role)
        return event


def _add_trace(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    from opentelemetry import trace

    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event.setdefault("trace_id", f"{context.trace_id:032x}")
        event.setdefault("span_id", f"{context.span_id:016x}")
    return event


def _redactor() -> Processor:
    from saga.telemetry.redaction import redact_item, redact_text

    def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        for key, value in event.items():
            # Known types keep their type; anything else is rendered by its repr, so that is what must be clean.
            plain = value is None or isinstance(value, bool | str | int | float | bytes | list | tuple | dict)
            event[key] = redact_item(key, value) if plain else redact_text(repr(value))
        return event

    return redact
