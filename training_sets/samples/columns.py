"""The features of a dataset: columns of the registry version, then those of joined views.

On a row, the joined values are what was known when the row had arrived; at a time, what was known then. A sample that
has no row was not acted on, and nothing of it is known. No policy for missing values fills a joined one: how long
a value holds, the view's time to live says.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from market.errors import InvalidRequest
from training_sets.request.request import DatasetRequest
from training_sets.samples.known import Known
from transforms.rows import FeatureSet

if TYPE_CHECKING:
    from feature_repo.joined_views import JoinedViews
    from feature_repo.store import FeatureStore

Float64s = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class DatasetFeatures:
    """chosen: the registry version. own: which of its columns the dataset has. joined: None where no view is."""

    chosen: FeatureSet
    own: tuple[str, ...]
    joined: JoinedViews | None = None

    @classmethod
    def of_version(cls, chosen: FeatureSet) -> DatasetFeatures:
        """Every column of a version and no other."""
        return cls(chosen, chosen.columns)

    @classmethod
    def of(cls, request: DatasetRequest, chosen: FeatureSet, open_store: Callable[[], FeatureStore]) -> DatasetFeatures:
        """What a request asks for. Raises InvalidRequest naming the feature that cannot be had."""
        choice = request.features
        if choice is None:
            return cls.of_version(chosen)
        views = {group.name: group.columns for group in chosen.groups}
        own, others = [], []
        for reference in choice.references:
            view, _, name = reference.partition(":")
            if view not in views:
                others.append(reference)
            elif choice.is_beside:
                raise InvalidRequest(
                    f"features: must be of other views than the registry version, which has its own, was {reference}"
                )
            elif name not in views[view]:
                raise InvalidRequest(
                    f"features: must be of registry {chosen.version}, whose {view} has {', '.join(views[view])}, was "
                    f"{reference}"
                )
            else:
                own.append(name)
        if not others and choice.keys:
            raise InvalidRequest(f"feature_keys: must be keys of the views, was {', '.join(sorted(choice.keys))}")
        joined = None
        if others:
            from feature_repo.joined_views import JoinedViews

            joined = JoinedViews(open_store(), others, choice.keys)
        return cls(chosen, chosen.columns if choice.is_beside else tuple(own), joined)

    @property
    def columns(self) -> tuple[str, ...]:
        """In the order of the files."""
        return (*self.own, *(self.joined.columns if self.joined is not None else ()))

    @property
    def references(self) -> tuple[str, ...]:
        """``view:name`` of each column, as an online read asks for it."""
        view_of = {column: group.name for group in self.chosen.groups for column in group.columns}
        own = (f"{view_of[name]}:{name}" for name in self.own)
        return (*own, *(self.joined.references if self.joined is not None else ()))

    @property
    def own_at(self) -> list[int]:
        """Where the columns of the version stand in its rows."""
        places = {column: at for at, column in enumerate(self.chosen.columns)}
        return [places[name] for name in self.own]

    def values(self, known: Known, symbols: Sequence[str], *, on_rows: bool) -> Float64s:
        """Of what is known of each symbol at some times: float64 (times x symbols, columns).

        on_rows: whether a sample without a row is not acted on.
        """
        is_whole = len(self.own) == len(self.chosen.columns)
        own = known.features if is_whole else known.features[:, self.own_at]
        if self.joined is None:
            return own
        of_row = np.tile(np.array(symbols, object), len(known.row_ns) // len(symbols))
        asked = np.flatnonzero(known.has_row) if on_rows else np.arange(len(known.row_ns))
        beside = np.full((len(own), len(self.joined.columns)), np.nan)
        beside[asked] = self.joined.values(of_row[asked].tolist(), known.had_ns[asked])
        return np.concatenate([own, beside], axis=1)
