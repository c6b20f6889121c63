"""A hook of the site: links from a page to a file of the tree that is no page become the file's name."""

from __future__ import annotations

import os
import re
from pathlib import PurePosixPath
from typing import Any

_LINK = re.compile(r"\[([^\]]*)\]\((\.\./[^)\s]+)\)")


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:  # noqa: ANN401  # mkdocs ships no types
    """The page's text, where a link that leaves docs/ is told as a path from the root of the tree."""
    here = PurePosixPath("docs", page.file.src_uri).parent

    def told(link: re.Match[str]) -> str:
        path = os.path.normpath(here / link[2].partition("#")[0])
        if path.startswith("docs/"):
            return link[0]
        return f"`{path}`" if link[1].strip("`/") in path else f"{link[1]} (`{path}`)"

    return _LINK.sub(told, markdown)
