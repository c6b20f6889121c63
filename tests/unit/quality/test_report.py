"""The report: well-formed, the same each time, complete without a network, and safe with any name."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

from market.clock import SECOND_NS, format_iso
from quality.continuity import ContinuityRules, ContinuityTally
from quality.coverage_page import coverage_section
from quality.profile import TableProfile
from quality.relations import relations
from quality.report import render_report
from quality.report_columns import missing_reasons_section
from quality.suites import Finding

ROWS = 300
VOID = {"meta", "br"}
HOLE = {"from": "2026-01-05T12:00:00Z", "to": "2026-01-05T12:01:00Z", "evidence": "<volume> of the candle"}
CERTIFICATE: dict[str, Any] = {
    "symbol": "BTCUSDT",
    "from": "2026-01-05T12:00:00Z",
    "to": "2026-01-06T12:00:00Z",
    "streams": {
        "trades": {
            "unit": "minutes",
            "expected": 1440,
            "held": 1439,
            "messages_live": 7,
            "messages_backfilled": 0,
            "certified_by": "volume of the candle",
            "missing": [
                {**HOLE, "messages": None, "unknown_until": {}, "computed_without": ["orderflow"]},
                {**HOLE, "messages": 3, "unknown_until": {"orderflow": "2026-01-05T12:06:00Z"}, "computed_without": []},
            ],
            "not_proven": [],
            "days": [{"coverage": 1}, {"coverage": 0.9}],
        }
    },
}


class Reader(HTMLParser):
    """Checks that tags close in order; keeps tags, attributes and headings."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.tags: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data + "\n"


def report(
    values: np.ndarray[tuple[int, int], np.dtype[np.float64]],
    names: tuple[str, ...],
    classes: dict[str, dict[str, float]] | None = None,
) -> str:
    profile = TableProfile(names, np.full(len(names), -np.inf), np.full(len(names), np.inf))
    times_ns = np.arange(len(values), dtype=np.int64) * SECOND_NS
    profile.add(times_ns, values)
    split = {
        "name": "train",
        "start": format_iso(0),
        "end": format_iso(ROWS * SECOND_NS),
        "records": len(values),
        "purged": 1,
        "embargoed": 0,
        "last_label_end": None,
        "overlaps_next": False,
    }
    tally = ContinuityTally(
        "BTCUSDT train", start_ns=0, end_ns=ROWS * SECOND_NS, interval_ns=SECOND_NS, rules=ContinuityRules()
    )
    tally.add(times_ns)
    manifest: dict[str, Any] = {
        "request": {"output_format": "csv", "sample_interval_ns": 60 * SECOND_NS},
        "strategy": "time_based",
        "column_roles": {"keys": ["symbol", "timestamp"], "features": names[:-1], "targets": names[-1:]},
        "classes": classes or {},
        "rows_sampled": ROWS,
        "rows_without_features": 0,
        "rows_without_label": 0,
        "rows_with_missing_dropped": 0,
        "records": {"train": len(values)},
        "folds": [{"fold": None, "splits": [split]}],
        "continuity": [tally.finish().document],
        "coverage": [CERTIFICATE],
        "warnings": ["test: no rows, 3 purged and 0 embargoed"],
    }
    found = [Finding("missing", "minor", {names[0]: 0.5})]
    return render_report(
        "<BTCUSDT> & more",
        manifest=manifest,
        profile=profile,
        findings=found,
        targets={names[-1]: "regression, horizon 60 s"},
        measured={
            "train_against_test": {"BTCUSDT": {"mid_price": DRIFT}},
            "relations": related(values, names),
            "missing_by_reason": {"rows": 8, "by_column": {"spread<b>": {"GAP": 2, "WARM<i>UP": 1}}},
        },
    )


def related(values: np.ndarray[tuple[int, int], np.dtype[np.float64]], names: tuple[str, ...]) -> dict[str, Any]:
    [found] = relations(values[:, :-1], values[:, -1:], np.zeros(len(values), np.int64), overlaps=[1.0])
    part = {name: each.document() for name, each in zip(names[:-1], found, strict=True)}
    autocorrelation = {"next_row": None, "rows_apart": 60, "next_apart": 0.02}
    target = {
        "overlap": 60.0,
        "autocorrelation": autocorrelation,
        "by_split": {"train": part},
        "by_month": {"1970-01": part},
    }
    return {"targets": {names[-1]: target}, "redundant": [["spread<b>", "imbalance"]]}


