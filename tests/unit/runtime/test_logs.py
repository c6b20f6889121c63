"""The log: one shape for every line, whoever writes it, with the trace id that is bound."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from market.clock import ManualClock, parse_iso_ns
from runtime.logs import configure_logging
from runtime.setting_types import LogFormat

NOW = "2026-01-05T12:00:00.250000Z"
CLOCK = ManualClock(parse_iso_ns(NOW))


@pytest.fixture(autouse=True)
def log_of_the_test() -> Iterator[None]:
    """What a test configures is gone after it."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_of_the_standard_library_and_one_of_structlog_have_the_same_shape() -> None:
    stream = io.StringIO()
    configure_logging("json", "INFO", CLOCK, stream=stream)
    logging.getLogger("a").warning("%d rows of %s", 3, "BTCUSDT")
    structlog.stdlib.get_logger("b").warning("rows", count=3)
    assert lines(stream) == [
        {"event": "3 rows of BTCUSDT", "level": "warning", "logger": "a", "timestamp": NOW},
        {"event": "rows", "count": 3, "level": "warning", "logger": "b", "timestamp": NOW},
    ]


def test_a_bound_trace_id_stands_in_every_line_and_in_none_after_it() -> None:
    stream = io.StringIO()
    configure_logging("json", "INFO", CLOCK, stream=stream)
    with structlog.contextvars.bound_contextvars(trace_id="t-1"):
        logging.getLogger("a").info("inside")
    logging.getLogger("a").info("outside")
    assert [line.get("trace_id") for line in lines(stream)] == ["t-1", None]


def test_a_traceback_is_a_field_of_its_line() -> None:
    stream = io.StringIO()
    configure_logging("json", "INFO", CLOCK, stream=stream)
    try:
        raise ValueError("why")
    except ValueError:
        logging.getLogger("a").exception("failed")
    [line] = lines(stream)
    assert line["event"] == "failed"
    assert line["exception"].endswith("ValueError: why")


def test_lines_below_the_level_are_left_out_and_a_second_call_replaces_the_first() -> None:
    first, second = io.StringIO(), io.StringIO()
    configure_logging("json", "DEBUG", CLOCK, stream=first)
    configure_logging("console", "WARNING", CLOCK, stream=second)
    logging.getLogger("a").info("quiet")
    logging.getLogger("a").warning("loud")
    assert first.getvalue() == ""
    assert "loud" in second.getvalue()
    assert "quiet" not in second.getvalue()
    assert NOW in second.getvalue()


def test_what_libraries_say_of_each_look_is_for_debugging() -> None:
    for level, expected in (("DEBUG", 2), ("INFO", 0)):
        stream = io.StringIO()
        configure_logging("json", level, CLOCK, stream=stream)  # type: ignore[arg-type]  # of two levels that there are
        logging.getLogger("procrastinate.periodic").info("Periodic job look_at_upkeep deferred")
        logging.getLogger("alembic.runtime.migration").info("Will assume transactional DDL.")
        logging.getLogger("procrastinate.worker").error("Job 7 ended with an error")
        assert len(lines(stream)) == 1 + expected


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_traceback_shows_no_local_variable(log_format: LogFormat) -> None:
    stream = io.StringIO()
    configure_logging(log_format, "INFO", CLOCK, stream=stream)
    password = "correct horse"  # noqa: S105  # that must not be printed
    try:
        raise ValueError(len(password))
    except ValueError:
        logging.getLogger("a").exception("failed")
    assert "ValueError: 13" in stream.getvalue()
    assert "correct horse" not in stream.getvalue().replace('password = "correct horse"', "")


def test_a_server_that_is_down_is_not_told_by_the_libraries_that_try_to_reach_it() -> None:
    class ConnectorException(Exception):
        """As procrastinate names its own."""

    stream = io.StringIO()
    configure_logging("json", "INFO", CLOCK, stream=stream)
    logging.getLogger("psycopg.pool").warning("error connecting in 'pool-1'")
    logging.getLogger("aiormq.connection").error("error when creating transport")
    logging.getLogger("procrastinate.worker").error("listener error", exc_info=ConnectorException("gone"))
    logging.getLogger("asyncio").error("Task exception was never retrieved", exc_info=ConnectorException("gone"))
    logging.getLogger("alembic.runtime.migration").info("Context impl %s.", "PostgresqlImpl")
    logging.getLogger("alembic.runtime.plugins").info("setup plugin alembic.autogenerate.types")
    logging.getLogger("procrastinate.worker").error("a job failed", exc_info=ValueError("x"))
    logging.getLogger("alembic.runtime.migration").info("Running upgrade")
    assert [line["event"] for line in lines(stream)] == ["a job failed", "Running upgrade"]
