"""Make registry version 1.2.0, the seven features that candles and funding alone give, the active one.

    python scripts/create_minimal_feature_set_version.py [--data FOLDER]

The version is shipped, so there is no file to write: it is recorded by ``registry sync`` and activated by ``registry
activate``, with the breaking changes acknowledged that leaving features out means. Options are passed on to both.
"""

from __future__ import annotations

import sys
from typing import Final

from runtime.cli import exit_code

VERSION: Final = "1.2.0"
REASON: Final = "minimal feature set: leaves out features whose history cannot be backfilled"


def main(options: list[str]) -> int:
    """Record the version, then activate it; the exit code of the first command that failed, else 0."""
    activation = ("activate", VERSION, "--reason", REASON, "--acknowledge-breaking-changes")
    for words in (("sync", VERSION), activation):
        code = exit_code("registry", *words, *options)
        if code != 0:
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
