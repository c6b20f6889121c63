"""The data quality report as one HTML page that opens without a network, its charts inline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final

import numpy as np

from market.clock import parse_iso_ns
from quality.charts import Stretch, heat_map, line, time_line
from quality.html_table import table

_COLUMNS: Final = ("received", "expected", "missing", "late", "most_late_ms", "duplicates", "silences")
_STYLE: Final = """
body { font: 14px/1.5 system-ui, sans-serif; color: #1f2937; margin: 2rem auto; max-width: 64rem; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; } .scroll { overflow-x: auto; }
td, th { padding: .2rem .8rem .2rem 0; text-align: left; } th { border-bottom: 1px solid #d1d5db; }
td.number { text-align: right; }
@media (prefers-color-scheme: dark) { body { background: #111827; color: #e5e7eb; } svg { background: #f9fafb; } }
"""


def render_page(report: Mapping[str, Any]) -> str:
    """The page as text; the same report gives the same text."""
    title = f"Data quality of {report['symbol']}, {report['period_start']} to {report['period_end']}"
    todo = "".join(f"<li>{escape(line)}</li>" for line in report["recommendations"]) or "<li>Nothing to do.</li>"
    unchecked = "".join(f"<li>{escape(at)}: {escape(why)}</li>" for at, why in report["unchecked"].items())
    streams = [(name, *(_cell(stream, column) for column in _COLUMNS)) for name, stream in report["streams"].items()]
    sections = [
        ("What to do", f"<ul>{todo}</ul>"),
        ("Not checked", f"<ul>{unchecked}</ul>" if unchecked else "<p>Everything was checked.</p>"),
        ("Streams", _table(("stream", *(name.replace("_", " ") for name in _COLUMNS)), streams)),
        ("Gaps, silences and interruptions", _gaps(report)),
        (
            "Outliers",
            _table(("time", "what", "value", "reference"), [tuple(o.values()) for o in report["anomaly_details"]]),
        ),
    ]
    if report["clock_offset_ms"] is not None:
        sections.append(("Receive clock minus the exchange's, ms", _offset(report["clock_offset_ms"]["course"])))
    if report["features"] is not None:
        sections.append(("Unknown values by group: white is none, blue is all", _unknown(report)))
        shares = sorted(report["features"]["unknown_share"].items(), key=lambda item: -item[1])
        reasons = report["features"]["unknown_by_reason"]
        told = [(name, f"{share:.2%}", _reasons(reasons.get(name, {}))) for name, share in shares[:40] if share]
        sections.append(("Unknown share of the features", _table(("feature", "share", "by reason"), told)))
    body = "".join(f"<section><h2>{name}</h2><div class='scroll'>{inside}</div></section>" for name, inside in sections)
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>'
        f"<body><h1>{escape(title)}</h1>{body}</body></html>\n"
    )


def _offset(course: Sequence[Mapping[str, Any]]) -> str:
    times_ns = np.array([parse_iso_ns(each["time"]) for each in course])
    return line(times_ns, np.array([each["ms"] for each in course]))


def _unknown(report: Mapping[str, Any]) -> str:
    course = report["features"]["unknown_course"]
    shares = np.array([[np.nan if share is None else share for share in of] for of in course.values()])
    ends = report["period_start"], report["period_end"]
    return heat_map(list(course), shares, cell=12, diverging=False, columns=ends)


def _reasons(shares: Mapping[str, float]) -> str:
    return ", ".join(f"{reason} {share:.2%}" for reason, share in shares.items())


def _cell(stream: Mapping[str, Any], column: str) -> Any:  # noqa: ANN401  # a number, or None where it is not known
    return "none" if column == "most_late_ms" and stream["late"] == 0 else stream[column]


def _gaps(report: Mapping[str, Any]) -> str:
    spans = [("gaps", gap) for gap in report["sequence_gap_details"]]
    spans += [("interruptions", span) for span in report["interruptions"]]
    for name, stream in report["streams"].items():
        spans += [(name, span) for span in stream["longest_silences"]]
    if report["held"] is None or not spans:
        return "<p>None.</p>"
    stretches = [Stretch("held", "train", *_ends(report["held"]), "messages are held")]
    stretches += [Stretch(row, "validation", *_ends(span), f"{span['from']} to {span['to']}") for row, span in spans]
    return time_line(stretches)


def _ends(span: Mapping[str, Any]) -> tuple[int, int]:
    begin = parse_iso_ns(span["from"])
    return begin, max(parse_iso_ns(span["to"]), begin + 1)


def _table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    return table(columns, rows) if rows else "<p>None.</p>"
