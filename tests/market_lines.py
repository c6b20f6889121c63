"""Markets in a few lines of a recording, played and rebuilt."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from market.clock import MILLISECOND_NS, SECOND_NS
from tests.played import Played, write_recording
from transforms.kernel import Kernel
from transforms.status import STATUS_NAMES

CASES: Final = Path(__file__).parent / "cases"
SYMBOL: Final = "BTCUSDT"
BEGIN_NS: Final = 1_795_168_800 * SECOND_NS
Line = dict[str, Any]


def line(at_s: float, message: dict[str, Any]) -> Line:
    recv_ns = BEGIN_NS + round(at_s * 1000) * MILLISECOND_NS
    return {"recv_ns": recv_ns, "msg": {"ts": recv_ns // MILLISECOND_NS - 2, **message}}


def book(
    at_s: float,
    update_id: int,
    *,
    bid: str = "100.00",
    ask: str = "100.02",
    kind: str = "delta",
    depth: int = 200,
    seq: int | None = None,
) -> Line:
    """A message that sets the best levels; the older best is deleted by ``moves`` where it matters."""
    data: dict[str, Any] = {"s": SYMBOL, "b": [[bid, "1"]], "a": [[ask, "2"]], "u": update_id}
    if seq is not None:
        data["seq"] = seq
    return line(at_s, {"topic": f"orderbook.{depth}.{SYMBOL}", "type": kind, "data": data})


def trades(at_s: float, *numbers: int) -> Line:
    """Trades by number, each of its number of coins."""
    data = [
        {"T": BEGIN_NS // MILLISECOND_NS, "s": SYMBOL, "S": "Buy", "v": str(number), "p": "100.01", "i": f"id-{number}"}
        for number in numbers
    ]
    return line(at_s, {"topic": f"publicTrade.{SYMBOL}", "type": "snapshot", "data": data})


def ticker(at_s: float, **fields: str) -> Line:
    return line(at_s, {"topic": f"tickers.{SYMBOL}", "type": "delta", "data": {"symbol": SYMBOL, **fields}})


def played(folder: Path, kernel: Kernel, lines: Sequence[Line | bytes]) -> Played:
    """Played, and rebuilt to the same bits."""
    found = Played(folder / "out", kernel, write_recording(folder / "recording.jsonl.gz", lines))
    parity = found.parity()
    assert parity.is_exact
    assert parity.compared == found.pipeline.counters.rows > 0
    return found


def column(found: Played, name: str, *, symbol: str = SYMBOL) -> list[float | None]:
    """A column's values by row, None where unknown."""
    values: npt.NDArray[np.float64] = found.rows(symbol).values[:, found.kernel.feature_set.columns.index(name)]
    return [None if np.isnan(value) else value for value in values.tolist()]


def statuses(found: Played, group: str, *, symbol: str = SYMBOL) -> list[str]:
    at = [each.name for each in found.kernel.feature_set.groups].index(group)
    return [STATUS_NAMES[status] for status in found.rows(symbol).status[:, at].tolist()]


def case(folder: Path, kernel: Kernel, name: str) -> Played:
    found = Played(folder / name, kernel, CASES / name)
    assert found.parity().is_exact
    assert found.pipeline.counters.rejected == 0
    return found