DRIFT = {"psi": 0.4, "ks": None, "missing_then": 0.0, "missing_now": 0.25, "drifted": ["psi"], "is_expected": False}


def sample() -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    values = np.random.default_rng(2).standard_normal((ROWS, 3))
    values[100:150, 0] = np.nan
    values[3, 1] = np.inf
    values[:, 2] = np.sign(values[:, 2])
    return values


NAMES = ("spread<b>", "imbalance", "target")


@pytest.mark.parametrize(
    "values",
    [sample(), sample()[:1], np.full((ROWS, 3), np.nan), sample()[:0]],
    ids=["many", "one", "unknown", "none"],
)
def test_the_page_is_well_formed_whatever_the_rows(values: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> None:
    reader = Reader()
    reader.feed(report(values, NAMES))
    reader.close()
    assert reader.open == []


def test_the_page_needs_nothing_but_itself() -> None:
    page = report(sample(), NAMES)
    reader = Reader()
    reader.feed(page)
    assert not reader.tags & {"script", "link", "img", "iframe", "object"}
    assert not {name for name, _ in reader.attributes} & {"src", "href", "srcset", "data"}
    assert "http" not in page
    assert "url(" not in page


def test_the_page_tells_every_section_and_finding() -> None:
    reader = Reader()
    reader.feed(report(sample(), NAMES))
    for told in (
        "Verdict",
        "Splits",
        "Continuity",
        "Target",
        "regression, horizon 60 s",
        'read_csv("train.csv", float_precision="round_trip", keep_default_na=False, na_values="")',
        "sample_interval\n60 s",
        "Missing values over time",
        "Correlation",
        "Distributions",
        "minor: quality, missing: at most 5% of a feature may be unknown, was spread<b> 0.5",
        "test: no rows, 3 purged and 0 embargoed",
        "<BTCUSDT> & more",
    ):
        assert told in reader.text


def test_the_same_rows_give_the_same_page() -> None:
    assert report(sample(), NAMES) == report(sample(), NAMES)


def test_it_compares_the_test_split_with_the_train_split() -> None:
    found = report(sample(), ("a", "b", "target"))
    assert "Train against test" in found
    assert "0.400" in found
    assert "25.0%" in found


def test_what_a_symbol_lacks_is_told_with_a_calendar_and_what_it_made_unknown() -> None:
    told = coverage_section([CERTIFICATE])
    assert "█▓" in told
    assert "orderflow until 2026-01-05T12:06:00Z" in told
    assert "computed without: orderflow" in told
    assert "<volume>" not in told
    whole = {**CERTIFICATE["streams"]["trades"], "missing": []}
    assert "Nothing is missing" in coverage_section([{**CERTIFICATE, "streams": {"trades": whole}}])


def test_missing_values_are_told_by_reason() -> None:
    by_column = {"spread": {"GAP": 2}, "mid": {"WARMUP": 8, "GAP": 1}, "imbalance": {"GAP": 2}}
    found = missing_reasons_section({"rows": 8, "by_column": by_column})
    assert re.findall(r"<t[hd](?: [^>]*)?>([^<]*)<", found) == [
        *("columns", "GAP", "WARMUP"),
        *("spread, imbalance", "25.0%", ""),
        *("mid", "12.5%", "100.0%"),
    ]
    assert "No value is missing" in missing_reasons_section({"rows": 0, "by_column": {}})
    assert "Not known" in missing_reasons_section(None)


def test_columns_without_any_value_have_one_line_of_the_page() -> None:
    values = np.random.default_rng(1).standard_normal((ROWS, 4))
    values[:, 1:3] = np.nan
    values[:7, 0] = np.nan
    page = report(values, ("known", "never", "nowhere", "target"))
    told = [line for line in re.findall(r">([^<]+)<", page) if "never" in line or "nowhere" in line]
    assert told == ["Unknown in every row: never, nowhere."]


def test_classes_have_the_names_of_their_target() -> None:
    values = np.stack([np.arange(ROWS, dtype=np.float64), (np.arange(ROWS) % 4 == 0).astype(np.float64)], axis=1)
    page = report(values, ("spread", "was_right"), {"was_right": {"wrong": 0.0, "right": 1.0}})
    reader = Reader()
    reader.feed(page)
    shown = reader.text.split("Target was_right\n")[1]
    assert shown.index("wrong\n") < shown.index("right\n") < shown.index("75.00%\n") < shown.index("25.00%\n")
    assert "flat" not in reader.text
