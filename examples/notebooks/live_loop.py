# %% [markdown]
# # The live loop of a model
#
# A model-service holds no formula: it trains on a finished dataset and predicts from finished vectors, and refuses what
# it must not act on. `examples/model_service` is the same over HTTP, and reads `features.live` from RabbitMQ too.
# Needs the folder of `make demo ARGS="--out demo"`.

# %%
import json
import os
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx

# A checkout's examples are not installed.
sys.path += [str(up) for up in (Path.cwd(), *Path.cwd().parents) if (up / "examples" / "model_service").is_dir()]

from examples.model_service.model import train
from examples.model_service.vectors import OnlineVectors, checked
from feature_client import FeatureStoreClient
from market.errors import Conflict

DATA = next(up / "demo" for up in (Path.cwd(), *Path.cwd().parents) if (up / "demo" / "historical").is_dir())

# %% [markdown]
# Train on the newest dataset, with features that a market of a few seconds knows already.

# %%
newest = max((DATA / "datasets").glob("*/_manifest.json"), key=lambda path: path.stat().st_mtime).parent
dataset = FeatureStoreClient(DATA / "historical").dataset(newest.name)
model = train(dataset, model_id="notebook", features=["spread_abs", "depth_bid_top5", "depth_ask_top5", "spread_rel"])
model.metadata.metrics

# %% [markdown]
# A service with a simulated market in real time, in a folder of its own: in `demo` it would first close the silence
# since January, second by second. You would have `feature-service run` in a terminal.

# %%
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    PORT = free.getsockname()[1]
URL = f"http://127.0.0.1:{PORT}"
LIVE = DATA.parent / "live"
LIVE.mkdir(exist_ok=True)
command = ["feature-service", "run", "--registry", dataset.feature_registry_version, "--data", str(LIVE)]
LOG = LIVE / "run.log"
settings = os.environ | {"FEATURE_SERVICE_PORT": str(PORT), "FEATURE_SERVICE_BACKFILL_AUTO": "false"}
service = subprocess.Popen(command, env=settings, stdout=LOG.open("wb"), stderr=subprocess.STDOUT)


def serves_rows() -> bool:
    """Whether a row of the last seconds can be read."""
    try:
        newest = httpx.get(f"{URL}/features/latest", params={"symbol": "BTCUSDT"}).json()
    except httpx.TransportError:
        return False
    return bool(newest.get("age_ms", 10_000) < 3_000)


deadline = time.monotonic() + 120
while not serves_rows():
    assert service.poll() is None and time.monotonic() < deadline, LOG.read_text()[-2000:]
    time.sleep(0.2)

# %% [markdown]
# Each row as it is stored, from the stream; at each the vector is read through Feast from Redis, as a model of another
# process reads it. `checked` refuses one that is old, of another feature set, or without a feature of the model.

# %%
vectors = OnlineVectors(LIVE / "client")
told: list[str] = []
asked = ("BTCUSDT", model.metadata.feature_registry_version, model.metadata.features)
with httpx.stream("GET", f"{URL}/features/stream?symbol=BTCUSDT&interval=1s", timeout=30) as rows:
    for line in rows.iter_lines():
        if not line.startswith("data: "):
            continue
        row = json.loads(line.removeprefix("data: "))
        try:
            vector = checked(vectors.read(*asked), model.metadata, now=datetime.now(UTC), max_age=timedelta(seconds=3))
            mid, predicted = row["features"]["mid_price"], model.predict(vector.values)
            told.append(f"{row['timestamp']}  mid {mid}  predicted {predicted:+.2e}")
        except Conflict as refused:
            told.append(f"{row['timestamp']}  refused: {refused}")
        print(told[-1])
        if len(told) == 5:
            break

# %% [markdown]
# What it must not act on: a vector that is older than the model allows, here none of an age at all.

# %%
try:
    checked(vectors.read(*asked), model.metadata, now=datetime.now(UTC), max_age=timedelta(0))
except Conflict as refused:
    print(f"refused: {refused}")

# %%
service.terminate()
service.wait(timeout=60)
