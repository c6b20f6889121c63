# %% [markdown]
# # Shares, as they were known
#
# Thirteen years of daily bars of two shares, ratios and momentum over them, and a close that nobody knew at noon.
# Needs the folder of `feature-service demo --equities --out shares`, and `pip install 'feature-service[notebooks]'`.

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from feature_client import FeatureStoreClient

DATA = next(up / "shares" for up in (Path.cwd(), *Path.cwd().parents) if (up / "shares" / "historical").is_dir())
client = FeatureStoreClient(DATA / "historical")

# %% [markdown]
# Ask for any moments: each row has what was known then. A close is known at 16:15 in New York; a reader at noon is
# given that of the day before.

# %%
day = (pd.Timestamp.now("America/New_York").normalize() - pd.Timedelta(days=400)) + pd.offsets.Week(weekday=2)
moments = [day + pd.Timedelta(hours=hours) for hours in (12, 16.2, 16.25)]
asked = pd.DataFrame({"symbol": "AAPL", "event_timestamp": moments})
known = client.get_historical_features(asked, ["price_volume_features:close_price", "momentum_features:rsi_14"])
print("every answer is proven to be of its past:", known.pit_report.is_proven)
known.to_df()

# %% [markdown]
# A year of evenings, both shares at once.

# %%
VIEW = "price_volume_features"
REFERENCES = [f"{VIEW}:close_price", f"{VIEW}:volatility_20d", "momentum_features:momentum_12m"]
evenings = pd.bdate_range(end=day, periods=250, tz="America/New_York") + pd.Timedelta(hours=20)
asked = pd.DataFrame({"symbol": ["AAPL", "MSFT"] * len(evenings), "event_timestamp": evenings.repeat(2)})
year = client.get_historical_features(asked, REFERENCES).to_df()
year.groupby("symbol")[["volatility_20d", "momentum_12m"]].describe().T.loc[(slice(None), ["mean", "min", "max"]), :]

# %%
figure, axes = plt.subplots(2, 1, sharex=True, figsize=(10, 5), layout="constrained")
for symbol, of in year.set_index("event_timestamp").groupby("symbol"):
    axes[0].plot(of["close_price"], label=symbol)
    axes[1].plot(of["volatility_20d"], label=symbol)
axes[0].set_title("close")
axes[1].set_title("volatility of 20 days, a year")
axes[0].legend()
