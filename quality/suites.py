"""The quality gate of a dataset: Great Expectations on the profile of its columns, minor findings and critical ones.

Every value that a rule measures is one row of a table, with the rule's bounds. Two expectations look at it, none
below and none above, so that their number grows neither with the rules nor with the features, nor their time with the
rows of the dataset: Great Expectations takes 10 ms for one, whatever it checks.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import numpy as np
import pandas as pd

from quality.profile import CLASSES, TableProfile, outlier_shares

Severity = Literal["minor", "critical"]

MOST_MISSING: Final = 0.05
MOST_OUTLIERS: Final = 0.01
MOST_CORRELATED: Final = 0.95
LIKE_THE_LABEL: Final = 0.999
MOST_OF_ONE_CLASS: Final = 0.8
MOST_RISK_ADJUSTED: Final = 1_000.0
"""Past volatilities in one return: an hour's return is 60 of a second's; a volatility of next to nothing gives more."""
ONE_LABEL: Final = "more than one label in each split"
TOO_GREAT: Final = "sane risk-adjusted return"
"""Rules of single splits, whose labels are not in the profile of the whole."""


@dataclass(frozen=True, slots=True)
class Rule:
    """``measure`` of every subject must lie in [low, high].

    table: the profile of the features, of the targets, or of pairs of columns.
    """

    name: str
    table: Literal["features", "targets", "pairs", "label_pairs"]
    measure: str
    severity: Severity
    low: float = 0.0
    high: float = 0.0


RULES: Final = (
    Rule("missing", "features", "missing_share", "minor", high=MOST_MISSING),
    Rule("infinities", "features", "infinite", "critical"),
    Rule("declared range", "features", "outside", "critical"),
    Rule("not constant", "features", "is_constant", "minor"),
    Rule("outliers", "features", "outlier_share", "minor", high=MOST_OUTLIERS),
    Rule("correlation", "pairs", "correlation", "minor", low=-MOST_CORRELATED, high=MOST_CORRELATED),
    Rule("unlike the label", "label_pairs", "correlation", "critical", low=-LIKE_THE_LABEL, high=LIKE_THE_LABEL),
    Rule("target present", "targets", "is_absent", "critical"),
    Rule("target finite", "targets", "infinite", "critical"),
    Rule("target not constant", "targets", "is_constant", "critical"),
    Rule("target balance", "targets", "largest_class_share", "minor", high=MOST_OF_ONE_CLASS),
)


_SAYS: Final = {
    "missing": f"at most {MOST_MISSING:.0%} of a feature may be unknown",
    "infinities": "no value of a feature may be infinite",
    "declared range": "no value may be outside the range that its feature declares",
    "not constant": "a feature must have more than one value",
    "outliers": f"at most {MOST_OUTLIERS:.1%} of a feature may lie far from the rest of its symbol",
    "correlation": f"two features must be less alike than {MOST_CORRELATED:g}",
    "unlike the label": f"a feature must be less like a target than {LIKE_THE_LABEL:g}",
    "target present": "a target must have a value",
    "target finite": "no value of a target may be infinite",
    "target not constant": "a target must have more than one value",
    "target balance": f"at most {MOST_OF_ONE_CLASS:.0%} of a target may be of one class",
    ONE_LABEL: "a split must have labels of more than one value",
    TOO_GREAT: f"a return must be at most {MOST_RISK_ADJUSTED:g} of its past volatilities",
}
"""What each rule asks for; the values seen follow."""
_YES_OR_NO: Final = {rule.name for rule in RULES if rule.measure.startswith("is_")}
"""Rules whose subjects have no value to show: each is broken or not."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule that is not kept, and what does not keep it with the values seen."""

    rule: str
    severity: Severity
    subjects: Mapping[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        values = {
            subject: "" if self.rule in _YES_OR_NO else f" {value:.6g}" for subject, value in self.subjects.items()
        }
        shown = ", ".join(f"{subject}{value}" for subject, value in list(values.items())[:5])
        more = f" and {len(self.subjects) - 5} more" if len(self.subjects) > 5 else ""
        return f"quality, {self.rule}: {_SAYS[self.rule]}, was {shown}{more}"


def check_quality(profile: TableProfile, targets: Sequence[str], classes: Collection[str]) -> list[Finding]:
    """The findings of a dataset's profile, in the order of RULES.

    targets: the columns of the profile that are labels. classes: those of them that are -1, 0 or +1.
    """
    frames = _frames(profile, targets, classes)
    broken = _broken(_measured(frames))
    return [
        Finding(rule.name, rule.severity, broken[at])
        for table in frames
        for at, rule in enumerate(RULES)
        if rule.table == table and at in broken
    ]


def quality_document(profile: TableProfile, findings: Sequence[Finding]) -> dict[str, Any]:
    """What ``quality.json`` holds; a number that does not exist is null."""
    return {
        "rows": profile.rows,
        "passed": not any(finding.severity == "critical" for finding in findings),
        "rules": [
            {"name": rule.name, "measure": rule.measure, "severity": rule.severity, "low": rule.low, "high": rule.high}
            for rule in RULES
        ],
        "findings": [
            {"rule": finding.rule, "severity": finding.severity, "subjects": dict(finding.subjects)}
            for finding in findings
        ],
        "columns": {
            name: {
                "missing": int(profile.missing[at]),
                "infinite": int(profile.infinite[at]),
                "outside_range": int(profile.outside[at]),
                "least": float(profile.least[at]) if np.isfinite(profile.least[at]) else None,
                "greatest": float(profile.greatest[at]) if np.isfinite(profile.greatest[at]) else None,
            }
            for at, name in enumerate(profile.columns)
        },
    }


def _frames(profile: TableProfile, targets: Sequence[str], classes: Collection[str]) -> dict[str, pd.DataFrame]:
    """The tables that the rules are about, one row a subject."""
    _, sample = profile.sample
    rows = max(profile.rows, 1)
    frame = pd.DataFrame(
        {
            "subject": profile.columns,
            "missing_share": profile.missing / rows,
            "infinite": profile.infinite.astype(np.float64),
            "outside": profile.outside.astype(np.float64),
            "is_constant": ((profile.least == profile.greatest) & (profile.missing < rows)).astype(np.float64),
            "is_absent": (profile.missing == profile.rows).astype(np.float64),
            "outlier_share": outlier_shares(sample, profile.sample_symbol),
            "largest_class_share": profile.of_class.max(axis=1) / np.maximum(profile.of_class.sum(axis=1), 1),
        }
    )
    is_target = frame["subject"].isin(targets)
    # The shares of -1, 0 and +1 tell nothing of a column that is no class.
    frame.loc[~frame["subject"].isin(classes), "largest_class_share"] = 1.0 / len(CLASSES)
    found = profile.correlations
    one, other = np.triu_indices(len(profile.columns), 1)
    is_label = is_target.to_numpy()
    pairs = pd.DataFrame(
        {
            "subject": [f"{profile.columns[a]} × {profile.columns[b]}" for a, b in zip(one, other, strict=True)],
            "correlation": found[one, other],
        }
    )
    among_features = ~is_label[one] & ~is_label[other]
    with_label = is_label[one] != is_label[other]
    return {
        "features": frame[~is_target],
        "pairs": pairs[among_features & ~np.isnan(found[one, other])],
        "label_pairs": pairs[with_label & ~np.isnan(found[one, other])],
        "targets": frame[is_target],
    }


def _measured(frames: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """What the rules are held to, one row a rule and subject: rule (its index), subject, value, low, high."""
    measured = [
        pd.DataFrame(
            {
                "rule": at,
                "subject": frames[rule.table]["subject"],
                "value": frames[rule.table][rule.measure],
                "low": rule.low,
                "high": rule.high,
            }
        )
        for at, rule in enumerate(RULES)
        if len(frames[rule.table]) > 0
    ]
    return pd.concat(measured, ignore_index=True)


def _broken(measured: pd.DataFrame) -> dict[int, dict[str, float]]:
    """The subjects that break a rule with their values, by the rule's index."""
    # Here, because it takes seconds.
    import great_expectations as gx
    from great_expectations.data_context.types.base import (
        DataContextConfig,
        InMemoryStoreBackendDefaults,
        ProgressBarsConfig,
    )
    from great_expectations.expectations.core.expect_column_pair_values_a_to_be_greater_than_b import (
        ExpectColumnPairValuesAToBeGreaterThanB,
    )

    # The defaults of an ephemeral context leave a folder for documents behind.
    config = DataContextConfig(
        store_backend_defaults=InMemoryStoreBackendDefaults(init_temp_docs_sites=False),
        progress_bars=ProgressBarsConfig(globally=False),
    )
    context = gx.get_context(mode="ephemeral", project_config=config)
    asset = context.data_sources.add_pandas("profile").add_dataframe_asset("measured")
    batch = asset.add_batch_definition_whole_dataframe("whole").get_batch({"dataframe": measured})
    suite = gx.ExpectationSuite(
        "bounds",
        expectations=[
            ExpectColumnPairValuesAToBeGreaterThanB(column_A=greater, column_B=less, or_equal=True)
            for greater, less in (("value", "low"), ("high", "value"))
        ],
    )
    results = batch.validate(
        suite, result_format={"result_format": "COMPLETE", "unexpected_index_column_names": ["rule", "subject"]}
    )
    broken: dict[int, dict[str, float]] = {}
    for result in results.results:
        if not result.success:
            for entry in result.result["unexpected_index_list"]:
                broken.setdefault(int(entry["rule"]), {})[str(entry["subject"])] = float(entry["value"])
    return broken
