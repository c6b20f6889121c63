"""The sections of a dataset's report that are about its columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from market.clock import format_iso
from quality.charts import heat_map, histogram, line
from quality.html_table import table
from quality.profile import CLASSES, TableProfile
from quality.relations import REDUNDANT

MISSING_BUCKETS: Final = 60
MOST_DRIFT_SHOWN: Final = 15
MOST_RELATED: Final = 20


def drift_section(drift: Mapping[str, Mapping[str, Any]]) -> str:
    """The columns that are farthest apart; those that move by nature are marked."""
    rows = [
        (
            symbol,
            name,
            *("not known" if each[measure] is None else f"{each[measure]:.3f}" for measure in ("psi", "ks")),
            f"{each['missing_then']:.1%}",
            f"{each['missing_now']:.1%}",
            "moves by nature" if each["is_expected"] else ", ".join(each["drifted"]),
        )
        for symbol, columns in drift.items()
        for name, each in _with_values(columns)[:MOST_DRIFT_SHOWN]
    ]
    if not rows:
        return '<p class="note">No symbol has rows in both splits.</p>'
    note = f"The {MOST_DRIFT_SHOWN} columns of each symbol that are farthest apart; _quality.json has all of them."
    columns = ("symbol", "column", "PSI", "KS", "missing in train", "missing in test", "drifted by")
    return f'<p class="note">{note}</p>{table(columns, rows)}'


def _with_values(drift: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Without what is missing in every row, of which another section has a line."""
    return [(name, each) for name, each in drift.items() if min(each["missing_then"], each["missing_now"]) < 1.0]


def target_section(
    name: str,
    targets: Mapping[str, str],
    classes: Mapping[str, Mapping[str, float]],
    profile: TableProfile,
    of_symbol: Sequence[tuple[str, npt.NDArray[np.bool_]]],
) -> str:
    times_ns, sample = profile.sample
    at = profile.columns.index(name)
    values = sample[:, at]
    if name in classes:
        # A line through classes shows nothing: their shares, and how these move.
        labels = classes[name]
        counts = [int(profile.of_class[at][CLASSES.index(label)]) for label in labels.values()]
        shares = table(tuple(labels), [tuple(f"{count / max(profile.rows, 1):.2%}" for count in counts)])
        return f"<p>{escape(targets[name])}</p>{shares}{_classes_over_time(labels, times_ns, values)}"
    drawn = f'<div class="grid">{histogram(values, width=420, height=120)}</div>'
    lines = "".join(
        f'<p class="note">{escape(symbol)}</p><div>{line(times_ns[rows], values[rows])}</div>'
        for symbol, rows in of_symbol
    )
    return f"<p>{escape(targets[name])}</p>{drawn}{lines}"


def missing_map_section(
    columns: Sequence[str], times_ns: npt.NDArray[np.int64], sample: npt.NDArray[np.float64]
) -> str:
    if len(sample) == 0:
        return "<p>no rows</p>"
    begin, end = int(times_ns.min()), int(times_ns.max()) + 1
    bucket = (times_ns - begin) * MISSING_BUCKETS // (end - begin)
    shares = np.full((len(columns), MISSING_BUCKETS), np.nan)
    for at in np.unique(bucket).tolist():
        shares[:, at] = np.isnan(sample[bucket == at]).mean(axis=0)
    is_whole = np.asarray(np.isnan(sample).all(axis=0))
    told = _wholly_missing(columns, is_whole)
    some = np.flatnonzero(np.nan_to_num(shares).any(axis=1) & ~is_whole).tolist()
    if len(some) == 0:
        return told or '<p class="passed">No value is missing.</p>'
    edges = (format_iso(begin), format_iso(end - 1))
    drawn = heat_map([columns[at] for at in some], shares[some], diverging=False, columns=edges)
    return f'{told}<p class="note">Columns with a missing value; darker is more.</p><div class="scroll">{drawn}</div>'


def missing_reasons_section(found: Mapping[str, Any] | None) -> str:
    """The share of looked-at rows that lack a column, by the reason; columns of the same shares in one line."""
    if found is None:
        return '<p class="note">Not known: samples at times are not rows of the feature log.</p>'
    by_column: Mapping[str, Mapping[str, int]] = found["by_column"]
    if not by_column:
        return '<p class="passed">No value is missing.</p>'
    reasons = sorted({reason for counts in by_column.values() for reason in counts})
    alike: dict[tuple[str, ...], list[str]] = {}
    for name, counts in by_column.items():
        shares = (f"{counts[reason] / found['rows']:.1%}" if reason in counts else "" for reason in reasons)
        alike.setdefault(tuple(shares), []).append(name)
    rows = [(", ".join(names), *shares) for shares, names in alike.items()]
    note = f"Of {found['rows']} rows with a missing value, by the status of each column's group in the feature log."
    return f'<p class="note">{escape(note)}</p>{table(("columns", *reasons), rows)}'


