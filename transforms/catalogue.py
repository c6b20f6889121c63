"""The catalogue: every declared feature, by name and by group, and the feature sets chosen from it."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Sequence
from types import ModuleType
from typing import Final

from market.clock import DAY_NS, MINUTE_NS, SECOND_NS
from market.errors import InvalidFeature, InvalidRegistry
from transforms.declaration import Feature, Source, declared_features
from transforms.features import bars, candles, orderbook, orderflow, perpetual, position, price, technical, temporal
from transforms.fingerprint import code_fingerprint, fingerprint_of
from transforms.normalisation import METHODS, Normalisation, remember
from transforms.outside import group_name, outside_modules
from transforms.rows import FeatureGroup, FeatureSet
from transforms.state import NORMALISED_COLUMNS, SECONDS_KEPT

GROUP_MODULES: Final = (price, orderbook, orderflow, perpetual, temporal, technical, candles, position, bars)


def module_groups(module: ModuleType) -> dict[str, tuple[Feature, ...]]:
    """The groups that a module declares: one of its name, or one an interval of bars."""
    features = declared_features(module.__name__)
    return {group: tuple(each for each in features if each.group == group) for group in {e.group: 0 for e in features}}


OUR_GROUPS: Final = tuple(group for module in GROUP_MODULES for group in module_groups(module))


def _groups() -> dict[str, tuple[Feature, ...]]:
    """Ours, then those of other packages. Raises InvalidFeature where two groups or two features share a name."""
    groups = {group: features for module in GROUP_MODULES for group, features in module_groups(module).items()}
    taken = {declared.name: group for group, features in groups.items() for declared in features}
    for module in outside_modules():
        # The module's own name too: it is a group's, or the beginning of those of its intervals.
        for group, features in ({group_name(module): ()} | module_groups(module)).items():
            problems = [
                f"{each.name}: must have a name of its own, was one of group {taken[each.name]}"
                for each in features
                if each.name in taken
            ]
            if group in groups:
                problems.append(f"group: must have a name of its own, was that of ours; rename {module.__name__}")
            if len({each.source for each in features}) > 1:
                problems.append("group: must read one source in all its features")
            if problems:
                raise InvalidFeature(group, problems)
            if features:
                groups[group] = features
                taken |= {each.name: group for each in features}
    return groups


GROUPS: Final[dict[str, tuple[Feature, ...]]] = _groups()
FEATURES: Final[dict[str, Feature]] = {declared.name: declared for features in GROUPS.values() for declared in features}
assert len(FEATURES) == sum(map(len, GROUPS.values())), "two features share a name"

STALE_AFTER_NS: Final[dict[Source, int]] = {
    Source.BOOK: 10 * SECOND_NS,
    Source.TRADES: MINUTE_NS,
    Source.KLINES: 150 * SECOND_NS,
    Source.TICKERS: MINUTE_NS,
    Source.POSITIONS: DAY_NS,
}
"""How long a source may be silent before its groups are marked STALE. The book changes ten times a second, trades may
pause, klines come every few seconds from the exchange and once a minute from archives, positions when they change. Of
bars see ``stale_after_ns``."""


def stale_after_ns(group: str) -> int:
    """How long the source of a group may be silent before it is STALE; 0 where there is none, of bars as of klines."""
    first = GROUPS[group][0]
    if first.source is Source.BARS:
        return STALE_AFTER_NS[Source.KLINES] * first.window_s // (MINUTE_NS // SECOND_NS)
    return STALE_AFTER_NS.get(first.source, 0)


def group_source(group: str) -> Source:
    """The one raw source that a group reads."""
    return GROUPS[group][0].source


def group_kinds(group: str) -> frozenset[int]:
    """The event kinds whose raw tables a rebuild of the group must load."""
    return frozenset().union(*(declared.kinds for declared in GROUPS[group]))


def group_horizon_ns(group: str) -> int:
    """How far back the group's values and its status can see."""
    horizon_ns = max(declared.horizon_ns for declared in GROUPS[group])
    return max(horizon_ns, stale_after_ns(group))


def group_warm_up_ns(group: str) -> int:
    """History after which every feature of the group can have a value."""
    return max(declared.warm_up_ns for declared in GROUPS[group])


def group_fingerprint(group: str) -> str:
    """Identity of the code and parameters that compute a group; comments and prose do not count."""
    return fingerprint_of(GROUPS[group], horizon_ns=group_horizon_ns(group), warm_up_ns=group_warm_up_ns(group))


