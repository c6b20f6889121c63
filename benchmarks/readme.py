"""The table of figures in benchmarks/README.md, between its two markers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

README: Final = Path(__file__).with_name("README.md")
_BEGIN: Final = "<!-- figures -->\n"
_END: Final = "<!-- end of figures -->\n"
_HEADINGS: Final = ("figure", "value", "yardstick", "ratio", "better", "goal", "required", "date", "machine")


def write(lines: Sequence[Mapping[str, Any]]) -> None:
    """Put the figures into the table: one of the same name is replaced, others stay, new ones come last."""
    before, _, rest = README.read_text().partition(_BEGIN)
    table, _, after = rest.partition(_END)
    rows = {cells[0]: cells for line in table.splitlines()[2:] if (cells := _cells(line))}
    rows |= {str(line["figure"]): _row(line) for line in lines}
    written = [_HEADINGS, ("---",) * len(_HEADINGS), *rows.values()]
    README.write_text(before + _BEGIN + "".join(f"| {' | '.join(cells)} |\n" for cells in written) + _END + after)


def _row(line: Mapping[str, Any]) -> tuple[str, ...]:
    yardstick = "-" if line["yardstick"] is None else f"{line['yardstick']}: {_number(line['yardstick_value'])}"
    return (
        str(line["figure"]),
        f"{_number(line['value'])} {line['unit']}",
        yardstick,
        "-" if line["ratio"] is None else _number(line["ratio"]),
        str(line["better"]),
        str(line["goal"]),
        str(line["required"]),
        str(line["date"]),
        str(line["machine"]),
    )


def _cells(line: str) -> tuple[str, ...]:
    return tuple(cell.strip() for cell in line.strip().strip("|").split(" | "))


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:g}"


def figures() -> dict[str, float]:
    """The value of every figure in the table, by its name, in the unit that stands there."""
    table = README.read_text().partition(_BEGIN)[2].partition(_END)[0]
    rows = [cells for line in table.splitlines()[2:] if (cells := _cells(line))]
    return {cells[0]: float(cells[1].partition(" ")[0].replace(",", "")) for cells in rows}
