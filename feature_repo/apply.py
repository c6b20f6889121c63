"""Bringing the definitions into a Feast registry."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from market.errors import DeclarationError

if TYPE_CHECKING:
    from feast import FeatureStore, FeatureView

    from feature_repo.definitions import FeastObject


def apply_definitions(store: FeatureStore, objects: Sequence[FeastObject]) -> list[str]:
    """Register ``objects``, create the log folders Feast will read, and return what was registered, a line each.

    Raises DeclarationError when two feature names would share one field of the online store.
    """
    from feast import FeatureView, FileSource

    views = [item for item in objects if isinstance(item, FeatureView)]
    _refuse_colliding_fields(views)
    for view in views:
        assert isinstance(view.batch_source, FileSource)
        Path(view.batch_source.path).mkdir(parents=True, exist_ok=True)
    store.apply(list(objects))
    return [f"{type(item).__name__} {item.name}" for item in objects]


def _refuse_colliding_fields(views: Sequence[FeatureView]) -> None:
    from feast.infra.online_stores.helpers import _mmh3

    owners: dict[bytes, str] = {}
    problems = []
    for view in views:
        for field in view.features:
            name = f"{view.name}:{field.name}"
            other = owners.setdefault(_mmh3(name), name)
            if other != name:
                problems.append(f"{name}: must not share its 32-bit field in the online store with {other}")
    if problems:
        raise DeclarationError("feature views", problems)
