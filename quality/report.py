"""The report of a dataset: one HTML page that opens without a network, its charts inline."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from html import escape
from typing import Any, Final

import numpy as np

from market.clock import SECOND_NS, parse_iso_ns
from quality.charts import SPLIT_COLOURS, Stretch, time_line
from quality.coverage_page import coverage_section
from quality.html_table import table
from quality.profile import TableProfile
from quality.report_columns import (
    correlation_section,
    distributions_section,
    drift_section,
    missing_map_section,
    missing_reasons_section,
    redundant_section,
    relation_section,
    target_section,
)
from quality.suites import Finding

MOST_FOLDS_DRAWN: Final = 60
LEAKAGE_SHOWN: Final = frozenset(
    {"seed", "rows_drawn", "labels_made_again", "rows_rebuilt_from_their_past", "rows_not_checked", "all_rows"}
)

_log = logging.getLogger(__name__)

_STYLE: Final = """
body { font: 14px/1.5 system-ui, sans-serif; color: #1f2937; margin: 2rem auto; max-width: 76rem; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
table { border-collapse: collapse; } td, th { padding: .2rem .8rem .2rem 0; text-align: left; vertical-align: top; }
th { font-weight: 600; border-bottom: 1px solid #d1d5db; } td.number, th.number { text-align: right; }
.passed { color: #047857; } .critical { color: #b91c1c; font-weight: 600; } .minor { color: #b45309; }
.grid { display: flex; flex-wrap: wrap; gap: 1rem; } figure { margin: 0; } figcaption { font-size: 12px; }
section { overflow-x: auto; } svg { max-width: 100%; height: auto; }
.scroll { overflow-x: auto; } .scroll svg { max-width: none; }
pre { background: #f3f4f6; padding: .6rem; overflow-x: auto; }
.note { color: #6b7280; } svg text { font-family: system-ui, sans-serif; }
"""


def render_report(
    title: str,
    *,
    manifest: Mapping[str, Any],
    profile: TableProfile,
    findings: Sequence[Finding],
    targets: Mapping[str, str],
    measured: Mapping[str, Any],
) -> str:
    """The page as text; the same arguments give the same text. A section that cannot be drawn says so in its place.

    manifest: needs classes, records, folds, continuity, coverage, warnings, strategy and the counts of rows.
    targets: by name, what each is, in words. measured: ``train_against_test``, by symbol in the order of the
    numbers that the profile has for them the drift of each column from the train split to the test split, the
    farthest first; ``relations`` of each target to the features, and what is redundant, see
    ``training_sets.dataset.relations``; ``missing_by_reason``, None where no reason is known.
    """
    symbols, relations = measured["train_against_test"], measured["relations"]
    times_ns, sample = profile.sample
    is_target = np.isin(np.array(profile.columns), list(targets))
    of_symbol = [(name, profile.sample_symbol == at) for at, name in enumerate(symbols)]
    sections: list[tuple[str, Callable[[], str]]] = [
        ("Verdict", lambda: _verdict(findings, manifest["warnings"])),
        ("Load it", lambda: _loading(manifest, targets)),
        ("Settings", lambda: _settings(manifest)),
        ("Leakage", lambda: _leakage(manifest)),
        ("Rows", lambda: _counts(manifest)),
        ("Splits", lambda: _time_line(manifest)),
        ("Continuity", lambda: _continuity(manifest["continuity"])),
        ("Coverage", lambda: coverage_section(manifest["coverage"])),
        *(
            (
                "Target" if name == "target" else f"Target {name.removeprefix('target_')}",
                partial(target_section, name, targets, manifest["classes"], profile, of_symbol),
            )
            for at, name in enumerate(profile.columns)
            if is_target[at]
        ),
        *([("Sample weights", lambda: _weights(manifest["weights"]))] if "weights" in manifest else []),
        ("Train against test", lambda: drift_section(symbols)),
        *(
            (f"Information coefficients of {name}", partial(relation_section, related))
            for name, related in relations["targets"].items()
        ),
        ("Redundant features", lambda: redundant_section(relations["redundant"])),
        ("Missing values over time", lambda: missing_map_section(profile.columns, times_ns, sample)),
        ("Missing values by reason", lambda: missing_reasons_section(measured["missing_by_reason"])),
        ("Correlation", lambda: correlation_section(profile)),
        ("Distributions", lambda: distributions_section(profile, sample)),
    ]
    body = "".join(f"<section><h2>{escape(name)}</h2>{_drawn(name, draw)}</section>" for name, draw in sections)
    note = f"Charts show {len(sample)} of {profile.rows} rows, evenly spaced; counts are of all rows."
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style></head><body><h1>{escape(title)}</h1>"
        f'<p class="note">{escape(note)}</p>{body}</body></html>\n'
    )


def _drawn(name: str, draw: Callable[[], str]) -> str:
    try:
        return draw()
    except Exception as error:  # noqa: BLE001  # see below
        # The page tells of a dataset that is already made and judged: a picture of it is no reason to have none.
        _log.exception("report: section %s could not be drawn", name)
        return f'<p class="critical">This section could not be drawn: {escape(type(error).__name__)}.</p>'


def _verdict(findings: Sequence[Finding], warnings: Sequence[str]) -> str:
    lines = [f'<li class="{finding.severity}">{finding.severity}: {escape(str(finding))}</li>' for finding in findings]
    told = {str(finding) for finding in findings}
    lines += [f'<li class="minor">{escape(warning)}</li>' for warning in warnings if warning not in told]
    return f"<ul>{''.join(lines)}</ul>" if lines else '<p class="passed">Every check passed.</p>'


def _weights(weights: Mapping[str, Any]) -> str:
    settings = f"By {weights['by'].replace('_', ' ')} of {weights['target']}, decaying to {weights['oldest']:g}."
    rows = [
        (
            split["split"] if split["fold"] is None else f"{split['split']} of fold {split['fold']}",
            split["rows"],
            f"{split['effective_rows']:.0f}",
            f"{split['mean_concurrency']:.2f}",
            split["unknown"],
        )
        for split in weights["splits"]
        if split["rows"]
    ]
    head = ("split", "rows", "worth independent rows", "labels at a time", "without a weight")
    return f"<p>{escape(settings)}</p>{table(head, rows)}"


def _settings(manifest: Mapping[str, Any]) -> str:
    """What was asked for, as the manifest states it; durations, in nanoseconds there, in seconds."""
    asked = manifest.get("request", {})
    rows = [
        (name.removesuffix("_ns"), f"{value / SECOND_NS:g} s")
        if name.endswith("_ns") and isinstance(value, int)
        else (name, json.dumps(value))
        for name, value in asked.items()
        if name not in {"strategy", "targets"}
    ]
    rows += [(name, json.dumps(manifest[name])) for name in ("label_price", "samples") if name in manifest]
    return f"<details><summary>request</summary>{table(('setting', 'value'), rows)}</details>"


def _leakage(manifest: Mapping[str, Any]) -> str:
    found = manifest.get("leakage")
    if found is None:
        return '<p class="critical">Leakage was not checked.</p>'
    # Counts of the log and of proofs depend on earlier builds, and the page only on its own: the manifest has them.
    shown = [(name, json.dumps(value)) for name, value in found.items() if name in LEAKAGE_SHOWN]
    return table(("leakage check", "result"), shown)


def _counts(manifest: Mapping[str, Any]) -> str:
    rows = [
        ("sampled", manifest["rows_sampled"]),
        ("without features", manifest["rows_without_features"]),
        ("without a label", manifest["rows_without_label"]),
        ("dropped for missing values", manifest["rows_with_missing_dropped"]),
        *((f"in {name}, over all folds", count) for name, count in manifest["records"].items()),
    ]
    return table(("rows", "count"), rows)


def _time_line(manifest: Mapping[str, Any]) -> str:
    folds = manifest["folds"]
    stretches = [
        Stretch(
            "" if fold["fold"] is None else f"fold {fold['fold']}",
            split["name"],
            parse_iso_ns(period["start"]),
            parse_iso_ns(period["end"]),
            f"{split['name']} {period['start']} to {period['end']}: {period['records']} rows, "
            f"{period['purged']} purged, {period['embargoed']} embargoed",
        )
        for fold in folds[:MOST_FOLDS_DRAWN]
        for split in fold["splits"]
        for period in split.get("periods", [split])
    ]
    key = " ".join(f'<span style="color:{colour}">■ {name}</span>' for name, colour in SPLIT_COLOURS.items())
    hidden = len(folds) - MOST_FOLDS_DRAWN
    note = f'<p class="note">{hidden} more folds are in the manifest.</p>' if hidden > 0 else ""
    rows = [
        (
            "" if fold["fold"] is None else fold["fold"],
            *(split[name] for name in ("name", "start", "end", "records", "purged", "embargoed")),
            split["last_label_end"] or "",
            "yes" if split["overlaps_next"] else "no",
            ", ".join(map(_balance, split.get("targets", {}).items())),
        )
        for fold in folds[:MOST_FOLDS_DRAWN]
        for split in fold["splits"]
    ]
    columns = (
        "fold",
        "split",
        "start",
        "end",
        "rows",
        "purged",
        "embargoed",
        "last label ends",
        "overlaps the next",
        "targets",
    )
    return (
        f'<p>{escape(manifest["strategy"])} {key}</p><div class="scroll">{time_line(stretches)}</div>{note}'
        f"<details><summary>counts and proof</summary>{table(columns, rows)}</details>"
    )


def _balance(target: tuple[str, Mapping[str, Any]]) -> str:
    """The shares of a target's classes in a split, or the mean and the deviation of its values."""
    name, stated = target
    if "classes" in stated:
        return f"{name}: " + ", ".join(f"{label} {share:.1%}" for label, share in stated["classes"].items())
    if stated["mean"] is None:
        return f"{name}: unknown"
    return f"{name}: mean {stated['mean']:.3g}, deviation {stated['deviation']:.3g}"


def _continuity(checked: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        (
            each["name"],
            each["start"],
            each["end"],
            each["actual_timestamps_count"],
            f"{each['actual_coverage_ratio']:.4f}",
            each["gap_count"],
            f"{each['largest_gap_seconds']} s",
        )
        for each in checked[: 3 * MOST_FOLDS_DRAWN]
    ]
    return table(("period", "start", "end", "rows", "coverage", "gaps", "largest gap"), rows)


def _loading(manifest: Mapping[str, Any], targets: Mapping[str, str]) -> str:
    """First lines for a notebook."""
    is_folded = any(fold["fold"] is not None for fold in manifest["folds"])
    path = "fold-000/train" if is_folded else "train"
    # What is known of a label's end, or of how labels overlap, is no feature.
    roles = manifest["column_roles"]
    others = [name for role, names in roles.items() if role not in {"features", "inputs"} for name in names]
    reads = (
        f'read_csv("{path}.csv", float_precision="round_trip", keep_default_na=False, na_values="")'
        if manifest["request"]["output_format"] == "csv"
        else f'read_parquet("{path}.parquet")'
    )
    lines = [
        "import pandas",
        f"train = pandas.{reads}",
        f"targets = {list(targets)!r}",
        f"features = train.columns.difference({others!r}, sort=False)",
    ]
    return f"<pre>{escape(chr(10).join(lines))}</pre>"
