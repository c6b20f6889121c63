"""A new group of features as files: a module that works, and a test that holds it to plain Python."""

from __future__ import annotations

import keyword
from pathlib import Path
from typing import Final

from market.errors import InvalidRequest

_MODULE: Final = '''"""{group}: features of the trades in a window."""

from __future__ import annotations

import math
from typing import Any

from transforms.declaration import TRADES, feature

NAN = math.nan


@feature("{group}_pressure_{{window}}", windows=("15s", "1m"), reads=TRADES, unit="1", low=-1.0, high=1.0)
def pressure(trades: Any) -> float:
    """What buyers took less what sellers took, relative to everything that was traded.

    Formula: (bought - sold) / (bought + sold)
    NaN: nothing traded.
    """
    return trades.net_volume / trades.volume if trades.volume > 0 else NAN
'''
_TEST: Final = '''"""{group} against plain Python on a drawn stream: every row, from the trades of its window."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from market.clock import SECOND_NS
from market.events import BUY, TRADE
from quality.feature_laws.generated import INSTRUMENT, generated_stream
from transforms.catalogue import feature_set
from transforms.engine import Engine
from transforms.kernel import compile_kernel

pytest.importorskip("{group}")


def test_pressure_is_that_of_plain_python() -> None:
    kernels = Path(__file__).parent / ".kernels"  # compiled once, which takes a minute
    stream = generated_stream(1, minutes=3)
    engine = Engine(compile_kernel(feature_set("9.9.9", ["{group}_pressure_15s"]), kernels), INSTRUMENT)
    engine.feed(stream)
    rows = engine.advance(int(stream["recv_ns"].max()))
    trades = stream[stream["kind"] == TRADE]
    is_known = 0
    for row_ns, value in zip(rows.row_ns.tolist(), rows.values[:, 0].tolist(), strict=True):
        held = trades[(trades["recv_ns"] >= row_ns - 15 * SECOND_NS) & (trades["recv_ns"] < row_ns)]
        if math.isnan(value):
            continue
        bought = int(held["qty"][held["field"] == BUY].sum())
        total = int(held["qty"].sum())
        assert value == pytest.approx((2 * bought - total) / total)
        is_known += 1
    assert is_known > 60
    assert np.isnan(rows.values[0, 0])
'''


def write_feature_group(group: str, folder: Path) -> list[Path]:
    """Write ``<group>.py`` and ``test_<group>.py``. Raises InvalidRequest for no name, or files that are there."""
    if not group.isidentifier() or keyword.iskeyword(group) or group != group.lower():
        raise InvalidRequest(f"group: must be a name of lowercase letters, digits and _, was {group!r}")
    files = {folder / f"{group}.py": _MODULE, folder / f"test_{group}.py": _TEST}
    present = [str(file) for file in files if file.exists()]
    if present:
        raise InvalidRequest(f"files: must not exist yet, found {', '.join(present)}")
    folder.mkdir(parents=True, exist_ok=True)
    for file, text in files.items():
        file.write_text(text.format(group=group), encoding="utf-8")
    return list(files)
