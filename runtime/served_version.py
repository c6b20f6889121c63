"""The registry version that a feature log was served by, told from the columns of its newest parts."""

from __future__ import annotations

from feature_repo.registry_versions import sound_versions, version_key
from runtime.settings import Settings
from storage.features.parts import served_columns


def served_version(settings: Settings) -> str | None:
    """Of the released versions whose columns were all served last, the largest; None where no row was served.

    ``latest`` has the columns of a released version, or those of none yet.
    """
    served = served_columns(settings.feature_log_storage_path)
    if not served:
        return None
    found: dict[str, int] = {}
    for version in sound_versions(settings.feature_registry_versions_dir):
        chosen = version.feature_set
        if all(set(group.columns) <= served.get((group.name, group.fingerprint), set()) for group in chosen.groups):
            found[version.version] = len(chosen.columns)
    return max(found, key=lambda version: (found[version], version_key(version)), default=None)
