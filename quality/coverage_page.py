"""The coverage certificates of a dataset on its report's page: a calendar of each symbol and the holes in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final

from quality.coverage_document import day_picture, listed_holes
from quality.html_table import table

MOST_HOLES: Final = 50
"""Of a symbol; the manifest has all of them."""


def coverage_section(certificates: Sequence[Mapping[str, Any]]) -> str:
    """The symbols one below the other."""
    return "".join(map(_symbol, certificates)) or '<p class="note">No symbol was certified.</p>'


def _symbol(certificate: Mapping[str, Any]) -> str:
    streams = certificate["streams"]
    pictures = day_picture(streams)
    rows = [
        (
            name,
            stream["unit"],
            stream["expected"],
            stream["held"],
            stream["messages_live"],
            stream["messages_backfilled"],
            stream["certified_by"],
            len(stream["missing"]),
            len(stream["not_proven"]),
            pictures[name],
        )
        for name, stream in streams.items()
    ]
    columns = ("stream", "unit", "expected", "held", "live messages", "backfilled", "certified by", "holes")
    shown = table((*columns, "not proven", "days, full bars whole"), rows)
    about = f"{certificate['symbol']}, {certificate['from']} to {certificate['to']}"
    return f"<h3>{escape(about)}</h3>{shown}{_holes(streams)}"


def _holes(streams: Mapping[str, Any]) -> str:
    holes = listed_holes(streams)
    if not holes:
        return '<p class="passed">Nothing is missing.</p>'
    rows = [
        (
            name,
            hole["from"],
            hole["to"],
            hole["evidence"],
            hole["messages"],
            ", ".join(f"{group} until {until}" for group, until in hole["unknown_until"].items())
            or f"nothing; computed without: {', '.join(hole['computed_without']) or 'none'}",
        )
        for name, hole in holes[:MOST_HOLES]
    ]
    hidden = len(holes) - MOST_HOLES
    note = f'<p class="note">{hidden} more holes are in the manifest.</p>' if hidden > 0 else ""
    return table(("stream", "missing from", "to", "known by", "messages", "unknown for it"), rows) + note
