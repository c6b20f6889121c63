"""A table of a page: cells as text, numbers to the right, and what is not known in these words."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """The rows under the names of the columns; a cell that is None is not known."""
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join(
        "<tr>"
        + "".join(
            f'<td class="number">{cell}</td>'
            if isinstance(cell, int)
            else f"<td>{'not known' if cell is None else escape(str(cell))}</td>"
            for cell in row
        )
        + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
