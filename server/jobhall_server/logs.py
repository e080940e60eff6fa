"""Logs: structlog for everything, the standard library's loggers too; console on a terminal, JSON lines otherwise."""

from __future__ import annotations

import logging
import sys
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

_NOISY = ("aiosqlite", "asyncio", "alembic", "sqlalchemy.engine", "grpc")
"""Loggers of libraries: what they have to say below WARNING is about themselves."""


def configure_logs(*, form: str = "auto", level: str = "info", stream: TextIO | None = None) -> None:
    """Send all logs to `stream` (stderr). `form` is auto, console or json."""
    target = stream or sys.stderr
    console = form == "console" or (form == "auto" and target.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.add_logger_name,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        # Off: a test, or a host that embeds the server, may configure anew.
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(target)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_rendering(console=console, tty=target.isatty()),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _NOISY:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


def _rendering(*, console: bool, tty: bool) -> list[Any]:
    if console:
        # The default one shows the variables of every frame, payloads among them, and takes minutes for a deep one.
        return [structlog.dev.ConsoleRenderer(colors=tty, exception_formatter=structlog.dev.plain_traceback)]
    return [structlog.processors.format_exc_info, _event_first, structlog.processors.JSONRenderer(default=str)]


def _event_first(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """The order in which people read a line."""
    head = {key: event.pop(key) for key in ("timestamp", "level", "logger", "event") if key in event}
    return {**head, **event}


def warn(message: str) -> None:
    """A warning of the start, before there is anybody else to say it."""
    structlog.get_logger("jobhall_server").warning(message)
