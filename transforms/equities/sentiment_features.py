"""Sentiment: features of scored items, each from when it could be read.

Tables ``news`` and ``social_posts``, a row an item: sentiment from -1 (bad) to 1 (good) as the source scored it, and
relevance, the weight of the item for the symbol, 1 where the mapping's default says so. Table ``analyst_ratings``, a
row a rating: rating from 1 (sell) to 5 (buy), analyst, a number that names who rates. The mapping's ``item`` tells
apart items of one moment.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from transforms.table_feature import Window, table_feature

FRESHNESS: Final = "4h"
TIME_TO_LIVE: Final = "180d"
NEWS: Final = "news"
SOCIAL: Final = "social_posts"
RATINGS: Final = "analyst_ratings"


def scored(table: str, within: str) -> dict[str, Window]:
    """The scores and weights of the items of a stretch of time."""
    return {name: Window(table, name, 0, within) for name in ("sentiment", "relevance")}


def weighted_mean(sentiment: Any, relevance: Any) -> float:
    """Mean of the scores that are known, by weight; NaN where none weighs anything."""
    is_known = ~(np.isnan(sentiment) | np.isnan(relevance))
    total = np.sum(relevance[is_known])
    return np.sum(sentiment[is_known] * relevance[is_known]) / total if total > 0 else np.nan


@table_feature(
    "news_sentiment_{days}d", unit="1", low=-1.0, high=1.0, sees=lambda days: scored(NEWS, f"{days}d"), days=(1, 7)
)
def news_sentiment(sentiment: Any, relevance: Any) -> float:
    """Sentiment of the news of the last n days of 24 hours.

    Formula: sum(sentiment * relevance) / sum(relevance) over the items known and published less than n days ago
    NaN: there were no scored items: no news is not neutral news.
    Source: Tetlock (2007), Giving Content to Investor Sentiment; the scores are the source's.
    """
    return weighted_mean(sentiment, relevance)


@table_feature("social_sentiment", unit="1", low=-1.0, high=1.0, sees=scored(SOCIAL, "1d"))
def social_sentiment(sentiment: Any, relevance: Any) -> float:
    """Sentiment of the posts of the last 24 hours.

    Formula: sum(sentiment * relevance) / sum(relevance) over the posts known and written less than a day ago
    NaN: there were no scored posts.
    Source: Antweiler and Frank (2004), Is All That Talk Just Noise; the scores are the source's.
    """
    return weighted_mean(sentiment, relevance)


@table_feature(
    "analyst_rating",
    unit="1",
    low=1.0,
    high=5.0,
    sees={name: Window(RATINGS, name, 0, "180d") for name in ("rating", "analyst")},
)
def analyst_rating(rating: Any, analyst: Any) -> float:
    """Consensus of the analysts who rated within the last 180 days, 1 (sell) to 5 (buy).

    Formula: mean over the analysts of each one's newest rating
    NaN: nobody rated within 180 days.
    Source: Jegadeesh, Kim, Krische and Lee (2004), Analyzing the Analysts.
    """
    is_known = ~(np.isnan(rating) | np.isnan(analyst))
    newest = dict(zip(analyst[is_known].tolist(), rating[is_known].tolist(), strict=True))
    return sum(newest.values()) / len(newest) if newest else np.nan
