"""What data a service has: its health by ``status``, its tape by ``tape stats``, its datasets by ``dataset list``.

    python scripts/check_feature_service_data.py [--data FOLDER] [--json]

Options are passed on to each command. Exits 1 when one of them does. ``GET /stats`` is the same of a running service.
"""

from __future__ import annotations

import sys
from typing import Final

from runtime.cli import exit_code

ASKED: Final = (("status",), ("tape", "stats"), ("dataset", "list"))


def main(options: list[str]) -> int:
    """Run each command with the options; 1 when one of them failed."""
    failed = False
    for words in ASKED:
        if "--json" not in options:
            print(f"== {' '.join(words)}", flush=True)
        failed |= exit_code(*words, *options) != 0
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
