"""Run a lab's program and kill it, as kill -9 does, before or after its first call of a function.

python tests/kill_at.py "before shop.service:Service.report" labs/09-orders/printer.py
"""

import functools
import importlib
import os
import runpy
import signal
import sys
from pathlib import Path

if __name__ == "__main__":
    _, where, program, *options = sys.argv
    sys.argv = [program, *options]
    folder = Path(program).parent
    sys.path[0] = str(folder)  # for the lab's modules
    moment, _, step = where.partition(" ")
    module, _, path = step.partition(":")
    *owner, name = path.split(".")
    place = functools.reduce(getattr, owner, importlib.import_module(module))
    function = getattr(place, name)

    def call_and_die(*arguments: object, **more: object) -> None:
        if moment == "after":
            function(*arguments, **more)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(place, name, call_and_die)
    runpy.run_path(program, run_name="__main__")
