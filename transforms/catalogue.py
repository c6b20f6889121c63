"""The catalogue: every declared feature, by name and by group, and the feature sets chosen from it."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Sequence
from typing import Final

from market.clock import MINUTE_NS, SECOND_NS
from market.errors import InvalidRegistry
from transforms.declaration import Feature, Source, declared_features
from transforms.features import orderbook, orderflow, perpetual, price, technical, temporal
from transforms.fingerprint import fingerprint_of
from transforms.rows import FeatureGroup, FeatureSet

GROUP_MODULES: Final = (price, orderbook, orderflow, perpetual, temporal, technical)
GROUPS: Final[dict[str, tuple[Feature, ...]]] = {
    module.__name__.rpartition(".")[2]: declared_features(module.__name__.rpartition(".")[2])
    for module in GROUP_MODULES
}
FEATURES: Final[dict[str, Feature]] = {declared.name: declared for features in GROUPS.values() for declared in features}
assert len(FEATURES) == sum(map(len, GROUPS.values())), "two features share a name"

STALE_AFTER_NS: Final[dict[Source, int]] = {
    Source.BOOK: 10 * SECOND_NS,
    Source.TRADES: MINUTE_NS,
    Source.KLINES: 150 * SECOND_NS,
    Source.TICKERS: MINUTE_NS,
}
"""How long a source may be silent before its groups are marked STALE. The book changes ten times a second, trades may
pause, klines come every few seconds from the exchange and once a minute from archives."""


def group_source(group: str) -> Source:
    """The one raw source that a group reads."""
    return GROUPS[group][0].source


def group_horizon_ns(group: str) -> int:
    """How far back the group's values and its status can see."""
    horizon_ns = max(declared.horizon_ns for declared in GROUPS[group])
    return max(horizon_ns, STALE_AFTER_NS.get(group_source(group), 0))


def group_warm_up_ns(group: str) -> int:
    """History after which every feature of the group can have a value."""
    return max(declared.warm_up_ns for declared in GROUPS[group])


def group_fingerprint(group: str) -> str:
    """Identity of the code and parameters that compute a group; comments and prose do not count."""
    return fingerprint_of(GROUPS[group], horizon_ns=group_horizon_ns(group), warm_up_ns=group_warm_up_ns(group))


def feature_set(version: str, names: Sequence[str]) -> FeatureSet:
    """The set of the named features, in the order given, under a registry version.

    Raises InvalidRegistry naming every unknown or repeated feature, with the closest names there are.
    """
    problems = [f"{name}: must be in the catalogue{_suggestion(name)}" for name in names if name not in FEATURES]
    problems += [
        f"{name}: must be named once, was named {names.count(name)} times"
        for name in dict.fromkeys(names)
        if names.count(name) > 1
    ]
    if not names:
        problems.append("features: must name at least one")
    if problems:
        raise InvalidRegistry(f"registry {version}", problems)
    groups = []
    for group in GROUPS:
        columns = tuple(name for name in names if FEATURES[name].group == group)
        if columns:
            indices = tuple(names.index(name) for name in columns)
            groups.append(FeatureGroup(group, group_fingerprint(group), columns, indices))
    identity = "\n".join([version, *names, *(group.fingerprint for group in groups)])
    return FeatureSet(version, tuple(names), tuple(groups), hashlib.sha256(identity.encode()).hexdigest()[:16])


def _suggestion(name: str) -> str:
    close = difflib.get_close_matches(name, FEATURES, n=3)
    return f", did you mean {' or '.join(close)}?" if close else ""
