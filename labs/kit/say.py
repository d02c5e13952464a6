"""How the lab programs speak: one event a line, and an error that says what to try."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path


class Trouble(Exception):
    """Something a student can put right: what is wrong, what to try, and the exit code.

    It is final if another way to the same end would meet it too.
    """

    def __init__(self, what: str, hint: str = "", *, code: int = 3, final: bool = False) -> None:
        super().__init__(what)
        self.hint, self.code, self.final = hint, code, final


def clean(text: str) -> str:
    """Return a name so that it can neither move the cursor nor turn the line around."""
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape", "replace").decode()
        for one in text
    )


def say(text: str) -> None:
    """Print a line about the state of the program."""
    print(f" [*] {text}", flush=True)


def warn(text: str) -> None:
    """Print a line about trouble that does not stop us."""
    print(f" [!] {text}", file=sys.stderr, flush=True)


def how_to_get_packages(lab: str = "") -> str:
    """Return what to type when something of requirements.txt is missing, from where we are.

    A `lab`, such as "09-orders", has another one.
    """
    kit = Path(os.path.relpath(Path(__file__).resolve().parents[2]))
    packages = f"pip install -r {kit / 'requirements.txt'}"
    if lab:
        packages += f" -r {kit / 'labs' / lab / 'requirements.txt'}"
    return f". {kit / '.venv/bin/activate'}    (and there, if it lacks: {packages})"


@contextlib.contextmanager
def requirements(lab: str = "") -> Iterator[None]:
    """Import what requirements.txt brings; end with a line and what to try if it is missing.

    A `lab` that has a requirements.txt of its own is named: "09-orders".
    """
    try:
        yield
    except ImportError as missing:
        program = os.path.basename(sys.argv[0])
        hint = how_to_get_packages(lab)
        raise SystemExit(f"{program}: error: {missing}\n  try: {hint}") from None
