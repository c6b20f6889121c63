"""Rows of real recordings, frozen to the bit with the fingerprints of the code that made them.

A file holds a few rows to look at and a digest of each group's whole columns. Values may only change together with
their group's fingerprint, because everything stored is trusted by it; then ``feature-service features lock`` writes the
files anew, by ``pytest tests/golden --record``, and the change is there to review. Until then a group with a new
fingerprint is not compared here: tests/unit/test_finished_features.py names it.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from ingestion.messages import TimedMessage
from ingestion.sources.played.recordings import read_recording
from market.clock import SECOND_NS
from tests.fed_engine import fed_engine
from tests.laws.columns import every_feature
from tests.unfinished import stale_groups
from transforms.catalogue import FEATURES, GROUPS
from transforms.kernel import Kernel, compile_kernel
from transforms.rows import FeatureGroup, FeatureRows

RECORDINGS: Final = {
    "linear_BTCUSDT": ("bybit/linear_BTCUSDT_ETHUSDT_20260809.jsonl.gz", "BTCUSDT"),
    "linear_ETHUSDT": ("bybit/linear_BTCUSDT_ETHUSDT_20260809.jsonl.gz", "ETHUSDT"),
    "across_midnight": ("reencoded/BTCUSDT_20240718-19.jsonl.gz", "BTCUSDT"),
}
CHOSEN_ROWS: Final = 10
TAIL_S: Final = 10
Golden = dict[str, Any]


@pytest.fixture(scope="module")
def kernel(kernel_cache: Path) -> Kernel:
    """The kernel of every column, which the laws compile too."""
    kernel = compile_kernel(every_feature(), kernel_cache)
    kernel.warm_up()
    return kernel


def rows_of(kernel: Kernel, folder: Path, recording: str) -> FeatureRows:
    path, symbol = RECORDINGS[recording]
    recorded = [each for each in read_recording(folder / path) if isinstance(each, TimedMessage)]
    messages = [(each.recv_ns, each.body) for each in recorded if symbol.encode() in each.body[:200]]
    return fed_engine(kernel, messages).advance(messages[-1][0] + TAIL_S * SECOND_NS)


def hex_of(values: np.ndarray[Any, np.dtype[np.float64]]) -> list[str]:
    """The bits of each number, sixteen hex digits."""
    return [f"{bits:016x}" for bits in values.view(np.uint64).tolist()]


def digest(rows: FeatureRows, at: int, group: FeatureGroup) -> str:
    """Of every value, reason and status of a group."""
    assert rows.reasons is not None
    indices = list(group.indices)
    pieces = (rows.values[:, indices], rows.reasons[:, indices], rows.status[:, at])
    return hashlib.sha256(b"".join(np.ascontiguousarray(piece).tobytes() for piece in pieces)).hexdigest()[:32]


def golden_of(rows: FeatureRows) -> Golden:
    """What a file holds."""
    chosen = np.linspace(0, len(rows) - 1, CHOSEN_ROWS).astype(int).tolist()
    columns = [rows.feature_set.columns.index(name) for name in FEATURES]
    return {
        "groups": {
            group.name: {"fingerprint": group.fingerprint, "digest": digest(rows, at, group)}
            for at, group in enumerate(rows.feature_set.groups)
            if group.name in GROUPS
        },
        "first_row_ns": int(rows.row_ns[0]),
        "rows": len(rows),
        "columns": list(FEATURES),
        "values": {str(rows.row_ns[index]): " ".join(hex_of(rows.values[index, columns])) for index in chosen},
    }


def first_difference(recorded: Golden, present: Golden, group: FeatureGroup) -> str:
    """The first chosen cell of the group that differs."""
    for row_ns, bits in recorded["values"].items():
        now = dict(zip(present["columns"], present["values"].get(row_ns, "").split(), strict=False))
        for column, was in zip(recorded["columns"], bits.split(), strict=True):
            if column in group.columns and now.get(column) != was:
                return f"{column} at {row_ns} was {was}, is {now.get(column)}"
    return "in rows between the chosen ones, in a reason or in a status"


def differences(recorded: Golden, present: Golden, groups: tuple[FeatureGroup, ...]) -> list[str]:
    """What to say of each group whose rows are not those of the file though its fingerprint is."""
    found = [
        f"{group.name}: values changed while the fingerprint did not: {first_difference(recorded, present, group)}"
        for group in groups
        if group.name in GROUPS
        and group.name not in stale_groups(recorded)
        and recorded["groups"][group.name] != present["groups"][group.name]
    ]
    if [recorded[name] for name in ("first_row_ns", "rows")] != [present[name] for name in ("first_row_ns", "rows")]:
        found.append(f"rows: must be {recorded['rows']} from {recorded['first_row_ns']}, was {present['rows']}")
    return found


@pytest.mark.parametrize("recording", RECORDINGS)
def test_rows_of_a_recording_are_those_that_were_recorded(
    kernel: Kernel, recorded_data: Path, recording: str, request: pytest.FixtureRequest
) -> None:
    present = golden_of(rows_of(kernel, recorded_data, recording))
    path = Path(__file__).parent / f"{recording}.json"
    if path.exists():
        recorded = json.loads(path.read_text())
        assert differences(recorded, present, kernel.feature_set.groups) == []
    if request.config.getoption("record", default=False):
        path.write_text(json.dumps(present, indent=1) + "\n")


def test_a_change_of_values_is_only_passed_with_a_new_fingerprint() -> None:
    recorded = json.loads((Path(__file__).parent / "linear_BTCUSDT.json").read_text())
    groups = every_feature().groups
    assert differences(recorded, recorded, groups) == []

    other_values = json.loads(json.dumps(recorded))
    other_values["groups"]["price"]["digest"] = "another"
    row_ns = next(iter(other_values["values"]))
    other_values["values"][row_ns] = " ".join(["0" * 16] * len(recorded["columns"]))
    [said] = differences(recorded, other_values, groups)
    assert said.startswith(f"price: values changed while the fingerprint did not: mid_price at {row_ns} was ")

    other_code = json.loads(json.dumps(recorded))
    other_code["groups"]["price"]["fingerprint"] = "another"
    assert "price" in stale_groups(other_code)
    assert differences(other_code, other_values, groups) == []

    [said] = differences(recorded, recorded | {"rows": 1}, groups)
    assert said.startswith("rows: must be ")
