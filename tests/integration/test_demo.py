"""The demonstration as a newcomer runs it: its document, its proof, and nothing left running."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import polars as pl
import pyarrow.parquet as pq
import pytest

from feature_client import FeatureStoreClient
from market.errors import NotFound
from runtime.commands.options import settings_for
from runtime.servers import running_servers
from tests.code_blocks import blocks
from tests.commands import typed
from tests.notebooks import run_notebooks
from tests.waiting import eventually

FEATURE_SERVICE = str(Path(sys.executable).with_name("feature-service"))
DEMO = [FEATURE_SERVICE, "demo", "--json"]
DEADLINE_S = 240
ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder() -> Iterator[Path]:
    # Not pytest's own folder: root's PostgreSQL must be able to pass through to its cluster.
    with tempfile.TemporaryDirectory(prefix="fs-demo-") as name:
        yield Path(name)


def processes_of(folder: Path) -> list[str]:
    """Command lines and working folders of running processes that mention ``folder``."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            place = str((process / "cwd").readlink())
        except OSError:  # it ended while we looked, or is not ours to see
            continue
        if str(folder) in command or place.startswith(str(folder)):
            found.append(command)
    return found


def test_the_demo_serves_proves_and_builds_and_leaves_nothing_running(folder: Path, kernel_cache: Path) -> None:
    environment = {**os.environ, "FEATURE_SERVICE_CACHE_PATH": str(kernel_cache.parent)}
    finished = subprocess.run(
        [*DEMO, "--out", "demo"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        timeout=DEADLINE_S,
    )
    assert finished.returncode == 0, finished.stderr[-3000:]
    document = json.loads(finished.stdout)
    assert document["symbols"] == ["BTCUSDT", "ETHUSDT"]
    assert document["features"] == 29
    assert document["rows"] >= 2 * 598
    assert document["parity"] == {"compared": document["rows"], "mismatched": 0, "missing": 0, "extra": 0}
    for symbol in document["symbols"]:
        assert document["online"][symbol]["mid_price"] > 0
    dataset = document["dataset"]
    for split in ("train", "validation", "test"):
        assert dataset[split] > 0
        assert pq.read_metadata(Path(dataset["path"]) / f"{split}.parquet").num_rows == dataset[split]
    assert processes_of(folder) == []
    check_the_pages(folder, environment, rows=document["rows"], dataset_id=Path(dataset["path"]).name)


def check_the_pages(folder: Path, environment: dict[str, str], *, rows: int, dataset_id: str) -> None:
    """Their blocks work word for word on what the demo left, where ``make demo ARGS="--out demo"`` was run."""
    of_page = {page: [each for each in blocks() if each.page == f"docs/{page}.md"] for page in ("tutorial", "reading")}
    typed = [line for each in of_page["tutorial"] if each.language == "bash" for line in each.text.splitlines()]
    assert typed[:2] == ['make demo ARGS="--out demo"', "source .venv/bin/activate"]
    readme = [line.strip() for line in (ROOT / "README.md").read_text().splitlines() if line.startswith("    ")]
    assert typed[0] in readme
    commands = dict.fromkeys([*typed[2:], *(line for line in readme if line.endswith("--data demo"))])
    assert len(commands) > 7
    # The commands find these servers, as they find those of a service that runs on the same data.
    with running_servers(settings_for(folder / "demo", embedded=True)):
        for command in commands:
            words = command.split()
            assert words[0] == "feature-service", command
            told = typed_in(folder, environment, *words[1:])
            if words[1:3] == ["verify", "parity"]:
                pairs = [re.split(r"  +", line.strip(), maxsplit=1) for line in told.splitlines()]
                facts = {pair[0]: pair[1] for pair in pairs if len(pair) == 2}
                assert (facts["feature registry version"], facts["compared"]) == ("1.0.0", str(rows))
            if words[1:3] == ["dataset", "build"]:
                assert "_report.html" in told
        script = "\n".join(each.text for each in of_page["tutorial"] if each.language == "python")
        told = answer_of([sys.executable, "-c", script + "\nprint(prediction, served)"], folder, environment)
        # No ingest runs here, so the vector is not known; a model refuses it.
        assert told.startswith("nan [")
        online, history = (each.text.replace("<dataset id>", dataset_id) for each in of_page["reading"])
        script = f"{history}\nimport os\nos.chdir('demo/client')\n{online}"
        told = answer_of([sys.executable, "-c", script + "\nprint(len(frame), len(features))"], folder, environment)
        assert re.fullmatch(r"540 \d{2,}\n", told)
        check_the_sdk(folder / "demo", history=folder / "history.parquet")
        printed = run_notebooks(["explore_features"], folder, environment)["explore_features"]
        assert "540 rows are known today, 240 were at 12:05" in printed


def typed_in(folder: Path, environment: dict[str, str], *words: str) -> str:
    """What a command prints there, without a process of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("FEATURE_SERVICE_CACHE_PATH", environment["FEATURE_SERVICE_CACHE_PATH"])
        ran = typed(*words)
    assert ran.returncode == 0, (words, ran.stdout, ran.stderr[-3000:])
    return ran.stdout


def test_the_demo_of_shares_proves_every_answer(folder: Path) -> None:
    demo = json.loads(answer_of([*DEMO, "--equities", "--out", "shares"], folder, dict(os.environ)))
    assert demo["is_proven"] is True


@pytest.mark.soak
def test_the_other_notebooks_run_on_what_the_demos_wrote(folder: Path, kernel_cache: Path) -> None:
    environment = {**os.environ, "FEATURE_SERVICE_CACHE_PATH": str(kernel_cache.parent)}
    answer_of([*DEMO, "--out", "demo"], folder, environment)
    answer_of([*DEMO, "--equities", "--out", "shares"], folder, environment)
    with running_servers(settings_for(folder / "demo", embedded=True)):
        printed = run_notebooks(["build_and_train", "your_own_feature"], folder, environment)
    assert "10 of 10 planted were caught" in printed["your_own_feature"]
    assert re.search(r"compared +1198\nmismatched +0\n", printed["your_own_feature"])
    printed = run_notebooks(["equities", "live_loop"], folder, environment)
    assert "every answer is proven to be of its past: True" in printed["equities"]
    assert len(re.findall(r"mid \d+\.\d+  predicted [+-]\d", printed["live_loop"])) == 5
    assert "refused: BTCUSDT: must be at most 0 s old" in printed["live_loop"]
    assert processes_of(folder) == []


def answer_of(words: list[str], folder: Path, environment: dict[str, str]) -> str:
    answered = subprocess.run(
        words, cwd=folder, capture_output=True, text=True, check=False, env=environment, timeout=DEADLINE_S
    )
    assert answered.returncode == 0, (words, answered.stdout, answered.stderr[-3000:])
    return answered.stdout


def check_the_sdk(data: Path, *, history: Path) -> None:
    """History and a dataset in frames, from the same files that the commands wrote."""
    client = FeatureStoreClient(data / "historical")
    start, end = datetime(2026, 1, 5, 12, 1, tzinfo=UTC), datetime(2026, 1, 5, 12, 10, tzinfo=UTC)
    asked = client.history("BTCUSDT", ["price:mid_price", "vwap_3s"], start, end)
    frame = asked.to_pandas()
    told = ["orderflow:status", "price:status"]
    assert list(frame) == ["symbol", "timestamp", "available", "mid_price", "vwap_3s", *told]
    assert set(frame["price:status"]) == {"WARMUP", "OK"}
    assert (len(frame), frame["timestamp"].iloc[0]) == (540, start)
    assert pl.DataFrame(asked)["mid_price"].to_list() == frame["mid_price"].to_list()
    written = pq.read_table(history).to_pandas()
    # A file has the statuses that occur as categories, a frame all.
    pd.testing.assert_frame_equal(written[list(frame)], frame, check_categorical=False)
    assert pl.DataFrame(asked)["price:status"].to_list() == frame["price:status"].to_list()
    then = datetime(2026, 1, 5, 12, 2, tzinfo=UTC)
    known = client.history("BTCUSDT", ["mid_price"], start, end, as_of=then).to_pandas()
    assert 0 < len(known) < 61
    assert known["available"].max() <= then

    [folder, *_] = [path for path in (data / "datasets").iterdir() if not path.name.startswith(".")]
    dataset = client.dataset(folder.name)
    features, targets = dataset.load("train")
    assert list(features) == dataset.feature_columns
    assert len(dataset.feature_columns) == 29
    assert list(targets) == ["target"]
    assert features.index.names == ["symbol", "timestamp"]
    assert features.index.equals(targets.index)
    assert dataset.weights("train").shape == (len(features), 0)
    assert (features.dtypes == "float64").all()
    assert dataset.feature_registry_version == "1.0.0"
    with pytest.raises(NotFound, match="split: must be one of train"):
        dataset.load("nothing")
    client.close()


@pytest.mark.soak
def test_ctrl_c_stops_everything_the_demo_started(folder: Path, kernel_cache: Path) -> None:
    environment = {**os.environ, "FEATURE_SERVICE_CACHE_PATH": str(kernel_cache.parent)}
    with subprocess.Popen(
        [*DEMO, "--out", str(folder)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as demo:
        assert demo.stderr is not None
        for line in demo.stderr:
            if line.startswith("playing"):
                demo.send_signal(signal.SIGINT)
                break
        _, rest = demo.communicate(timeout=DEADLINE_S)
    assert demo.returncode == 130, rest
    eventually(lambda: processes_of(folder) == [], deadline_s=DEADLINE_S)
