"""The code blocks of the pages, fenced and indented, with what each is written in."""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
PAGES: Final = (
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "README.md",
    *sorted((ROOT / "examples").rglob("*.md")),
)
_BLOCK: Final = re.compile(r"^```(\w*)\n(.*?)^```$|(?<=\n\n)((?:(?: {4}[^\n]*)?\n)+)", re.DOTALL | re.MULTILINE)
_NOT_A_COMMAND: Final = re.compile(r"[^\x00-\x7f]")
"""Lines and arrows of a drawing."""


@dataclass(frozen=True, slots=True)
class Block:
    """One piece of one language; a block in which a blank line separates a file from commands is two."""

    page: str
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}: {self.text.splitlines()[0][:50]}"


def blocks() -> list[Block]:
    """Every block of every page, in order."""
    found = []
    for path in PAGES:
        for language, fenced, indented in _BLOCK.findall(path.read_text(encoding="utf-8")):
            text = fenced or re.sub(r"^ {4}", "", indented, flags=re.MULTILINE)
            pieces = [text.strip("\n")] if language else re.split(r"\n\n(?=feature-service |curl )", text.strip("\n"))
            found += [
                Block(path.relative_to(ROOT).as_posix(), language or written_in(piece), piece)
                for piece in pieces
                if piece
            ]
    return found


def written_in(text: str) -> str:
    """The language of a block that does not say it."""
    first = text.splitlines()[0]
    if _NOT_A_COMMAND.search(text):
        return "drawing"
    if re.match(r"@\w+|[A-Z_]+ = ", first):
        return "python"
    if first.startswith("{"):
        return "json"
    if first.startswith("["):
        return "toml"
    if re.match(r"[A-Z0-9_]+=", first):
        return "env"
    if re.match(r"(CREATE|GRANT|SELECT) ", first):
        return "sql"
    return "yaml" if re.match(r"[a-z_]+: ", first) else "bash"


def parsed(block: Block) -> object:
    """A document as a program reads it; what ``...`` leaves out is left out. Raises what the parser does."""
    if block.language == "toml":
        return tomllib.loads(block.text)
    return json.loads(block.text.replace(", ...", ""))


def shell_lines(block: Block) -> list[str]:
    """The commands, without what is said of them."""
    told = (re.sub(r"(^|\s{2,})#.*", "", line).strip() for line in block.text.splitlines())
    return [line for line in told if line]
