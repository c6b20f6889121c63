"""Feature modules of other packages, which are imported with the catalogue.

A module is found by the entry point group ``feature_service.features`` of an installed package, or by its name in the
environment variable FEATURE_SERVICE_FEATURE_MODULES, several separated by commas. Its last name is its group's.
"""

from __future__ import annotations

import importlib
import os
from functools import lru_cache
from importlib.metadata import entry_points
from types import ModuleType
from typing import Final

from market.errors import InvalidFeature

ENTRY_POINTS: Final = "feature_service.features"
VARIABLE: Final = "FEATURE_SERVICE_FEATURE_MODULES"


@lru_cache(maxsize=1)
def outside_modules() -> tuple[ModuleType, ...]:
    """The modules there are, by name. Raises InvalidFeature naming one that cannot be imported, or two of one group."""
    listed = [name.strip() for name in os.environ.get(VARIABLE, "").split(",")]  # noqa: TID251  # the catalogue is made before there are settings
    names = {each.value for each in entry_points(group=ENTRY_POINTS)} | {name for name in listed if name}
    modules = [_imported(name) for name in sorted(names)]
    groups = [group_name(module) for module in modules]
    for at, group in enumerate(groups):
        if group in groups[:at]:
            both = f"{modules[groups.index(group)].__name__} and {modules[at].__name__}"
            raise InvalidFeature(group, [f"group: must be declared by one module, was by {both}"])
    return tuple(modules)


def group_name(module: ModuleType) -> str:
    """The group that a module declares."""
    return module.__name__.rpartition(".")[2]


def _imported(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InvalidFeature(
            name, [f"{VARIABLE} or entry point {ENTRY_POINTS}: must be a module that can be imported, was {error}"]
        ) from error
