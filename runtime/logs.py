"""The log of a process: one line an event on standard error, as JSON or for people, the standard library's included.

What is bound with ``structlog.contextvars`` (the trace id of a request or of a message) is in every line that is
written meanwhile, by any module.
"""

from __future__ import annotations

import logging
import sys
from typing import TextIO

import structlog
from structlog.typing import EventDict, Processor

from market.clock import Clock, format_iso
from runtime.setting_types import LogFormat, LogLevel


def configure_logging(log_format: LogFormat, level: LogLevel, clock: Clock, *, stream: TextIO | None = None) -> None:
    """Send every log line of this process to ``stream``, standard error unless given, in the one format.

    json: an object a line with ``timestamp`` (ISO 8601, UTC), ``level``, ``logger``, ``event``, what is bound, and
    ``exception`` for a traceback. A second call replaces the first.
    """

    def add_timestamp(_logger: object, _method: str, event: EventDict) -> EventDict:
        event["timestamp"] = format_iso(clock.now_ns())
        return event

    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        add_timestamp,
    ]
    rendered: list[Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(sort_keys=True)]
        if log_format == "json"
        else [
            # Its own formatter prints the local variables of every frame, passwords among them.
            structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
        ]
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendered],
        )
    )
    root = logging.getLogger()
    for earlier in [each for each in root.handlers if isinstance(each.formatter, structlog.stdlib.ProcessorFormatter)]:
        root.removeHandler(earlier)
    root.addHandler(handler)
    root.setLevel(level)
    # At INFO they say each request they send, with its address; procrastinate each poll for jobs, several a minute;
    # Great Expectations a hundred functions that it leaves out when it is imported; Feast each look at its registry;
    # Alembic each of its own plugins.
    for chatty in (
        "httpx",
        "httpcore",
        "aiormq",
        "websockets",
        "procrastinate",
        "great_expectations",
        "feast",
        "alembic.runtime.plugins",
    ):
        logging.getLogger(chatty).setLevel(logging.DEBUG if level == "DEBUG" else logging.WARNING)
    # A line or a traceback for each attempt to connect: whoever uses the connection says once that its server is down.
    logging.getLogger("psycopg.pool").setLevel(logging.DEBUG if level == "DEBUG" else logging.ERROR)
    logging.getLogger("aiormq.connection").setLevel(logging.DEBUG if level == "DEBUG" else logging.CRITICAL)
    if level != "DEBUG":
        handler.addFilter(_is_news)


def _is_news(record: logging.LogRecord) -> bool:
    """Whether a line says something: not alembic's greeting, nor procrastinate's traceback of a database that is down.

    The job worker that procrastinate's error ends says it in one line.
    """
    if record.name == "alembic.runtime.migration":
        return not str(record.msg).startswith(("Context impl", "Will assume"))
    if record.name.startswith(("procrastinate", "asyncio")) and record.exc_info is not None:
        raised = record.exc_info[0]
        return raised is None or raised.__name__ != "ConnectorException"
    return True
