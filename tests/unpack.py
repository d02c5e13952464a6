"""Unpack the RabbitMQ and the tmux that this machine lacks, and the RabbitMQ that one test needs.

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
    versions.get(UNPACKED, "4.3")  # for tests/test_errors.py
    return 0


if __name__ == "__main__":
    run(main, argparse.Namespace())
