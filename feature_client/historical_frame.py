"""The frame of historical features, which carries their proof."""

from __future__ import annotations

from typing import ClassVar

import pandas as pd

from feature_client.historical import PitReport


class HistoricalFeatures(pd.DataFrame):
    """The entity frame with its features; ``pit_report`` is their proof.

    Frames derived from it are plain frames: the proof covers only these rows.
    """

    _metadata: ClassVar[list[str]] = ["pit_report"]
    pit_report: PitReport

    @classmethod
    def of(cls, frame: pd.DataFrame, report: PitReport) -> HistoricalFeatures:
        """The frame with its proof."""
        found = cls(frame)
        found.pit_report = report
        return found

    @property
    def _constructor(self) -> type[pd.DataFrame]:
        return pd.DataFrame

    def to_df(self) -> pd.DataFrame:
        """The frame alone."""
        return pd.DataFrame(self)
