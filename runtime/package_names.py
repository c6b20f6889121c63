"""Whether the first names of our packages lead to our files: they are plain words, which others may have taken too."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from pathlib import Path
from typing import Final

OURS: Final = (
    *("api", "backfill", "feature_client", "feature_repo", "ingestion", "market", "quality"),
    *("registry", "runtime", "storage", "training_sets", "transforms", "upkeep"),
)
DISTRIBUTION: Final = "feature-service"
HOME: Final = Path(__file__).resolve().parent.parent
"""Where this package lies, and so where the others of ours must lie."""


def foreign_names() -> list[str]:
    """A line for each name that leads elsewhere, or that another distribution has files under; imports nothing."""
    found = []
    distributions = importlib.metadata.packages_distributions()
    for name in OURS:
        spec = importlib.util.find_spec(name)
        place = None if spec is None or spec.origin is None else Path(spec.origin).resolve().parent
        others = sorted({*distributions.get(name, ())} - {DISTRIBUTION})
        if place != HOME / name:
            found.append(f"{name}: must be {HOME / name}, was {place or 'nothing'}")
        elif others:
            found.append(f"{name}: must be part of {DISTRIBUTION} only, was also part of {', '.join(others)}")
    return found
