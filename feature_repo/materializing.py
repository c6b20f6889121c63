"""Materialization: the newest rows of views without a push source, from their source to the online store."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from market.errors import FeatureServiceError, StoreUnavailable

if TYPE_CHECKING:
    from feast import FeatureStore, FeatureView

EVERY_TAG: Final = "materialize_every_s"
"""The tag by which a view says how often it is to be materialized; without it every time."""
_SLACK: Final = timedelta(minutes=1)
"""What the work before a run takes differs: without this, a view due at every run would be so at every other."""


def materialize_unpushed(
    store: FeatureStore, end: datetime, *, before_each: Callable[[float], object], lost: Collection[str] = ()
) -> dict[str, list[str]]:
    """Bring each view that no source pushes up to ``end``, as Feast's ``materialize-incremental`` does, late rows too.

    before_each: told the share of the views that are done. lost: views whose rows are not online any more: all that
    still answer are put there again. Returns the names of the views that were materialized, that are not due yet, and
    that are pushed, and ``problems``: what is wrong with each of the others, which stops no view
    but itself. Raises what Feast raises where a server does not answer.
    """
    from feast.errors import FeastError

    from feature_repo.freshness import time_to_live

    silence_feast()
    pushed: list[str] = []
    waiting: list[str] = []
    due: list[str] = []
    problems: dict[str, str] = {}
    for view in store.list_feature_views():
        if view.stream_source is not None or not view.online:
            pushed.append(view.name)
        else:
            (due if view.name in lost or is_due(view, end) else waiting).append(view.name)
    for at, name in enumerate(due):
        before_each(at / len(due))
        try:
            if name in lost:
                store.materialize(end - time_to_live(name), end, feature_views=[name])
            else:
                store.materialize_incremental(end_date=end, feature_views=[name])
        except StoreUnavailable:
            raise
        # What somebody's source or definition may be wrong with.
        except (FeatureServiceError, FeastError, ValueError, KeyError, TypeError, OSError) as error:
            problems[name] = f"{name}: cannot be materialized: {error}"
    return {
        "materialized": sorted(set(due) - problems.keys()),
        "not_due": sorted(waiting),
        "pushed": sorted(pushed),
        "problems": list(problems.values()),
    }


def silence_feast() -> None:
    """Feast prints what it materializes, in colours, on the standard output of a service: in this process no more.

    To redirect the output meanwhile would take it from every other thread too.
    """
    import feast.feature_store

    vars(feast.feature_store)["print"] = _print_nothing


def _print_nothing(*_words: object, **_options: object) -> None:
    """In place of ``print``."""


def materialized_until(store: FeatureStore) -> dict[str, datetime]:
    """By view until when it was materialized, of those that ever were."""
    ends = {view.name: view.most_recent_end_time for view in store.list_feature_views()}
    return {
        name: end if end.tzinfo is not None else end.replace(tzinfo=UTC)
        for name, end in ends.items()
        if end is not None
    }


def is_due(view: FeatureView, end: datetime) -> bool:
    """Whether a view is to be materialized in a run up to ``end``."""
    last = view.most_recent_end_time
    if last is None:
        return True
    known = last if last.tzinfo is not None else last.replace(tzinfo=UTC)
    every = timedelta(seconds=float(view.tags.get(EVERY_TAG, 0)))
    return end - known >= every - min(_SLACK, every / 5)
