"""Computes rows in a process of its own: python -m quality.feature_laws.plain FOLDER CACHE UNTIL INSTRUMENT COLUMN...

Reads ``events.npy`` in the folder, writes ``rows.npz``. Run with NUMBA_DISABLE_JIT=1 it is plain Python.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from market.instruments import Instrument
from transforms.catalogue import feature_set
from transforms.engine import Engine
from transforms.kernel import compile_kernel


def main(folder: Path, cache: Path, until_ns: int, instrument: Instrument, columns: list[str]) -> None:
    engine = Engine(compile_kernel(feature_set("9.9.9", columns), cache), instrument)
    engine.feed(np.load(folder / "events.npy"))
    rows = engine.advance(until_ns)
    np.savez(folder / "rows.npz", known_ns=rows.row_ns, values=rows.values)


if __name__ == "__main__":
    symbol, price_exponent, quantity_exponent = sys.argv[4].split(",")
    main(
        Path(sys.argv[1]),
        Path(sys.argv[2]),
        int(sys.argv[3]),
        Instrument(symbol, int(price_exponent), int(quantity_exponent)),
        sys.argv[5:],
    )
