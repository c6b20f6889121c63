"""A venue is added: its own room, one line of a table, and its documentation. Nothing else knows of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from feature_repo.registry_versions import load_registry_version
from ingestion.tape.report import tape_stats, verify_tape
from ingestion.venues.table import VENUES
from market.clock import MILLISECOND_NS, SECOND_NS
from market.errors import Conflict
from market.events import ORDERBOOK, SNAPSHOT, TRADE
from market.markets import DEFAULT_MARKET, Market
from storage.instruments import InstrumentPins
from storage.raw.events import read_events
from storage.raw.raw_data import RawData
from storage.tape import TapeWriter, tape_market
from tests.commands import SEVERAL
from tests.copied_tree import ROOT, contents, run
from tests.played import Played, write_recording
from tests.toy_venue import TOY
from transforms.kernel import Kernel, compile_kernel
from transforms.status import GAP

SYMBOL: Final = "GOLD-EUR"
SPOT: Final = Market("toy", "spot")
BEGIN_NS: Final = 1_795_168_800 * SECOND_NS
Line = dict[str, Any]


@pytest.fixture(scope="module")
def kernel(kernel_cache: Path) -> Kernel:
    kernel = compile_kernel(load_registry_version("1.0.0").feature_set, kernel_cache)
    kernel.warm_up()
    return kernel


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(VENUES, TOY.name, TOY)


def line(at_s: float, message: Line) -> Line:
    recv_ns = BEGIN_NS + round(at_s * 1000) * MILLISECOND_NS
    return {"recv_ns": recv_ns, "msg": {**message, "time_us": recv_ns // 1000 - 900}}


def depth(at_s: float, first: int, last: int, *, bid: str = "100.00", reset: bool = False) -> Line:
    ask = f"{float(bid) + 0.02:.2f}"
    message: Line = {"channel": "depth", "instrument": SYMBOL, "from": first, "to": last}
    return line(at_s, {**message, "bids": [[bid, "1.5"]], "asks": [[ask, "2"]], **({"reset": True} if reset else {})})


def later(message: Line, at_s: float) -> Line:
    return {**message, "recv_ns": BEGIN_NS + round(at_s * 1000) * MILLISECOND_NS}


def deal(at_s: float, number: int, size: str = "0.5") -> Line:
    message = {"channel": "deals", "instrument": SYMBOL, "id": f"deal-{number}", "price": "100.01", "size": size}
    return line(at_s, {**message, "taker": "buys"})


def lines() -> Iterator[Line]:
    """Twelve seconds: the book is lost for four of them, in the middle of the updates of a message."""
    yield depth(0.1, 0, 0, reset=True)
    for second in range(1, 12):
        first = 10 * second - 9
        if second == 4:
            yield depth(second + 0.2, first + 3, first + 9)  # three updates are missing
        elif second == 8:
            yield depth(second + 0.2, first, first + 9, reset=True)
        else:
            yield depth(second + 0.2, first, first + 9, bid="100.01" if second == 9 else "100.00")
        yield deal(second + 0.5, second)
        if second == 2:
            yield later(depth(second + 0.2, first, first + 9), second + 0.6)  # comes again
            yield deal(second + 0.7, second)


def play(folder: Path, kernel: Kernel, recorded: Iterable[Line]) -> Played:
    return Played(folder, kernel, write_recording(folder / "toy.jsonl.gz", recorded), market=SPOT)


@pytest.mark.usefixtures("registered")
def test_its_order_book_is_lost_and_found_by_its_own_sequence_and_rows_are_rebuilt_as_served(
    tmp_path: Path, kernel: Kernel
) -> None:
    played = play(tmp_path, kernel, lines())
    assert (played.pipeline.counters.rejected, played.pipeline.redelivered) == (0, 1)
    assert (played.pipeline.gaps, played.pipeline.lanes[SYMBOL].needs_snapshot) == (1, False)
    rows = played.rows(SYMBOL)
    seconds = ((rows.row_ns - BEGIN_NS) // SECOND_NS).tolist()
    groups = [group.name for group in rows.feature_set.groups]
    status = dict(zip(seconds, rows.status[:, groups.index("orderbook")].tolist(), strict=True))
    assert {second for second, found in status.items() if found == GAP} == {5, 6, 7, 8}
    mids = rows.values[:, rows.feature_set.columns.index("mid_price")].tolist()
    assert [second for second, mid in zip(seconds, mids, strict=True) if mid == mid] == [1, 2, 3, 4, 9, 10, 11]  # noqa: PLR0124  # is no NaN
    assert played.parity().is_exact


@pytest.mark.usefixtures("registered")
def test_its_tape_names_it_and_is_checked_by_its_rule(tmp_path: Path, kernel: Kernel) -> None:
    played = play(tmp_path, kernel, lines())
    assert tape_market(played.raw, SYMBOL) == SPOT
    check = verify_tape(played.raw, SYMBOL, InstrumentPins(played.raw))
    assert (check.findings, check.snapshots, check.book_gaps) == ([], 2, 1)
    assert {each.type for each in tape_stats(played.raw, SYMBOL)} == {
        "depth",
        "deals",
        "feature-service.gap",
        "feature-service.arrivals",
    }
    events = read_events(RawData(played.raw), SYMBOL, kinds=[ORDERBOOK, TRADE], from_ns=0, to_ns=2**62)
    instrument = InstrumentPins(played.raw).get(SYMBOL)
    assert instrument is not None
    assert events["qty"][events["kind"] == TRADE].sum() == 11 * instrument.quantity("0.5")
    books = events[events["kind"] == ORDERBOOK]
    steps = np.diff(books["update_id"])[(books["flags"] & SNAPSHOT)[1:] == 0]
    # One by one, but for the updates that are missing and the message that comes again.
    assert set(steps.tolist()) == {0, 1, 4, -9}


@pytest.mark.usefixtures("registered")
def test_a_symbol_of_another_market_is_refused_by_the_tape(tmp_path: Path, kernel: Kernel) -> None:
    """Its deals would add up with those of the market that has the name."""
    played = play(tmp_path, kernel, lines())
    for other in (Market("toy", "futures"), DEFAULT_MARKET):
        with pytest.raises(Conflict, match=rf"^tape {SYMBOL}: must be of one market, toy spot, was asked for {other}$"):
            TapeWriter(played.raw, SYMBOL, market=other)
    TapeWriter(played.raw, SYMBOL, market=SPOT).close()


BY_HAND: Final = {
    "ingestion/venues/table.py",
    "ingestion/venues/toy/__init__.py",
    "ingestion/venues/toy/venue.py",
    "docs/architecture.md",
}


def succeeding(folder: Path, *arguments: str) -> list[str]:
    env = {"FEATURE_SERVICE_MARKET": "toy spot", "FEATURE_SERVICE_CACHE_PATH": str(ROOT / ".cache")}
    status, printed = run(folder, *arguments, env=env, tells_steps=True)
    assert status == 0, printed
    return printed


def test_a_venue_is_a_room_a_line_of_a_table_and_its_documentation(copy: Path, tmp_path: Path) -> None:
    before = contents(copy)
    room = copy / "ingestion" / "venues" / "toy"
    room.mkdir()
    purpose = "Toy: two channels of an exchange that there is not."
    (room / "__init__.py").write_text(f'"""{purpose}"""\n')
    (room / "venue.py").write_text((ROOT / "tests" / "toy_venue.py").read_text())
    table = copy / "ingestion" / "venues" / "table.py"
    text = table.read_text().replace("BYBIT,", "BYBIT, TOY,")
    table.write_text(
        text.replace(
            "from ingestion.venues.venue", "from ingestion.venues.toy.venue import TOY\nfrom ingestion.venues.venue"
        )
    )
    page = copy / "docs" / "architecture.md"
    text = page.read_text().replace("│       bybit        ", "│       bybit  toy   ")
    page.write_text(
        text.replace("| `ingestion/worker/`", f"| `ingestion/venues/toy/` | {purpose} |\n| `ingestion/worker/`")
    )

    recording, data = write_recording(tmp_path / "toy.jsonl.gz", lines()), str(tmp_path / "data")
    asked = ("replay", str(recording), "--out", data, "--registry", "1.0.0", "--json")
    parity = ("verify", "parity", "--data", data, "--registry", "1.0.0")
    printed = succeeding(copy, *SEVERAL, json.dumps([asked, parity, ("verify", "tape", "--data", data)]))
    played, _ = json.JSONDecoder().raw_decode("\n".join(printed))
    assert (played["messages"], played["rejected"], played["gaps"]) == (25, 0, 1)
    succeeding(copy, "-m", "pytest", "tests/unit/test_architecture.py", "-q", "-p", "no:cacheprovider")
    after = contents(copy)
    assert {name for name in after | before if after.get(name) != before.get(name)} == BY_HAND
