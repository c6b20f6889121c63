# %% [markdown]
# # Your own feature
#
# A feature is a function of what a window holds. It is written once, proven, and computed live and historically by
# the same compiled kernel. Needs the folder of `make demo ARGS="--out demo"`, and
# `pip install 'feature-service[notebooks]'`.

# %%
import os
import subprocess
from pathlib import Path
from tempfile import mkdtemp

import matplotlib.pyplot as plt
import pandas as pd

DATA = next(up / "demo" for up in (Path.cwd(), *Path.cwd().parents) if (up / "demo" / "historical").is_dir())
FOLDER = Path(mkdtemp(prefix="own-feature-"))

# %% [markdown]
# How one-sided the trades of a window were, from -1, all sold, to 1, all bought. The function cannot look ahead: it is
# given the exact sums of its window and nothing else.

# %%
(FOLDER / "sidedness.py").write_text('''"""sidedness: features of the trades in a window."""

import math
from typing import Any

from transforms.declaration import TRADES, feature


@feature("sidedness_{window}", windows=("15s", "1m"), reads=TRADES, unit="1", low=-1.0, high=1.0)
def sidedness(trades: Any) -> float:
    """What buyers took less what sellers took, relative to everything that was traded.

    Formula: (bought - sold) / (bought + sold)
    NaN: nothing traded.
    """
    return trades.net_volume / trades.volume if trades.volume > 0 else math.nan
''')
ENVIRONMENT = os.environ | {"PYTHONPATH": str(FOLDER), "FEATURE_SERVICE_FEATURE_MODULES": "sidedness"}


def run(*words: str, **settings: str) -> str:
    """What a command of the service prints."""
    done = subprocess.run(["feature-service", *words], env=ENVIRONMENT | settings, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


# %% [markdown]
# The proof: range, repetition, chunking, restart, too little history, changed future; and ten planted cheats that the
# proof must catch, or it would prove nothing.

# %%
print(run("verify", "features", "sidedness", "--cheats", "1"))

# %% [markdown]
# A registry version with it, and the demo's recording played through that version: raw messages in, rows out.

# %%
(FOLDER / "versions").mkdir()
(FOLDER / "versions" / "1.0.0.yaml").write_text("""version: 1.0.0
features:
  - {name: mid_price, input_sources: [orderbook], lookback_window: 1s, lookahead_forbidden: true, max_lookback_days: 1,
     data_sources: [{source: orderbook, timestamp_required: true}], normalization: none}
  - {name: sidedness_1m, input_sources: [trades], lookback_window: 1m, lookahead_forbidden: true, max_lookback_days: 1,
     data_sources: [{source: trades, timestamp_required: true}], normalization: none}
""")
versions = {"FEATURE_REGISTRY_VERSIONS_DIR": str(FOLDER / "versions")}
out = FOLDER / "out"
print(run("replay", str(DATA / "recording.jsonl.gz"), "--registry", "1.0.0", "--out", str(out), **versions))
print(run("verify", "parity", "--data", str(out), **versions))

# %%
period = ("--start", "2026-01-05T12:01", "--end", "2026-01-05T12:10", "--to", str(FOLDER / "history.parquet"))
run("features", "history", "BTCUSDT", *period, "--data", str(out), **versions)

# %%
frame = pd.read_parquet(FOLDER / "history.parquet").set_index("timestamp")
figure, axes = plt.subplots(2, 1, sharex=True, figsize=(10, 5), layout="constrained")
axes[0].plot(frame["mid_price"], color="#0b6e6e")
axes[0].set_title("mid price")
axes[1].plot(frame["sidedness_1m"], color="#b3541e")
axes[1].set_title("sidedness of the last minute")
axes[1].axhline(0, color="grey", lw=0.5)
