"""What the image's build copies from the checkout."""

from __future__ import annotations

import re


def copied_to_build(dockerfile: str) -> set[str]:
    """First names of the paths that the stage ``build`` copies into its source folder."""
    stage = dockerfile.partition(" AS build\n")[2].partition("\nFROM ")[0]
    lines = [words.split() for words in re.findall(r"^COPY (.+)$", stage, re.MULTILINE)]
    return {path.strip("/") for *paths, target in lines if not target.startswith("/tmp/") for path in paths}  # noqa: S108  # in the image
