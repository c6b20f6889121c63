"""Which versions of Feast the stores were tested with: they rely on its formats, and on names it does not document."""

from __future__ import annotations

import warnings
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from feast import OnDemandFeatureView
    from feast.infra.registry.base_registry import BaseRegistry

TESTED: Final = ("0.67.0", "0.66.0")
OLDEST: Final = "0.66.0"
PANDAS_BELOW: Final = (3,)
_TOO_NEW: Final = "pandas: must be below 3, as Feast requires, was {}: {}"


def warn_of_others(installed: str) -> None:
    """Warn where this is no version that the stores were tested with.

    Raises ImportError for one that is older than all of them: it lacks what they rely on.
    """
    if installed in TESTED:
        return
    if _number(installed) < _number(OLDEST):
        raise ImportError(f"feast: must be {OLDEST} or newer, was {installed}, which lacks what the stores rely on")
    warnings.warn(
        f"feast: must be {' or '.join(TESTED)}, which the stores were tested with, was {installed}; "
        f"what they rely on in it may have changed",
        stacklevel=3,
    )


def warn_of_pandas(installed: str) -> None:
    """Warn of a pandas that Feast does not take: its views on demand fail, and a null text is NaN."""
    if _number(installed) >= PANDAS_BELOW:
        warnings.warn(_TOO_NEW.format(installed, "features that Feast computes on demand fail with it"), stacklevel=3)


def refuse_pandas(installed: str) -> None:
    """Raise ImportError of a pandas with which Feast's writes lose rows: of a frame of pieces they take the first."""
    if _number(installed) >= PANDAS_BELOW:
        raise ImportError(_TOO_NEW.format(installed, "Feast would write only the first part of a concatenated frame"))


def requested_on_demand_views(references: list[str], project: str, registry: BaseRegistry) -> list[OnDemandFeatureView]:
    """The views that Feast computes on demand for these features. Feast 0.67 moved the function and reads versions."""
    from feast import OnDemandFeatureView, utils

    find = getattr(utils, "_get_requested_on_demand_feature_views", None) or OnDemandFeatureView.get_requested_odfvs
    found: list[OnDemandFeatureView] = find(references, project, registry)
    return found


def _number(text: str) -> tuple[int, ...]:
    """The numbers of a version, without what follows them."""
    return tuple(int(part) for part in text.split(".")[:3] if part.isdecimal())


warn_of_others(version("feast"))
warn_of_pandas(version("pandas"))
