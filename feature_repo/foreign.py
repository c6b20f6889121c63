"""Definitions of others: what a user adds to the repository, registered and kept with ours.

They are Feast objects under a module's own names, as `feast apply` takes them: in a file in `feature_repo/`, or in a
module that an installed package names as an entry point of the group ``feature_service.definitions``.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator, Sequence
from importlib import import_module
from importlib.metadata import entry_points
from types import ModuleType
from typing import Final

from feast import Entity, FeatureService, FeatureView, OnDemandFeatureView

import feature_repo
from feature_repo.definitions import FeastObject
from market.errors import DeclarationError

ENTRY_POINTS: Final = "feature_service.definitions"


def foreign_definitions(ours: Sequence[FeastObject]) -> list[FeastObject]:
    """The objects of others, each once, in order of their modules and names.

    Raises DeclarationError for one with the name of one of ours, or two with one name.
    """
    from feature_repo import definitions

    held = {(_kind(item), item.name): item for item in ours}
    known = {id(item) for item in vars(definitions).values()}
    found: dict[tuple[str, str], FeastObject] = {}
    problems = []
    for module in _modules():
        for item in vars(module).values():
            if not isinstance(item, FeastObject) or id(item) in known:
                continue
            name = (_kind(item), item.name)
            if name in held:
                problems.append(
                    f"{module.__name__}: {item.name} must not have the name of an object ({name[0]}) of the service, "
                    "which is imported from feature_repo.definitions"
                )
            elif found.setdefault(name, item) is not item:
                problems.append(f"{module.__name__}: {item.name} must be the only {name[0]} of that name")
    if problems:
        raise DeclarationError("definitions of others", problems)
    return list(found.values())


def _kind(item: FeastObject) -> str:
    """Views of all kinds share their names."""
    for kind, said in ((Entity, "entity"), (FeatureService, "feature service")):
        if isinstance(item, kind):
            return said
    assert isinstance(item, FeatureView | OnDemandFeatureView)
    return "feature view"


def _modules() -> Iterator[ModuleType]:
    for module in pkgutil.iter_modules(feature_repo.__path__, "feature_repo."):
        yield import_module(module.name)
    for point in sorted(entry_points(group=ENTRY_POINTS), key=lambda each: each.name):
        yield import_module(point.module)
