"""Run a program and kill it, as kill -9 does, just before it calls a function for the first time.

python tests/kill_at.py shop.service:Service.acknowledge labs/09-orders/printer.py --data ...
"""

import functools
import importlib
import os
import runpy
import signal
import sys
from pathlib import Path


def die(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    _, step, program, *options = sys.argv
    module, _, path = step.partition(":")
    sys.argv = [program, *options]
    sys.path[0] = str(Path(program).parent)
    *owner, name = path.split(".")
    setattr(functools.reduce(getattr, owner, importlib.import_module(module)), name, die)
    runpy.run_path(program, run_name="__main__")
