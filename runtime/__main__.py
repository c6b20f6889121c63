"""``feature-service`` as an installed program, and as ``python -m runtime``.

A process that this one spawns imports this module again, as its main one, and of the command line it needs nothing.
"""

from __future__ import annotations


def main() -> None:
    """Run the command line."""
    from runtime.cli import main as run

    run()


if __name__ == "__main__":
    main()
