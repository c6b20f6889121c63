"""What Feast sees: entity, push source, views, services, our offline store, and the registry versions.

Feast decorates its classes with typeguard, which recompiles 242 of their methods at every import, parsing the whole
module for each: 6.5 CPU seconds of an import of 9 s. Importing this package first imports Feast without typeguard. A
client that only reads online has neither of the two.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

try:
    import typeguard
except ModuleNotFoundError:
    typeguard = None  # type: ignore[assignment]  # a module or nothing

UNCHECKED: Final = "feast."
"""How the modules of classes begin that are left as they are."""


def _leave_unchecked() -> None:
    """Let ``typeguard.typechecked`` leave Feast's classes as they are."""
    checked: Callable[..., Any] = typeguard.typechecked

    def typechecked(target: Any = None, **options: Any) -> Any:  # noqa: ANN401  # as typeguard itself
        if target is None:
            return partial(typechecked, **options)
        return target if target.__module__.startswith(UNCHECKED) else checked(target, **options)

    typeguard.typechecked = typechecked


if typeguard is not None:
    _leave_unchecked()
