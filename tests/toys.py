"""The features of ``tests.toy_features`` in the catalogue of a test, and of a process that it warms up with."""

from __future__ import annotations

import sys
from multiprocessing.connection import Connection
from typing import Final

from ingestion.pipeline.warming import WarmingPlan, warm_up_engines
from tests import toy_features
from transforms.catalogue import FEATURES, GROUPS
from transforms.declaration import declared_features

GROUP: Final = "toy_features"
RAISES_FROM_NS: Final = toy_features.RAISES_FROM_NS


def declare_toys() -> None:
    """Let the catalogue of this process have them."""
    GROUPS[GROUP] = declared_features(toy_features.__name__)
    FEATURES.update({declared.name: declared for declared in GROUPS[GROUP]})
    sys.modules[f"transforms.features.{GROUP}"] = toy_features


def remove_toys() -> None:
    """Leave the catalogue as it was."""
    for declared in GROUPS.pop(GROUP):
        del FEATURES[declared.name]
    del sys.modules[f"transforms.features.{GROUP}"]


def warm_up_with_toys(plan: WarmingPlan, connection: Connection) -> None:
    """The warming process of a worker whose catalogue has the toys."""
    declare_toys()
    warm_up_engines(plan, connection)
