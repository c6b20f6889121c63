"""Feature registry versions: YAML files that choose columns from the catalogue, checked on load, and ``latest``.

A released version never changes. ``latest`` is the whole catalogue of the code as it is, and has no file.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from market.clock import DAY_NS, SECOND_NS, parse_duration_ns
from market.errors import InvalidRegistry, NotFound
from market.events import ORDERBOOK
from transforms.catalogue import FEATURES, feature_set
from transforms.declaration import Source
from transforms.normalisation import METHODS, Normalisation
from transforms.rows import FeatureSet

SHIPPED_FOLDER: Final = Path(__file__).parent / "registry"
LATEST: Final = "latest"
MAX_LOOKBACK_DAYS: Final = 90
_VERSION: Final = re.compile(r"\d+\.\d+\.\d+")
_SOURCE_NAMES: Final[dict[Source, frozenset[str]]] = {
    Source.BOOK: frozenset({"orderbook"}),
    Source.TRADES: frozenset({"trades"}),
    Source.KLINES: frozenset({"kline"}),
    # The exchange announces funding in its ticker alone, so either word means it.
    Source.TICKERS: frozenset({"ticker", "funding"}),
    Source.POSITIONS: frozenset({"position_manager"}),
    Source.NOTHING: frozenset(),
}
_KNOWN_SOURCES: Final = frozenset({"orderbook", "trades", "kline", "ticker", "funding", "position_manager"})


@dataclass(frozen=True, slots=True)
class RegistryVersion:
    """One checked registry file, or ``latest``, whose path is None."""

    feature_set: FeatureSet
    path: Path | None
    warnings: tuple[str, ...]

    @property
    def version(self) -> str:
        return self.feature_set.version


def version_key(version: str) -> tuple[int, ...]:
    """What versions are ordered by: 1.10.0 comes after 1.9.0."""
    return tuple(int(part) for part in version.split("."))


def registry_versions(folder: Path = SHIPPED_FOLDER) -> tuple[str, ...]:
    """The released versions, those that have a file in ``folder``, oldest first."""
    found = (path.stem for path in folder.glob("*.yaml"))
    return tuple(sorted((stem for stem in found if _VERSION.fullmatch(stem)), key=version_key))


def load_registry_version(version: str, folder: Path = SHIPPED_FOLDER) -> RegistryVersion:
    """The checked registry file of a version, or ``latest``.

    Raises NotFound when there is none, InvalidRegistry with every problem of the file.
    """
    if version == LATEST:
        return RegistryVersion(feature_set(LATEST, list(FEATURES)), None, ())
    path = folder / f"{version}.yaml"
    released = registry_versions(folder)
    if version not in released:
        raise NotFound(f"registry version: must be one of {', '.join((*released, LATEST))}, was {version!r}")
    loaded = load_registry_file(path)
    if loaded.version != version:
        raise InvalidRegistry(str(path), [f"version: must be {version} as in the file's name, was {loaded.version}"])
    return loaded


def load_registry_file(path: Path) -> RegistryVersion:
    """Read and check one registry file. Raises InvalidRegistry with every problem, each naming its feature."""
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRegistry(str(path), [f"file: must be YAML, {error}"]) from error
    if not isinstance(config, dict):
        raise InvalidRegistry(str(path), [f"file: must hold 'version' and 'features', was {type(config).__name__}"])
    problems: list[str] = []
    warnings: list[str] = []
    version = config.get("version")
    if not isinstance(version, str) or not _VERSION.fullmatch(version):
        problems.append(f"version: must be <major>.<minor>.<patch>, was {version!r}")
    entries = config.get("features")
    if not isinstance(entries, list) or not entries:
        problems.append(f"features: must be a list of at least one feature, was {entries!r}")
        entries = []
    names: list[str] = []
    normalisations: list[Normalisation] = []
    for position, entry in enumerate(entries):
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            problems.append(f"features[{position}]: must be a mapping with a name, was {entry!r}")
            continue
        names.append(entry["name"])
        problems += _entry_problems(entry)
        normalised, wrong = _normalisation(entry)
        problems += wrong
        if normalised is not None:
            normalisations.append(normalised)
        if entry["name"] in FEATURES:
            missing, extra = _source_differences(entry)
            problems += missing
            warnings += extra
    problems += [
        f"{name}: must be named once, was named {count} times" for name, count in Counter(names).items() if count > 1
    ]
    chosen: FeatureSet | None = None
    try:
        chosen = feature_set(str(version), list(dict.fromkeys(names)), normalisations)
    except InvalidRegistry as error:
        problems += error.problems if names else ()
    if problems or chosen is None:
        raise InvalidRegistry(str(path), problems)
    return RegistryVersion(chosen, path, tuple(warnings))


def _entry_problems(entry: Mapping[str, Any]) -> list[str]:
    name = entry["name"]
    problems = []
    if entry.get("lookahead_forbidden") is not True:
        problems.append(f"{name}.lookahead_forbidden: must be true, was {entry.get('lookahead_forbidden')!r}")
    days = entry.get("max_lookback_days", MAX_LOOKBACK_DAYS)
    if not isinstance(days, int) or isinstance(days, bool) or not 0 <= days <= MAX_LOOKBACK_DAYS:
        problems.append(f"{name}.max_lookback_days: must be 0 to {MAX_LOOKBACK_DAYS}, was {days!r}")
        days = MAX_LOOKBACK_DAYS
    lookback = entry.get("lookback_window")
    if lookback is None:
        problems.append(f"{name}.lookback_window: must be given as <int><s|m|h|d>")
    else:
        problems += _lookback_problems(name, str(lookback), days)
    return problems


def _normalisation(entry: Mapping[str, Any]) -> tuple[Normalisation | None, list[str]]:
    """The normalised column an entry declares, and what is wrong with it."""
    declared = entry.get("normalization")
    if declared in ("none", None):
        return None, []
    thing = f"{entry['name']}.normalization"
    # A list of the methods, because YAML may hold a type that cannot be looked up in a dict.
    if not isinstance(declared, dict) or declared.keys() != {"type", "window"} or declared["type"] not in list(METHODS):
        return None, [f"{thing}: must be none or {{type: {' | '.join(METHODS)}, window: <int><s|m>}}, was {declared!r}"]
    try:
        window_s = parse_duration_ns(str(declared["window"])) // SECOND_NS
    except ValueError as error:
        return None, [f"{thing}.window: {error}"]
    return Normalisation(entry["name"], declared["type"], window_s), []


def _lookback_problems(name: str, lookback: str, days: int) -> list[str]:
    if re.fullmatch(r"0[smhd]", lookback):
        return []
    try:
        lookback_ns = parse_duration_ns(lookback)
    except ValueError as error:
        return [f"{name}.lookback_window: {error}"]
    if lookback_ns > days * DAY_NS:
        return [f"{name}.lookback_window: must be within max_lookback_days {days}, was {lookback!r}"]
    return []


def _source_differences(entry: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Problems and warnings from the declared sources against the source the code reads."""
    name = entry["name"]
    declared = entry.get("input_sources", [])
    if not isinstance(declared, Sequence) or isinstance(declared, str):
        return [f"{name}.input_sources: must be a list, was {declared!r}"], []
    known = [source for source in declared if isinstance(source, str) and source in _KNOWN_SOURCES]
    problems = [
        f"{name}.input_sources: must be among {', '.join(sorted(_KNOWN_SOURCES))}, was {source!r}"
        for source in declared
        if source not in known
    ]
    read = _SOURCE_NAMES[FEATURES[name].source]
    if read and not read & set(known):
        problems.append(
            f"{name}.input_sources: must name {' or '.join(sorted(read))}, which it reads, was {declared!r}"
        )
    # A position's features may also take the mid: to name the order book there is right, not needed.
    also = _SOURCE_NAMES[Source.BOOK] if ORDERBOOK in FEATURES[name].kinds else frozenset()
    warnings = [
        f"{name}.input_sources: {source} is declared but not read" for source in known if source not in read | also
    ]
    return problems, warnings
