"""Unpack the RabbitMQ and the tmux that this machine lacks.

`make test` does it while pip installs the packages, so it needs no packages itself:

    PYTHONPATH=labs python3 tests/unpack.py
"""

import argparse

from kit.broker import versions
from kit.cli import KIT, run
from kit.worksheet.panes import tmux

UNPACKED = KIT / ".broker" / "unpacked"


def main(options: argparse.Namespace) -> int:
    versions.get(UNPACKED)
    tmux(UNPACKED)
    return 0


if __name__ == "__main__":
    run(main, argparse.Namespace())
