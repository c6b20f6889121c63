"""What Feast sees: entity, push source, views, services, our offline store, and the registry versions.

Feast decorates its classes by typeguard, which compiles 242 of their methods anew at every import, parsing the whole
module for each: 6.5 s of a processor, of an import of 9 s. Whoever imports this package first imports Feast without.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import typeguard

UNCHECKED: Final = "feast."
"""How the modules of classes begin that are left as they are."""
_checked: Final[Callable[..., Any]] = typeguard.typechecked


def _typechecked(target: Any = None, **options: Any) -> Any:  # noqa: ANN401  # as typeguard itself
    """``typeguard.typechecked``, which leaves Feast's classes as they are."""
    if target is None:
        return partial(_typechecked, **options)
    return target if target.__module__.startswith(UNCHECKED) else _checked(target, **options)


typeguard.typechecked = _typechecked
