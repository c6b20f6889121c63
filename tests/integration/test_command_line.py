"""The command line on recordings of every kind of damage: what it says, counts, and how it exits."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from feature_repo.registry_versions import DEFAULT_VERSION, SHIPPED_FOLDER
from market.clock import SECOND_NS, ceil_to, format_iso
from registry.active import TAKES_EFFECT
from runtime.cli import app
from runtime.commands.options import settings_for
from runtime.servers import running_servers
from tests.commands import typed

FEATURE_SERVICE = str(Path(sys.executable).with_name("feature-service"))
MIDNIGHT = "reencoded/BTCUSDT_20240718-19.jsonl.gz"


def feature_service(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    return subprocess.run(
        [FEATURE_SERVICE, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=240
    )


def first_lines(recorded_data: Path, count: int) -> bytes:
    with gzip.open(recorded_data / MIDNIGHT) as file:
        return b"".join(line for line, _ in zip(file, range(count), strict=False))


def test_a_replay_prints_its_document_and_its_parity_is_exact(tmp_path: Path, recorded_data: Path) -> None:
    recording = tmp_path / "part.jsonl"
    recording.write_bytes(first_lines(recorded_data, 2000))
    out = tmp_path / "out"
    played = feature_service("replay", recording, "--registry", "1.0.0", "--out", out, "--json")
    assert played.returncode == 0, played.stderr
    document = json.loads(played.stdout)
    assert document.keys() >= {"rows", "messages", "rejected", "gaps", "seconds", "files"}
    assert (document["messages"], document["rejected"], document["gaps"]) == (2000, 0, 0)
    assert all(Path(path).is_file() for path in document["files"])
    verified = feature_service("verify", "parity", "--registry", "1.0.0", "--data", out, "--json")
    assert verified.returncode == 0, verified.stderr
    assert json.loads(verified.stdout)["compared"] == document["rows"]
    rebuilt = typed("rebuild", "--symbol", "BTCUSDT", "--registry", "1.0.0", "--data", out, "--json")
    assert json.loads(rebuilt.stdout)["rows"] == document["rows"]
    again = typed("verify", "parity", "--registry", "1.0.0", "--data", out, "--json")
    assert json.loads(again.stdout)["mismatched"] == 0
    second = feature_service("replay", recording, "--registry", "1.0.0", "--out", out)
    assert second.returncode == 1
    assert "must hold no tape before a replay" in second.stderr


def test_a_dataset_of_a_request_file_is_built_and_verified_byte_by_byte(tmp_path: Path, recorded_data: Path) -> None:
    recording = tmp_path / "part.jsonl"
    recording.write_bytes(first_lines(recorded_data, 3000))
    out = tmp_path / "out"
    document = json.loads(typed("replay", recording, "--registry", "1.0.0", "--out", out, "--json").stdout)
    seconds = int(document["rows"]) - 20
    first = json.loads(recording.read_text().splitlines()[0])
    begin_ns = ceil_to(int(first["recv_ns"]), SECOND_NS) + 10 * SECOND_NS
    request = tmp_path / "request.json"
    asked = {
        "symbol": "BTCUSDT",
        "split_strategy": "cpcv",
        "cpcv_config": {
            "start_date": format_iso(begin_ns),
            "end_date": format_iso(begin_ns + seconds * SECOND_NS),
            "groups": 3,
            "test_groups": 1,
        },
        "target_config": {"horizon": "2s"},
        "output_format": "csv",
    }
    request.write_text(json.dumps(asked))
    # The commands find these servers, as they find those of a service that runs on the same data.
    with running_servers(settings_for(out)):
        built = typed("dataset", "build", "--request", request, "--registry", "1.0.0", "--data", out, "--json")
        assert built.returncode == 0, built.stderr
        dataset = json.loads(built.stdout)
        assert dataset["folds"] == 3
        shown = json.loads(typed("dataset", "show", dataset["dataset_id"], "--data", out, "--json").stdout)
        assert shown["performance"]["build_duration_seconds"] > 0
        check_verified(Path(dataset["path"]), dataset["dataset_id"], out)
        both = typed("dataset", "build", "--request", request, "--symbol", "BTCUSDT", "--data", out)
        assert both.returncode == 2
        check_interrupted(request, out)


def check_verified(folder: Path, dataset_id: str, out: Path) -> None:
    """A dataset is proven, downloaded whole, and no longer proven once a file is gone."""
    verified = typed("verify", "dataset", dataset_id, "--data", out, "--json")
    assert verified.returncode == 0, verified.stderr
    proof = json.loads(verified.stdout)
    assert len(proof["identical"]) == 3 * 2 + 4  # quality, report, profile and schema
    assert proof["changed"] == []
    zipped = out.with_name("all.zip")
    downloaded = typed("dataset", "download", dataset_id, "--to", zipped, "--data", out, "--json")
    assert downloaded.returncode == 0, downloaded.stderr
    with zipfile.ZipFile(zipped) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file() and path.name != "_performance.json"
        }
    (folder / "fold-001" / "train.csv").unlink()
    damaged = typed("verify", "dataset", dataset_id, "--data", out, "--json")
    assert damaged.returncode == 1
    assert json.loads(damaged.stdout)["tampered"] == ["fold-001/train.csv"]


def check_interrupted(request: Path, out: Path) -> None:
    """Ctrl-C cancels the build and leaves nothing of it."""
    command = ["dataset", "build", "--request", str(request), "--registry", "1.0.0", "--data", str(out)]
    with subprocess.Popen([FEATURE_SERVICE, *command], stderr=subprocess.PIPE, text=True) as building:
        assert building.stderr is not None
        said = next(line for line in building.stderr if line.startswith("making sure that the features exist"))
        building.send_signal(signal.SIGINT)
        rest = building.stderr.read()
        assert building.wait(60) == 130, said + rest
    listed = json.loads(typed("dataset", "list", "--data", out, "--json").stdout)
    assert [record["status"] for record in listed] == ["cancelled", "ready"]
    assert [path.name for path in (out / "datasets").iterdir()] == [listed[1]["dataset_id"]]


def test_a_truncated_gz_plays_what_can_be_read_and_the_next_file_and_exits_1(
    tmp_path: Path, recorded_data: Path
) -> None:
    whole = gzip.compress(first_lines(recorded_data, 1500))
    broken = tmp_path / "broken.jsonl.gz"
    broken.write_bytes(whole[: len(whole) // 2])
    missing = tmp_path / "missing.jsonl"
    played = typed("replay", broken, missing, "--registry", "1.0.0", "--out", tmp_path / "out", "--json")
    assert played.returncode == 1
    document = json.loads(played.stdout)
    assert 0 < document["messages"] < 1500
    assert document["rejected"] == 0
    assert [str(broken) in document["errors"][0], str(missing) in document["errors"][1]] == [True, True]
    assert str(broken) in played.stderr


def test_an_empty_file_is_no_failure_and_says_so(tmp_path: Path) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.touch()
    played = typed("replay", empty, "--registry", "1.0.0", "--out", tmp_path / "out", "--json")
    assert played.returncode == 0, played.stderr
    document = json.loads(played.stdout)
    assert (document["rows"], document["messages"]) == (0, 0)
    assert document["warnings"] == [f"{empty}: holds no messages"]


def test_a_market_that_its_scale_refuses_fails_the_replay_and_says_why_first_and_a_declared_scale_takes_it(
    tmp_path: Path,
) -> None:
    recording = tmp_path / "fine.jsonl"
    lines = []
    for at in range(4):
        data = {"s": "ZZZUSDT", "u": 5 + at, "b": [["0.0731", "1.1234567"]], "a": [["0.0733", "1"]]}
        message = {"topic": "orderbook.50.ZZZUSDT", "type": "delta" if at else "snapshot", "ts": 1_795_168_800_000 + at}
        lines.append({"recv_ns": (1_795_168_800 + at) * SECOND_NS, "msg": {**message, "data": data}})
    recording.write_text("".join(json.dumps(line) + "\n" for line in lines))

    refused = typed("replay", recording, "--registry", "1.0.0", "--out", tmp_path / "refused")
    assert refused.returncode == 1
    first = next(line for line in refused.stderr.splitlines() if not line.endswith(" ..."))
    assert "at most 1% of the messages may be unusable, was 4 of 4, the first: " in first
    assert "at most 4 decimals, was '1.1234567'" in first

    out = tmp_path / "out"
    scale = ("--price-decimals", "4", "--quantity-decimals", "7")
    declared = typed("instruments", "declare", "ZZZUSDT", *scale, "--data", out)
    assert declared.returncode == 0, declared.stderr
    played = typed("replay", recording, "--registry", "1.0.0", "--out", out, "--json")
    assert played.returncode == 0, played.stderr
    assert json.loads(played.stdout)["rejected"] == 0


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("replay",), 2, "Missing argument"),
        (("replay", "x.jsonl", "--speed", "-1"), 2, "--speed"),
        (("verify", "parity", "--data", "nowhere", "--registry", "9.9.9"), 1, "registry version: must be one of"),
        (("rebuild", "--symbol", "BTCUSDT", "--from", "yesterday"), 2, "ISO 8601"),
        (("dataset", "build", "--symbol", "BTCUSDT"), 2, "--from"),
    ],
)
def test_wrong_usage_exits_2_and_failure_1(arguments: tuple[str, ...], code: int, said: str) -> None:
    answered = typed(*arguments)
    assert answered.returncode == code
    assert said in answered.stderr + answered.stdout


def test_a_registry_file_with_problems_is_told_all_of_them(tmp_path: Path) -> None:
    path = tmp_path / "1.0.9.yaml"
    path.write_text(
        "version: 1.0.9\nfeatures:\n  - {name: mid_prise}\n  - {name: vwap_3s, lookahead_forbidden: false}\n"
    )
    answered = typed("registry", "validate", path, "--json")
    assert answered.returncode == 1
    errors = json.loads(answered.stdout)["validation_errors"]
    assert any("mid_prise" in error and "did you mean mid_price" in error for error in errors)
    assert any("vwap_3s.lookahead_forbidden" in error for error in errors)


@pytest.mark.soak
def test_a_registry_version_lives_by_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "registry"
    shutil.copytree(SHIPPED_FOLDER, folder)
    monkeypatch.setenv("FEATURE_REGISTRY_VERSIONS_DIR", str(folder))
    entry = "{name: RSI_14, input_sources: [kline], lookback_window: 14m, lookahead_forbidden: true}"
    file = tmp_path / "new.yaml"
    file.write_text(f"version: 3.0.0\nfeatures:\n  - {entry}\n")

    def registry(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return typed("registry", *arguments, "--data", tmp_path / "data")

    with running_servers(settings_for(tmp_path / "data")):
        made = registry("create", file, "--by", "anna").stdout
        assert made == f"3.0.0: created, a candidate, in {folder / '3.0.0.yaml'}\n"
        (folder / "4.0.0.yaml").write_text("version: [")
        listed = registry("list").stdout
        assert "candidate" in listed
        assert "4.0.0: file: must be YAML" in listed
        refused = registry("activate", "3.0.0", "--reason", "to see")
        assert (refused.returncode, "acknowledge_breaking_changes: must be true" in refused.stderr) == (1, True)
        done = registry("activate", "3.0.0", "--reason", "to see", "--acknowledge-breaking-changes", "--json")
        document = json.loads(done.stdout)
        assert (document["version"], document["previous_version"]) == ("3.0.0", DEFAULT_VERSION)
        assert document["hot_reload"] is True
        assert registry("delete", "3.0.0", "--yes").returncode == 1
        assert registry("reload").stdout == "3.0.0: recorded\n"
        assert f"{DEFAULT_VERSION}: active, {TAKES_EFFECT}" in registry("rollback", "--reason", "seen").stdout
        assert json.loads(registry("usage", "3.0.0", "--json").stdout)["can_delete"] is True
        assert json.loads(registry("diff", DEFAULT_VERSION, "3.0.0", "--json").stdout)["added"] == []
        told = registry("diff", DEFAULT_VERSION, "3.0.0").stdout
        assert re.findall(r"\bmid_price\b.*", told) == ["mid_price: removed"]
        assert registry("sync", "4.0.0").returncode == 1
        assert registry("delete", "3.0.0", "--yes").stdout == "3.0.0: deleted\n"
        lines = json.loads(registry("audit", "--json").stdout)
        assert [line["action"] for line in lines] == ["delete", "sync", "rollback", "sync", "activate", "create"]
        assert lines[-1]["made_by"] == "anna"


def test_every_command_is_in_the_reference_and_told_of() -> None:
    reference = (Path(__file__).parents[2] / "docs" / "reference" / "commands.md").read_text().splitlines()
    for command in app.registered_commands:
        assert f"## feature-service {command.name}" in reference, command.name
    for group in app.registered_groups:
        assert group.typer_instance is not None
        for command in group.typer_instance.registered_commands:
            assert f"## feature-service {group.name} {command.name}" in reference, f"{group.name} {command.name}"
