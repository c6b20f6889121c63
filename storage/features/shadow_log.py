"""The feature logs of versions that are served next to the active one, each in its own folder below the log.

They are separate so that none of their rows is taken for a served one: neither by a restarted worker, which continues
after the last row of its set, nor the search for rows that are missing.
"""

from __future__ import annotations

from typing import Final

from storage.places import Place

SHADOWS: Final = "shadow_versions"


def shadow_log_folder(features: Place, version: str) -> Place:
    """The folder of the log of a version; features: of the feature log."""
    return features / SHADOWS / version