def feature_set(version: str, names: Sequence[str], normalisations: Sequence[Normalisation] = ()) -> FeatureSet:
    """The set of the named features, in the order given, and of their normalised columns, under a registry version.

    Raises InvalidRegistry naming every unknown or repeated feature, with the closest names there are.
    """
    problems = [f"{name}: must be in the catalogue{_suggestion(name)}" for name in names if name not in FEATURES]
    problems += [
        f"{name}: must be named once, was named {names.count(name)} times"
        for name in dict.fromkeys(names)
        if names.count(name) > 1
    ]
    problems += [
        f"{column.name}: must normalise a feature that the version names"
        for column in normalisations
        if column.feature not in names
    ]
    problems += [
        f"{column.name}: must have a window of less than {SECONDS_KEPT} s, was {column.window_s} s"
        for column in normalisations
        if not 0 < column.window_s < SECONDS_KEPT
    ]
    if len(normalisations) > NORMALISED_COLUMNS:
        problems.append(f"normalization: must be of at most {NORMALISED_COLUMNS} columns, was {len(normalisations)}")
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
    if normalisations:
        groups.append(_normalised_group(version, len(names), normalisations, groups))
    columns = (*names, *(column.name for column in normalisations))
    identity = "\n".join([version, *columns, *(group.fingerprint for group in groups)])
    fingerprint = hashlib.sha256(identity.encode()).hexdigest()[:16]
    return FeatureSet(version, columns, tuple(groups), fingerprint, tuple(normalisations))


def set_kinds(chosen: FeatureSet) -> frozenset[int]:
    """The event kinds whose raw tables a rebuild of the set must load."""
    return frozenset().union(*(group_kinds(group.name) for group in chosen.groups if group.name in GROUPS))


def set_horizon_ns(chosen: FeatureSet) -> int:
    """How far back the set's rows and their statuses can see."""
    own_ns = [group_horizon_ns(group.name) for group in chosen.groups if group.name in GROUPS]
    return max([*own_ns, *(normalised_horizon_ns(column) for column in chosen.normalisations)])


def set_reaches_ns(chosen: FeatureSet) -> dict[int, int]:
    """By event kind, how far back the set's rows and their statuses see it, the order book at the row apart.

    The kind that a group reads is seen as far as any of its features sees, which its status follows; another one, as
    the mid price of position features, as far as the features that take it.
    """
    found: dict[int, int] = {}
    seen = [
        (declared, kind, 0)
        for group in chosen.groups
        for declared in GROUPS.get(group.name, ())
        for kind in declared.kinds
    ]
    seen += [
        (FEATURES[column.feature], kind, column.window_ns)
        for column in chosen.normalisations
        for kind in FEATURES[column.feature].kinds
    ]
    for declared, kind, window_ns in seen:
        is_source = kind == declared.source.value
        reach_ns = group_horizon_ns(declared.group) if is_source else declared.reach_of_ns(kind)
        found[kind] = max(found.get(kind, 0), reach_ns + window_ns)
    return found


def set_candles(chosen: FeatureSet) -> int:
    """How many candles in a row the groups of the set look at, at most; 0 where none looks at any.

    Those of whole groups, by which the status goes, whichever of their features the set names.
    """
    groups = [GROUPS[group.name] for group in chosen.groups if group.name in GROUPS]
    return max(declared.candles for group in groups for declared in group)


def column_horizon_ns(chosen: FeatureSet, column: str) -> int:
    """How far back a column can see."""
    for normalised in chosen.normalisations:
        if normalised.name == column:
            return normalised_horizon_ns(normalised)
    return value_horizon_ns(FEATURES[column])


def column_reaches_ns(chosen: FeatureSet, column: str) -> dict[int, int]:
    """By event kind, how far back the messages lie whose numbers a column is made of: of trades its window.

    The order book at the row apart; empty for a column of the time alone.
    """
    normalised = next((each for each in chosen.normalisations if each.name == column), None)
    declared = FEATURES[column if normalised is None else normalised.feature]
    window_ns = 0 if normalised is None else normalised.window_ns
    return {kind: declared.reach_of_ns(kind) + window_ns for kind in declared.kinds}


def value_horizon_ns(declared: Feature) -> int:
    """How far back a value can see: as declared, and for trades as the group, where one shows that they arrive."""
    return group_horizon_ns(declared.group) if declared.source is Source.TRADES else declared.horizon_ns


def normalised_horizon_ns(column: Normalisation) -> int:
    """Horizons add along the dependency: the feature's own and the window of its rows."""
    return value_horizon_ns(FEATURES[column.feature]) + column.window_ns


def normalised_warm_up_ns(column: Normalisation) -> int:
    """History after which every row of the window can have a value."""
    return FEATURES[column.feature].warm_up_ns + column.window_ns


def _normalised_group(
    version: str, first: int, normalisations: Sequence[Normalisation], groups: Sequence[FeatureGroup]
) -> FeatureGroup:
    """The group of a version's normalised columns: its identity holds those of the groups they come from."""
    sources = {FEATURES[column.feature].group for column in normalisations}
    identity = [
        *(f"{column.feature} {column.method} {column.window_s}" for column in normalisations),
        *(group.fingerprint for group in groups if group.name in sources),
        code_fingerprint([remember, *(METHODS[column.method] for column in normalisations)]),
    ]
    return FeatureGroup(
        f"normalised_v{version.replace('.', '_')}",
        hashlib.sha256("\n".join(identity).encode()).hexdigest()[:16],
        tuple(column.name for column in normalisations),
        tuple(range(first, first + len(normalisations))),
    )


def _suggestion(name: str) -> str:
    close = difflib.get_close_matches(name, FEATURES, n=3)
    return f", did you mean {' or '.join(close)}?" if close else ""
