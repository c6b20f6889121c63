# %% [markdown]
# # Explore features
#
# Ten minutes of a market, as they were served: values, what is not known, and what moves with the next return.
# Needs the folder of `make demo ARGS="--out demo"`, and `pip install 'feature-service[notebooks]'`.

# %%
from datetime import UTC, datetime
from pathlib import Path

import matplotlib.pyplot as plt

from feature_client import FeatureStoreClient

DATA = next(up / "demo" for up in (Path.cwd(), *Path.cwd().parents) if (up / "demo" / "historical").is_dir())
client = FeatureStoreClient(DATA / "historical")

# %% [markdown]
# One line is a frame: a row a second. `available` is when a row could be read, never before its time.

# %%
START, END = datetime(2026, 1, 5, 12, 1, tzinfo=UTC), datetime(2026, 1, 5, 12, 10, tzinfo=UTC)
NAMES = ["mid_price", "spread_abs", "depth_imbalance_top5", "signed_volume_15s", "returns_1m", "volatility_1m"]
frame = client.history("BTCUSDT", NAMES, START, END).to_pandas().set_index("timestamp")
frame.describe().T

# %% [markdown]
# "Not known" is NaN, never 0: of a minute's return there is none in the first minutes.

# %%
frame[NAMES].isna().mean().rename("not known").to_frame()

# %%
figure, axes = plt.subplots(2, 1, sharex=True, figsize=(10, 5), layout="constrained")
axes[0].plot(frame["mid_price"], color="#0b6e6e")
axes[0].set_title("BTCUSDT, mid price")
axes[1].plot(frame["depth_imbalance_top5"], color="#b3541e", lw=0.7)
axes[1].set_title("imbalance of the five best levels")

# %% [markdown]
# How each feature goes with the mid price's return over the next five seconds (rank correlation). A simulated market
# has no secret to find; a real one has few, so distrust a large number before you believe it.

# %%
ahead = frame["mid_price"].shift(-5) / frame["mid_price"] - 1
coefficients = frame[NAMES[1:]].corrwith(ahead, method="spearman").sort_values()
coefficients.plot.barh(figsize=(8, 3), title="rank correlation with the next 5 s", color="#5b4bb7")

# %% [markdown]
# The same period as a reader at 12:05 could know it: what was readable later is not there.

# %%
then = client.history("BTCUSDT", ["mid_price"], START, END, as_of=datetime(2026, 1, 5, 12, 5, tzinfo=UTC)).to_pandas()
print(f"{len(frame)} rows are known today, {len(then)} were at 12:05, the newest of {then['timestamp'].max()}")
