"""Fetch history: ``python backfill_pipeline.py --symbol BTCUSDT --from 2025-12-04 --to 2025-12-07``.

The same as ``feature-service backfill run``, under the name that its users know.
"""

from __future__ import annotations

import sys

from runtime.cli import main

if __name__ == "__main__":
    sys.argv[1:1] = ["backfill", "run"]
    main()
