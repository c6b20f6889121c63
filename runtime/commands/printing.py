"""What commands print: one JSON document, or tables for a person, which fit 80 columns where the values allow it."""

from __future__ import annotations

import json
import logging
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, overload

if TYPE_CHECKING:
    from rich.console import RenderableType

_WIDE: Final = 1000
"""Columns that no table needs."""
_ONE_LINE: Final = 60
"""Most characters of a list on one line; each item of a longer list has its own line."""
_MOST_COLUMNS: Final = 6
"""Of a table; what has more is shown one thing after the other."""
_GOES_ON: Final = "  "
"""Before what is left of a line that did not fit."""
_NUMBER: Final = re.compile(r"[-+]?[\d,.]+(e[-+]\d+)?( ?[%A-Za-z]{1,3})?|-|not known|")


@overload
def print_document(document: Mapping[str, Any], *, as_json: bool) -> None: ...
@overload
def print_document(document: Sequence[Any], *, as_json: Literal[True]) -> None: ...
@overload
def print_document(document: Sequence[Any], *, as_json: bool, nothing: str) -> None: ...
def print_document(document: Mapping[str, Any] | Sequence[Any], *, as_json: bool, nothing: str = "") -> None:
    """One JSON document, or the same for a person.

    nothing: printed in place of an empty list; only what is printed as JSON alone needs none.
    """
    if as_json:
        print(json.dumps(document))
    elif isinstance(document, Mapping):
        _show(_facts(document, _label))
    elif not document:
        print_line(nothing)
    elif not all(isinstance(item, Mapping) for item in document):
        for item in document:
            print_line(_text(item))
    elif len(document[0]) <= _MOST_COLUMNS:
        print_table(tuple(document[0]), [tuple(item.values()) for item in document], nothing=nothing)
    else:
        for at, item in enumerate(document):
            if at:
                print()
            _show(_facts(item, _label))


def print_line(text: str, *, to_errors: bool = False) -> None:
    """A line for a person, or several: on a terminal broken between words and indented, elsewhere whole.

    to_errors: on standard error. No word is broken: what is copied must be in one piece.
    """
    stream = sys.stderr if to_errors else sys.stdout
    for line in text.split("\n"):
        indent = " " * (len(line) - len(line.lstrip(" ")) + len(_GOES_ON))
        print(_wrapped(line, indent) if stream.isatty() else line, file=stream)


class PrintedWarnings(logging.Handler):
    """Warnings of a command that has no log, as lines on standard error."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)

    def emit(self, record: logging.LogRecord) -> None:
        print_line(self.format(record), to_errors=True)


def _wrapped(line: str, indent: str) -> str:
    width = shutil.get_terminal_size().columns
    return textwrap.fill(
        line,
        width,
        subsequent_indent=indent,
        replace_whitespace=False,
        break_long_words=False,
        break_on_hyphens=False,
    )


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    title: str | None = None,
    whole: Collection[str] = (),
    nothing: str = "",
) -> None:
    """A table on standard output, as wide as its rows where that is no terminal.

    whole: columns that are never folded, however narrow the terminal: what is copied from them must be in one piece.
    nothing: what is said in place of a table without rows; a table that always has some needs none.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    kept = [[Text(_text(cell), overflow="fold") for cell in row] for row in rows]
    if not kept:
        print_line(nothing)
        return
    table = Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        collapse_padding=True,
        title=title,
        title_justify="left",
        title_style="bold",
    )
    for at, column in enumerate(columns):
        is_number = all(_NUMBER.fullmatch(row[at].plain) for row in kept)
        table.add_column(
            _label(column), justify="right" if is_number else "left", overflow="fold", no_wrap=column in whole
        )
    for row in kept:
        table.add_row(*row)
    _show(table)


def _show(renderable: RenderableType) -> None:
    """On a terminal within its width; elsewhere lines are read by tools, so they stay whole and end where they end."""
    from rich.console import Console

    if sys.stdout.isatty():
        Console(highlight=False, markup=False).print(renderable)
        return
    wide = Console(width=_WIDE, highlight=False, markup=False)
    with wide.capture() as captured:
        wide.print(renderable)
    print("\n".join(line.rstrip() for line in captured.get().splitlines()))


def _facts(document: Mapping[str, Any], label: Callable[[str], str] = str) -> RenderableType:
    """Names with their values; names inside a value may be those of features, and stand as they are."""
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for key, value in document.items():
        inner = _facts(value) if isinstance(value, Mapping) and value else Text(_text(value), overflow="fold")
        table.add_row(label(key), inner)
    return table


def _label(name: str) -> str:
    return name.replace("_", " ")


def _text(value: object) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case Mapping():
            return ", ".join(f"{key} {_text(item)}" for key, item in value.items()) or "none"
        case list() | tuple():
            items = [_text(item) for item in value]
            line = ", ".join(items)
            return (line if len(line) <= _ONE_LINE else "\n".join(items)) or "none"
        case _:
            return str(value)
