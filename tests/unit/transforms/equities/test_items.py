"""Sentiment against plain pandas: at any moment the items that could be read and are not too old, and nothing else."""

from __future__ import annotations

import numpy as np
import pandas as pd

from market.clock import DAY_NS
from transforms.equities.catalogue import TABLE_GROUPS
from transforms.known_rows import KnownRows

GROUP = TABLE_GROUPS["sentiment_features"]
NAMES = [each.name for each in GROUP.columns]
HOUR_NS = 3600 * 10**9


def drawn(seed: int, count: int, days: float) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    event = np.sort(random.integers(0, int(days * 24), count)) * HOUR_NS
    return pd.DataFrame(
        {
            "event": event,
            "known": event + random.choice([0, HOUR_NS, 30 * HOUR_NS], count),
            "item": np.arange(count),
            "sentiment": np.where(random.random(count) < 0.1, np.nan, random.uniform(-1, 1, count)),
            "relevance": random.choice([0.0, 0.5, 1.0], count),
            "rating": random.integers(1, 6, count).astype(float),
            "analyst": random.integers(0, 5, count).astype(float),
        }
    )


def rows_of(frame: pd.DataFrame, *columns: str) -> KnownRows:
    return KnownRows(
        frame["event"].to_numpy(),
        frame["known"].to_numpy(),
        {name: frame[name].to_numpy() for name in columns},
        frame["item"].to_numpy(),
    )


def mean(frame: pd.DataFrame, moment: int, days: int) -> float:
    held = frame[(frame["known"] <= moment) & (frame["event"] > moment - days * DAY_NS)].dropna()
    weight = held["relevance"].sum()
    return float((held["sentiment"] * held["relevance"]).sum() / weight) if weight else np.nan


def consensus(frame: pd.DataFrame, moment: int) -> float:
    held = frame[(frame["known"] <= moment) & (frame["event"] > moment - 180 * DAY_NS)]
    return float(held.sort_values(["event", "item"]).groupby("analyst")["rating"].last().mean())


def test_at_every_moment_the_items_that_could_be_read_are_counted() -> None:
    news, posts, ratings = drawn(1, 150, 30), drawn(2, 60, 30), drawn(3, 40, 300)
    tables = {
        "news": {"A": rows_of(news, "sentiment", "relevance")},
        "social_posts": {"A": rows_of(posts, "sentiment", "relevance")},
        "analyst_ratings": {"A": rows_of(ratings, "rating", "analyst")},
    }
    found = GROUP.computed(tables, until_ns=600 * DAY_NS)["A"]
    asked = np.unique(np.concatenate([found.created_ns, found.created_ns - 1, found.created_ns + HOUR_NS // 2]))
    for moment in asked[asked >= found.created_ns[0]].tolist():
        values = found.values[np.searchsorted(found.created_ns, moment, side="right") - 1]
        expected = [mean(news, moment, 1), mean(news, moment, 7), mean(posts, moment, 1), consensus(ratings, moment)]
        np.testing.assert_allclose(values, expected, rtol=1e-12, atol=1e-12)
    assert NAMES == ["news_sentiment_1d", "news_sentiment_7d", "social_sentiment", "analyst_rating"]
    assert np.isnan(found.values[-1]).all()  # everything is old by then


def test_two_items_of_one_moment_are_two() -> None:
    one = pd.DataFrame(
        {"event": [0, 0], "known": [0, 0], "item": [7, 3], "sentiment": [1.0, 0.0], "relevance": [1.0, 1.0]}
    )
    found = GROUP.computed({"news": {"A": rows_of(one, "sentiment", "relevance")}}, until_ns=1)["A"]
    assert found.values[0][0] == 0.5
