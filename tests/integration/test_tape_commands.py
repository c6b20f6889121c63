"""The commands on a tape as they are typed: figures, a check, compaction and retention."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from feature_repo.registry_versions import load_registry_version
from ingestion.sources.simulated.simulator import DEFAULT_SYMBOLS, simulate
from market.clock import MINUTE_NS, format_iso, parse_iso_ns
from storage.features.log import FeatureLog, FeatureLogWriter
from storage.instruments import InstrumentPins
from storage.tape import TapeWriter, read_tape
from tests.commands import PROGRAM, feature_service, typed

START_NS = parse_iso_ns("2026-01-05T12:00:00")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A simulated minute of one symbol on its tape."""
    raw = tmp_path / "data" / "raw"
    InstrumentPins(raw).pin("BTCUSDT", "65000.5")
    with TapeWriter(raw, "BTCUSDT") as writer:
        for message in simulate(DEFAULT_SYMBOLS[:1], seed=3, start_ns=START_NS, duration_ns=MINUTE_NS):
            writer.append(message.recv_ns, message.body)
    return tmp_path / "data"


def test_a_tape_is_counted_checked_compacted_archived_and_restored(data: Path, tmp_path: Path) -> None:
    count = sum(1 for _ in read_tape(data / "raw", "BTCUSDT"))
    code, stats = feature_service("tape", "stats", "--data", data)
    assert (code, sum(each["messages"] for each in stats)) == (0, count)
    code, done = feature_service("tape", "compact", "--data", data)
    assert (code, done[0]["parts_made"], done[0]["messages"]) == (0, 1, count)
    code, checked = feature_service("verify", "tape", "--data", data)
    assert (code, checked[0]["messages"], checked[0]["parts"], checked[0]["damages"]) == (0, count, 1, 0)
    code, archived = feature_service("tape", "archive", "--to", tmp_path / "archive", "--days", 36_500, "--data", data)
    assert (code, archived[0]["parts"]) == (0, 0)
    code, refused = feature_service("tape", "restore", "--from", tmp_path, "--symbol", "BTCUSDT", "--data", data)
    assert (code, refused["error"]) == (1, "NotFound")

    (segment,) = (data / "raw" / "tape").rglob("*.log")
    segment.write_bytes(segment.read_bytes()[:-1])
    code, checked = feature_service("verify", "tape", "--data", data)
    assert (code, checked[0]["damages"]) == (1, 2)
    assert all(str(segment) in finding for finding in checked[0]["findings"])


def test_a_table_of_figures_is_whole_where_it_is_no_terminal(data: Path) -> None:
    words = [sys.executable, *PROGRAM, "tape", "stats", "--data", str(data)]
    printed = subprocess.run(words, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]).stdout
    assert "BTCUSDT, 2026-01-05" in printed
    lines = printed.splitlines()
    first_hour = next(line.index("00 to 24 h") for line in lines if "00 to 24 h" in line)
    drawn = [[found.start() - first_hour for found in re.finditer("[▁▂▃▄▅▆▇█]", line)] for line in lines]
    # The minute at noon is all there is of the day.
    assert [bars for bars in drawn if bars] == [[12]] * 4


@pytest.mark.parametrize(
    ("command", "blocked"),
    [
        (("tape", "compact"), "raw/manifest"),
        (("rebuild", "--symbol", "BTCUSDT", "--registry", "1.0.0"), "features"),
    ],
)
def test_a_folder_that_takes_no_file_is_told_in_one_line(data: Path, command: tuple[str, ...], blocked: str) -> None:
    if command[0] == "rebuild":
        assert feature_service("tape", "compact", "--data", data)[0] == 0
    # A file where a folder should be: root may write into a read-only folder.
    (data / blocked).write_text("")
    code, told = feature_service(*command, "--data", data)
    assert (code, told["error"]) == (1, "StoreUnavailable")
    assert f"{data / blocked}" in told["message"]
    assert "cannot be written" in told["message"]


