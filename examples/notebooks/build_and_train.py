# %% [markdown]
# # Build a dataset and train on it
#
# From a period to a model, with nothing of the future in it. Needs the folder of `make demo ARGS="--out demo"`, and
# `pip install 'feature-service[notebooks]'`.

# %%
import json
import subprocess
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from sklearn.ensemble import HistGradientBoostingRegressor

from feature_client import FeatureStoreClient

DATA = next(up / "demo" for up in (Path.cwd(), *Path.cwd().parents) if (up / "demo" / "historical").is_dir())

# %% [markdown]
# The label is the mid price's return over the next ten seconds. Rows whose label reaches into the next split are
# purged. A running service builds the same by `POST /dataset/build`; the same request is built once.

# %%
PERIOD = ["--from", "2026-01-05T12:01", "--to", "2026-01-05T12:10", "--horizon", "10s"]
command = ["feature-service", "dataset", "build", "--symbol", "BTCUSDT", *PERIOD, "--data", str(DATA), "--json"]
built = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
built

# %%
dataset = FeatureStoreClient(DATA / "historical").dataset(built["dataset_id"])
splits = {split: dataset.load(split) for split in ("train", "validation", "test")}
{
    split: f"{len(rows)} rows, {rows.notna().mean().mean():.1%} of the values known"
    for split, (rows, _) in splits.items()
}

# %% [markdown]
# Trees take an unknown value as it is, so nothing is filled in.

# %%
TARGET = dataset.target_columns[0]
trained = HistGradientBoostingRegressor(max_iter=60, learning_rate=0.05, max_depth=3, random_state=0)
features, targets = splits["train"]
trained.fit(features.to_numpy(), targets[TARGET].to_numpy())


def coefficient(split: str) -> float:
    """The rank correlation of what is predicted with what came."""
    inputs, came = splits[split]
    predicted = pd.Series(trained.predict(inputs.to_numpy()), index=came.index)
    return float(predicted.corr(came[TARGET], method="spearman"))


scores = pd.Series({split: coefficient(split) for split in splits})
scores.plot.bar(title="rank correlation by split", figsize=(6, 3), rot=0, color=["#0b6e6e", "#b3541e", "#5b4bb7"])

# %% [markdown]
# A high bar on train alone is what a model learns of noise by heart: the market was drawn by chance. The test split
# says so, and can only say so because nothing leaked into it; the manifest tells how that was checked.

# %%
manifest = json.loads((Path(built["path"]) / "_manifest.json").read_text())
{name: manifest["leakage"][name] for name in ("checked", "violations") if name in manifest["leakage"]}

# %%
inputs, came = splits["test"]
plt.figure(figsize=(5, 4))
plt.scatter(trained.predict(inputs.to_numpy()), came[TARGET], s=8, color="#5b4bb7")
plt.xlabel("predicted")
plt.ylabel("came")
plt.title("the test split")

# %% [markdown]
# What a model must keep beside its weights so that it is never given another vector than it learned from.

# %%
print("dataset    ", dataset.dataset_id)
print("registry   ", dataset.feature_registry_version, dataset.feature_set)
print("in order   ", *dataset.feature_columns[:4], "...")
