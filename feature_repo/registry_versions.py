"""Feature registry versions: YAML files that choose columns from the catalogue, checked on load, and ``latest``.

A released version never changes. ``latest`` is the whole catalogue of the code as it is, and has no file. A file that
breaks a rule is an error to who asks for that version, and nothing to who asks for all of them (``sound_versions``).
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import yaml

from feature_repo.migrations import Migration, read_migration
from feature_repo.yaml_text import load_yaml
from market.clock import DAY_NS, SECOND_NS, parse_duration_ns
from market.errors import InvalidRegistry, NotFound
from market.events import ORDERBOOK
from transforms.catalogue import FEATURES, feature_set
from transforms.declaration import Source
from transforms.normalisation import METHODS, Normalisation
from transforms.rows import FeatureSet

SHIPPED_FOLDER: Final = Path(__file__).parent / "registry"
SHIPPED_VERSIONS: Final = ("1.0.0", "1.1.0", "1.2.0", "1.3.0", "1.4.0", "2.0.0", "2.1.0")
DEFAULT_VERSION: Final = SHIPPED_VERSIONS[-1]
"""The newest that is shipped: what is active where nothing was activated."""
LATEST: Final = "latest"
ALIASES: Final[Mapping[str, str]] = {
    "RSI_14": "rsi_14",
    "EMA_20": "ema_20",
    "EMA_21": "ema_21",
    "MACD_line": "macd_line",
    "MACD_signal": "macd_signal",
    "MACD_histogram": "macd_histogram",
    "BB_upper": "bb_upper",
    "BB_lower": "bb_lower",
    "BB_width": "bb_width",
}
"""Names of features by their first spelling, which registry files may have; the column has the catalogue's."""
MAX_LOOKBACK_DAYS: Final = 90
_VERSION: Final = re.compile(r"(0|[1-9][0-9]{0,5})(\.(0|[1-9][0-9]{0,5})){2}")
_SOURCE_NAMES: Final[dict[Source, frozenset[str]]] = {
    Source.BOOK: frozenset({"orderbook"}),
    Source.TRADES: frozenset({"trades"}),
    Source.KLINES: frozenset({"kline"}),
    # The exchange announces funding in its ticker alone, so either word means it.
    Source.TICKERS: frozenset({"ticker", "funding"}),
    Source.POSITIONS: frozenset({"position_manager"}),
    Source.BARS: frozenset({"kline_intervals"}),
    Source.NOTHING: frozenset(),
}
_KNOWN_SOURCES: Final = frozenset(
    {"orderbook", "trades", "kline", "ticker", "funding", "position_manager", "kline_intervals"}
)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RegistryVersion:
    """One checked registry file, or ``latest``, whose path is None.

    schema_version: as the file states it. migration: how readers of the version before come to this one.
    """

    feature_set: FeatureSet
    path: Path | None
    warnings: tuple[str, ...]
    schema_version: str | None = None
    migration: Migration | None = None

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


def sound_versions(folder: Path = SHIPPED_FOLDER) -> list[RegistryVersion]:
    """The released versions whose files keep the rules, oldest first; of the others the log has a line each."""
    found = []
    for version in registry_versions(folder):
        try:
            found.append(load_registry_version(version, folder))
        except (InvalidRegistry, NotFound) as error:
            _log.warning("registry version %s is skipped: %s", version, error)
    return found


def is_version(text: str) -> bool:
    """Whether a text is a version's number, ``<major>.<minor>.<patch>``."""
    return _VERSION.fullmatch(text) is not None


def service_name(version: str) -> str:
    """Name of the Feast service of a registry version."""
    return "features_latest" if version == LATEST else f"features_v{version.replace('.', '_')}"


def version_of_service(name: str) -> str | None:
    """The registry version of a Feast service's name; None where it is of none, as that of the whole catalogue."""
    version = name.removeprefix("features_v").replace("_", ".")
    return version if is_version(version) and service_name(version) == name else None


def load_registry_file(path: Path) -> RegistryVersion:
    """Read and check one registry file. Raises InvalidRegistry with every problem, each naming its feature."""
    try:
        found = path.stat()
    except OSError as error:
        raise InvalidRegistry(str(path), [f"file: must be readable, {error}"]) from error
    return _checked_file(path, (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns))


# YAML of the whole catalogue takes a tenth of a second, and health asks every few seconds.
@lru_cache(maxsize=64)
def _checked_file(path: Path, _touched: tuple[int, ...]) -> RegistryVersion:
    return check_registry(read_config(path), path)


def read_config(path: Path) -> object:
    """What a registry file holds, unchecked. Raises InvalidRegistry when it is no YAML or cannot be read."""
    try:
        return load_yaml(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise InvalidRegistry(str(path), [f"file: must be YAML, {error}"]) from error


def config_text(config: Mapping[str, Any]) -> str:
    """A registry file of a configuration, which reads back as the same."""
    return str(yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True, width=120))


def check_registry(config: object, path: Path) -> RegistryVersion:
    """The version that a configuration is; ``path`` is where it has its file, or comes to have it.

    Raises InvalidRegistry with every problem, each naming its feature.
    """
    if not isinstance(config, dict):
        raise InvalidRegistry(str(path), [f"file: must hold 'version' and 'features', was {type(config).__name__}"])
    problems: list[str] = []
    warnings: list[str] = []
    version = config.get("version")
    if not isinstance(version, str) or not is_version(version):
        problems.append(f"version: must be <major>.<minor>.<patch>, was {version!r}")
    entries = config.get("features")
    if not isinstance(entries, list) or not entries:
        problems.append(f"features: must be a list of at least one feature, was {entries!r}")
        entries = []
    chosen = _chosen(str(version), entries, problems, warnings)
    schema_version = config.get("schema_version")
    if not isinstance(schema_version, str | None):
        problems.append(f"schema_version: must be a text, was {schema_version!r}")
    migration: Migration | None = None
    if chosen is not None:
        migration, wrong = read_migration(config.get("migration"), chosen.columns)
        problems += wrong
    if problems or chosen is None:
        raise InvalidRegistry(str(path), problems)
    return RegistryVersion(chosen, path, tuple(warnings), schema_version, migration)


def _chosen(version: str, entries: Sequence[Any], problems: list[str], warnings: list[str]) -> FeatureSet | None:
    """The set of the entries; what is wrong with them is added to ``problems``, what is odd to ``warnings``."""
    names: list[str] = []
    normalisations: list[Normalisation] = []
    for position, given in enumerate(entries):
        if not isinstance(given, dict) or not isinstance(given.get("name"), str):
            problems.append(f"features[{position}]: must be a mapping with a name, was {given!r}")
            continue
        entry = {**given, "name": _plain_name(ALIASES.get(given["name"], given["name"]))}
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
    try:
        return feature_set(version, list(dict.fromkeys(names)), normalisations)
    except InvalidRegistry as error:
        problems += error.problems if names else ()
        return None


def _plain_name(name: str) -> str:
    """A feature named with its group, ``mygroup:spread_z``, by its own name; another stays as it is, to be reported."""
    group, _, own = name.partition(":")
    return own if own in FEATURES and FEATURES[own].group == group else name


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