def test_the_first_divergence_is_told_with_its_row_its_values_and_the_messages_around_it(
    tmp_path: Path, kernel_cache: Path
) -> None:
    recording, out = tmp_path / "minute.jsonl", tmp_path / "out"
    messages = simulate(DEFAULT_SYMBOLS[:1], seed=3, start_ns=START_NS, duration_ns=MINUTE_NS)
    recording.write_text("".join(f'{{"recv_ns":{each.recv_ns},"msg":{each.body.decode()}}}\n' for each in messages))
    assert feature_service("replay", recording, "--registry", "1.0.0", "--out", out)[0] == 0
    parity = ("verify", "parity", "--registry", "1.0.0", "--data", out)
    assert feature_service(*parity) == (
        0,
        {
            "feature_registry_version": "1.0.0",
            "compared": 59,
            "mismatched": 0,
            "missing": 0,
            "extra": 0,
            "ticks_recorded": 0,
            "ticks_compared": 0,
            "ticks_mismatched": 0,
            "quarantined": 0,
            "not_compared": [],
            "oracle": {"rows": 5, "columns": 29, "seed": 0, "mismatched": [], "not_checked": []},
            "first_divergence": None,
        },
    )

    chosen = load_registry_version("1.0.0").feature_set
    served, available_ns = FeatureLog(out / "features").read("BTCUSDT", chosen, from_ns=None, to_ns=None)
    column = chosen.columns.index("mid_price")
    right = float(served.values[40, column])
    served.values[40, column] = right + 1
    with FeatureLogWriter(out / "features") as log:
        log.append(served, available_ns + 1)

    drawn = (*parity, "--seed", "1")  # one of those that draw the row
    code, found = feature_service(*drawn)
    assert (code, found["mismatched"]) == (1, 1)
    [wrong] = found["oracle"].pop("mismatched")
    assert found["oracle"] == {"rows": 5, "columns": 29, "seed": 1, "not_checked": []}
    assert wrong == {
        "symbol": "BTCUSDT",
        "row_ns": int(served.row_ns[40]),
        "row": format_iso(int(served.row_ns[40])),
        "feature": "mid_price",
        "served": repr(right + 1),
        "exact": repr(right),
    }
    assert feature_service(*parity, "--oracle-rows", "0")[1]["oracle"]["rows"] == 0
    first = found["first_divergence"]
    row_ns = int(served.row_ns[40])
    assert (first["symbol"], first["row_ns"], first["row"]) == ("BTCUSDT", row_ns, format_iso(row_ns))
    assert (first["feature"], first["served"], first["rebuilt"]) == ("mid_price", repr(right + 1), repr(right))
    assert [each["recv_ns"] < row_ns for each in first["messages"]] == [True] * 5 + [False] * 5
    assert [each["seq"] for each in first["messages"]] == list(
        range(first["messages"][0]["seq"], first["messages"][9]["seq"] + 1)
    )
    assert "orderbook delta" in {each["kind"] for each in first["messages"]}

    told = typed(*drawn)
    assert told.returncode == 1
    printed = told.stdout
    assert f"BTCUSDT {format_iso(row_ns)} mid_price: served {right + 1!r}, rebuilt {right!r}" in printed
    assert f"BTCUSDT {format_iso(row_ns)} mid_price: served {right + 1!r}, exactly {right!r}" in printed
    lines = printed.splitlines()
    closes = next(at for at, line in enumerate(lines) if line.endswith("the row closes"))
    assert [str(each["seq"]) for each in first["messages"]] == [
        line.split()[0] for line in [*lines[closes - 5 : closes], *lines[closes + 1 : closes + 6]]
    ]
    assert max(map(len, lines)) <= 120


def test_what_is_missing_on_an_open_tape_is_certified_to_the_message(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    InstrumentPins(raw).pin("BTCUSDT", "65000.5")
    messages = [*simulate(DEFAULT_SYMBOLS[:1], seed=3, start_ns=START_NS, duration_ns=3 * MINUTE_NS)]
    books = [at for at, message in enumerate(messages) if b'"orderbook.' in message.body]
    lost = books[100:103]
    with TapeWriter(raw, "BTCUSDT") as writer:
        for at, message in enumerate(messages):
            if at not in lost:
                writer.append(message.recv_ns, message.body)
        assert writer.wait_durable(writer.next_seq - 1, timeout_s=30)
        period = ["--from", format_iso(START_NS), "--to", format_iso(START_NS + 3 * MINUTE_NS)]
        code, [found] = feature_service("tape", "coverage", "--data", tmp_path, "--registry", "1.0.0", *period)
    ids = [json.loads(messages[at].body)["data"]["u"] for at in lost]
    book = found["streams"]["orderbook"]
    [hole] = [each for each in book["missing"] if each["evidence"] == "update ids"]
    assert (code, hole["update_ids"], hole["messages"]) == (0, [ids[0], ids[-1]], 3)
    assert (book["expected"], book["held"]) == (len(books), len(books) - 3)
    assert set(hole["unknown_until"]) >= {"price", "orderbook"}
    told = typed("tape", "coverage", "--data", tmp_path, *period)
    assert told.returncode == 0
    assert "update ids" in told.stdout
    assert re.search(r"orderbook .*2026-01-05|▓|█", told.stdout)


def test_what_two_recorders_lost_apart_is_whole_in_the_merged_folder(tmp_path: Path) -> None:
    messages = [*simulate(DEFAULT_SYMBOLS[:1], seed=3, start_ns=START_NS, duration_ns=MINUTE_NS)]
    for name, remainder in (("one", 0), ("other", 50)):
        raw = tmp_path / name / "raw"
        InstrumentPins(raw).pin("BTCUSDT", "65000.5")
        with TapeWriter(raw, "BTCUSDT") as writer:
            for at, message in enumerate(messages):
                if at % 100 != remainder:
                    writer.append(message.recv_ns, message.body)
    out = tmp_path / "merged"
    merge = ["tape", "merge", tmp_path / "one", tmp_path / "other", "--to", out, "--registry", "1.0.0"]
    code, [found] = feature_service(*merge)
    assert (code, found["conflicting"]) == (0, 0)
    assert found["in_both"] + found["only_first"] + found["only_second"] == len(messages)
    bodies = [frame.body for frame in read_tape(out / "raw", "BTCUSDT") if b'"feature-service.' not in frame.body]
    assert bodies == [message.body for message in messages]
    code, checked = feature_service("verify", "tape", "--data", out)
    assert (code, checked[0]["damages"]) == (0, 0)
