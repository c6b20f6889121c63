"""Features computed again and again for one row of a state, for those who time them; here is no clock.

1. Each feature is the part that a kernel of it alone has, see ``row_part``. What it takes is gathered every time.
2. A feature of candles or bars keeps its value until these are others; ``is_new`` makes them others every time.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Final

from transforms.catalogue import FEATURES
from transforms.plan import gathered
from transforms.row_part import row_parts

_HEADER: Final = '''"""Features that are computed again and again; generated, do not edit."""

from transforms.bars import collect_bars
from transforms.candles import collect_candles
from transforms.jit import jit
from transforms.steps import end_tile
from transforms.tiles import collect_log_returns, collect_mids
{imports}

@jit
def repeat(state, which, times, is_new, values, reasons):
    """Compute feature number ``which`` so many times for the row at the end of the open tile.

    values, reasons: room for one column. The state is used up: nothing may go on from it.
    """
    st = state[0]
    row_ns = st.next_end_ns
    end_tile(st)
    for _ in range(times):
        if is_new:
            st.candles.known_until_ns = 0
            st.bars.known_until_ns[:] = 0
'''


def repetition_source(names: Sequence[str]) -> str:
    """Python source of the module whose function ``repeat`` computes one of the features of these names."""
    imports, branches = [], []
    for which, name in enumerate(names):
        [part] = row_parts([name])
        imports.append(f"from {part.module} import {part.name}\n")
        statements = "\n".join([*gathered([FEATURES[name]]), part.call])
        branches.append(f"{'elif' if which else 'if'} which == {which}:\n{textwrap.indent(statements, '    ')}\n")
    return _HEADER.format(imports="".join(imports)) + textwrap.indent("".join(branches), " " * 8)