def correlation_section(profile: TableProfile) -> str:
    known = np.flatnonzero(profile.missing < profile.rows)
    names = [profile.columns[at] for at in known.tolist()]
    drawn = heat_map(names, profile.correlations[np.ix_(known, known)], diverging=True, columns=())
    return (
        '<p class="note">Within each symbol, then their mean by rows. '
        "Columns with a value, in the same order from left to right as from top to bottom. Blue is +1, red is -1, "
        f'grey is not defined.</p><div class="scroll">{drawn}</div>'
    )


def distributions_section(profile: TableProfile, sample: npt.NDArray[np.float64]) -> str:
    is_whole = np.asarray(profile.missing == profile.rows)
    figures = [
        f"<figure>{histogram(sample[:, at])}<figcaption>{escape(name)}<br>"
        f'<span class="note">{profile.missing[at] / max(profile.rows, 1):.1%} missing</span></figcaption></figure>'
        for at, name in enumerate(profile.columns)
        if not is_whole[at]
    ]
    return f'<div class="grid">{"".join(figures)}</div>'


def relation_section(related: Mapping[str, Any]) -> str:
    """The features with the greatest rank IC in the first split, with those of the other splits and of the months."""
    auto = related["autocorrelation"]
    note = (
        f"Autocorrelation of labels one row apart {_number(auto['next_row'])}, {auto['rows_apart']} rows apart, "
        f"which do not overlap, {_number(auto['next_apart'])}. Intervals have a confidence of 95 %; "
        f"{related['overlap']:g} labels overlap and count as one row."
    )
    splits, months = related["by_split"], related["by_month"]
    first: Mapping[str, Any] = next(iter(splits.values()), {})
    known = [name for name in first if any(part[name]["rows"] for part in splits.values())]
    names = sorted(known, key=lambda name: -abs(first[name]["rank_ic"] or 0.0))[:MOST_RELATED]
    if not names:
        return '<p class="note">No features.</p>'
    rows = [
        (
            name,
            *(_with_interval(part[name], measure) for part in splits.values() for measure in ("ic", "rank_ic")),
            _number(first[name]["mutual_information"]),
        )
        for name in names
    ]
    head = (
        "feature",
        *(f"{measure}, {part}" for part in splits for measure in ("IC", "rank IC")),
        "mutual information",
    )
    by_month = table(
        ("feature", *months),
        [(name, *(_with_interval(part[name], "rank_ic") for part in months.values())) for name in names],
    )
    return (
        f'<p class="note">{escape(note)}</p><div class="scroll">{table(head, rows)}</div>'
        f'<details><summary>rank IC by month</summary><div class="scroll">{by_month}</div></details>'
    )


def redundant_section(clusters: Sequence[Sequence[str]]) -> str:
    """Groups of features that carry about the same information."""
    if not clusters:
        return f'<p class="passed">No two features have a correlation of {REDUNDANT:g} or more.</p>'
    lines = "".join(f"<li>{escape(', '.join(cluster))}</li>" for cluster in clusters)
    return (
        f'<p class="note">Each feature of a line correlates with another by {REDUNDANT:g} or more.</p><ul>{lines}</ul>'
    )


def _with_interval(relation: Mapping[str, Any], measure: str) -> str:
    interval = relation[f"{measure}_interval"]
    told = _number(relation[measure])
    return told if interval is None else f"{told} [{interval[0]:.3f}, {interval[1]:.3f}]"


def _number(value: float | None) -> str:
    return "not known" if value is None else f"{value:.3f}"


def _wholly_missing(columns: Sequence[str], is_whole: npt.NDArray[np.bool_]) -> str:
    """One line for all of them."""
    names = [name for name, is_missing in zip(columns, is_whole.tolist(), strict=True) if is_missing]
    return f'<p class="minor">Unknown in every row: {escape(", ".join(names))}.</p>' if names else ""


def _classes_over_time(
    labels: Mapping[str, float], times_ns: npt.NDArray[np.int64], values: npt.NDArray[np.float64]
) -> str:
    if len(values) == 0:
        return ""
    begin, end = int(times_ns.min()), int(times_ns.max()) + 1
    bucket = (times_ns - begin) * MISSING_BUCKETS // (end - begin)
    shares = np.full((len(labels), MISSING_BUCKETS), np.nan)
    for at in np.unique(bucket).tolist():
        shares[:, at] = [np.mean(values[bucket == at] == each) for each in labels.values()]
    edges = (format_iso(begin), format_iso(end - 1))
    drawn = heat_map(tuple(labels), shares, diverging=False, columns=edges)
    return f'<p class="note">Share of each class over time; darker is more.</p><div class="scroll">{drawn}</div>'
