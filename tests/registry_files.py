"""Registry files: entries that are well formed, written to a folder, and what is wrong with a changed one."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from feature_repo.registry_versions import (
    load_registry_file,
)
from market.errors import InvalidRegistry

Entry = dict[str, Any]


RSI: Final[Entry] = {
    "name": "rsi_14",
    "input_sources": ["kline"],
    "lookback_window": "14m",
    "lookahead_forbidden": True,
    "max_lookback_days": 1,
    "data_sources": [{"source": "kline", "timestamp_required": True}],
    "normalization": "none",
}


MID: Final[Entry] = RSI | {"name": "mid_price", "input_sources": ["orderbook"], "lookback_window": "0s"}


def without(entry: Entry, *names: str) -> Entry:
    return {name: value for name, value in entry.items() if name not in names}


def written(folder: Path, *entries: object, version: object = "9.0.0") -> Path:
    path = folder / "9.0.0.yaml"
    path.write_text(yaml.safe_dump({"version": version, "features": list(entries)}))
    return path


def problems_of(path: Path) -> tuple[str, ...]:
    with pytest.raises(InvalidRegistry) as caught:
        load_registry_file(path)
    assert str(path) in str(caught.value)
    return caught.value.problems


def problem_of(path: Path) -> str:
    [problem] = problems_of(path)
    return problem
