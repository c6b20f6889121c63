"""Online reads of a repository: streamed views from the packed vector, the others from Feast's fields, at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from feature_client.foreign import ForeignViews
from feature_client.online import OnlineFeature, age_of, features_of, refuse_look_ahead, symbols_of
from feature_client.repository import shared_views
from feature_repo.freshness import STREAMED_VIEWS, table_group, time_to_live
from market.errors import InvalidRequest
from storage.online.shadow_rows import read_version
from storage.online.store import OnlineStore
from storage.online.vector import OnlineVector
from transforms.status import STATUS_NAMES

if TYPE_CHECKING:
    from feature_repo.store import FeatureStore

Reference = tuple[str, str]
"""View and name."""


class OnlineReading:
    """Newest rows by reference; safe to share between threads."""

    def __init__(
        self, online: OnlineStore, open_store: Callable[[], FeatureStore], *, fresh_for: Mapping[str, timedelta]
    ) -> None:
        """open_store: the repository in Feast, only for third-party views. fresh_for: how old a view's row may be."""
        self._online = online
        self._fresh_for = fresh_for
        self._foreign = ForeignViews(online, open_store, now_s=time.monotonic)
        self._verified: set[tuple[str, Reference]] = set()

    def features(
        self,
        entity_rows: Sequence[Mapping[str, Any]],
        references: Sequence[Reference],
        *,
        as_of_ns: int | None,
        now_ns: int,
        version: str | None = None,
    ) -> list[dict[str, OnlineFeature]]:
        """What each entity row has of each reference; raises as ``FeatureStoreClient.get_online_features``.

        version: of streamed views, served as active or as shadow; None is the active one.
        """
        tables = [pair for pair in references if table_group(pair[0]) is not None]
        rest = [pair for pair in references if table_group(pair[0]) is None]
        is_ours_alone = all(view in STREAMED_VIEWS for view, _ in rest)
        vectors: list[OnlineVector | None] = [None] * len(entity_rows)
        symbols: list[str] = []
        if is_ours_alone or tables or all("symbol" in row for row in entity_rows):
            symbols = symbols_of(entity_rows, is_alone=is_ours_alone)
            if rest:
                vectors = self._read(symbols, version)
        # Views of other packages are streamed too where the vector has them.
        held = STREAMED_VIEWS.union(*(vector.statuses for vector in vectors if vector is not None))
        streamed = [pair for pair in rest if pair[0] in held]
        others = [pair for pair in rest if pair[0] not in held]
        if streamed and not symbols:
            symbols = symbols_of(entity_rows, is_alone=False)
        answers: list[list[dict[str, OnlineFeature]]] = []
        if streamed:
            answers.append(self._streamed(vectors, streamed, as_of_ns=as_of_ns, now_ns=now_ns, version=version))
        if tables:
            answers.append(self._of_tables(symbols, tables, as_of_ns=as_of_ns, now_ns=now_ns))
        if others:
            answers.append(
                self._foreign.features(entity_rows, others, as_of_ns=as_of_ns, now_ns=now_ns, fresh_for=self._fresh_for)
            )
        return [
            {reference: feature for answer in answers for reference, feature in answer[row].items()}
            for row in range(len(entity_rows))
        ]

    def freshness(
        self, view: str, symbols: Sequence[str] | None, *, now_ns: int
    ) -> dict[str, tuple[timedelta, bool, str]]:
        """Age of the view's newest row, whether it is stale and its status, by symbol that has one.

        symbols: None is every symbol that has a row of any view. Raises NotFound for a view without any row.
        """
        asked = self._online.symbols() if symbols is None else symbols
        if table_group(view) is not None:
            rows = self._online.table_rows(asked, {view: ()}, shared=shared_views([view]))
            ages = ((symbol, row[view]) for symbol, row in zip(asked, rows, strict=True))
            by_symbol = {symbol: age_of(row.event_ns, now_ns) for symbol, row in ages if row is not None}
            return {symbol: (age, age > self._limit(view), "OK") for symbol, age in by_symbol.items()}
        found = {}
        for vector in self._online.read(asked):
            if vector is not None and view in vector.statuses:
                age = age_of(vector.row_ns, now_ns)
                found[vector.symbol] = age, age > self._limit(view), STATUS_NAMES[vector.statuses[view]]
        if found or view in STREAMED_VIEWS:
            return found
        ages_of = self._foreign.ages(view, asked, now_ns=now_ns, fresh_for=self._fresh_for)
        return {symbol: (age, is_stale, "OK") for symbol, (age, is_stale) in ages_of.items()}

    def _streamed(
        self,
        vectors: Sequence[OnlineVector | None],
        references: Sequence[Reference],
        *,
        as_of_ns: int | None,
        now_ns: int,
        version: str | None,
    ) -> list[dict[str, OnlineFeature]]:
        """The features of views whose rows are pushed, by symbol."""
        for vector in vectors:
            if vector is None:
                continue
            if as_of_ns is not None:
                refuse_look_ahead(vector, references, as_of_ns)
            if version is None:  # Feast's fields, which it is verified by, are of the active one
                self._verify(vector, references)
        fresh_for = {view: self._limit(view) for view, _ in references}
        return [features_of(vector, references, now_ns=now_ns, fresh_for=fresh_for) for vector in vectors]

    def _of_tables(
        self, symbols: Sequence[str], references: Sequence[Reference], *, as_of_ns: int | None, now_ns: int
    ) -> list[dict[str, OnlineFeature]]:
        """The features of views of tables, by symbol."""
        from feature_client.of_tables import nan_rules, refuse_table_look_ahead, table_features_of

        rules = nan_rules()
        views: dict[str, list[str]] = {}
        for view, name in references:
            if (view, name) not in rules:
                raise InvalidRequest(f"{view}:{name}: must be a feature of its view")
            views.setdefault(view, []).append(name)
        rows = self._online.table_rows(symbols, views, shared=shared_views(views))
        if as_of_ns is not None:
            for symbol, of_symbol in zip(symbols, rows, strict=True):
                refuse_table_look_ahead(symbol, of_symbol, views, as_of_ns)
        fresh_for = {view: self._limit(view) for view in views}
        return [table_features_of(of_symbol, references, now_ns=now_ns, fresh_for=fresh_for) for of_symbol in rows]

    def _read(self, symbols: Sequence[str], version: str | None) -> list[OnlineVector | None]:
        return self._online.read(symbols) if version is None else read_version(self._online, symbols, version)

    def _limit(self, view: str) -> timedelta:
        return self._fresh_for.get(view) or time_to_live(view)

    def _verify(self, vector: OnlineVector, references: Sequence[Reference]) -> None:
        """Refuse a feature under a view that is not its own; asked of the server once a feature and feature set.

        The packed vector names columns and groups, not which column is of which group.
        """
        unseen = [pair for pair in references if (vector.fingerprint, pair) not in self._verified]
        if not unseen:
            return
        for pair, is_held in zip(unseen, self._online.held(vector.symbol, unseen), strict=True):
            if not is_held:
                view, name = pair
                raise InvalidRequest(
                    f"{view}:{name}: must be a feature of the online rows, which are of registry version "
                    f"{vector.version}"
                )
            self._verified.add((vector.fingerprint, pair))
