"""Test the imports: each room of labs/kit only those in its docstring, the labs three rooms."""

import ast
import graphlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from kit import amqp, cli

LABS = Path(__file__).parent.parent / "labs"
ROOMS = sorted(path.parent.name for path in LABS.glob("kit/*/__init__.py"))
APPLICATIONS = ["07-publish-subscribe", "08-chat", "09-orders", "10-log-pipeline", "11-services"]
COMMANDS = {path.stem for path in (*LABS.glob("*.py"), *LABS.parent.glob("*.py"))}


def imports(file: Path, *, at_start: bool = False) -> Iterator[str]:
    """Yield the modules that a file imports, or only those that it imports at start."""
    nodes = [ast.parse(file.read_text(encoding="utf-8"))]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file}: imports are absolute"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif at_start and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        elif at_start and isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        nodes += ast.iter_child_nodes(node)


def rooms(file: Path, **options: bool) -> set[str]:
    """Return the parts of the kit that a file imports."""
    parts = [module.split(".") for module in imports(file, **options)]
    return {part[1] for part in parts if part[0] == "kit" and len(part) > 1}


def allowed(room: str) -> set[str]:
    """Return the parts of the kit that a room may import, as its docstring says."""
    text = (LABS / "kit" / room / "__init__.py").read_text(encoding="utf-8")
    return set(re.findall(r"\bkit\.(\w+)", ast.get_docstring(ast.parse(text))))


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_what_its_docstring_says(room: str):
    for file in sorted((LABS / "kit" / room).glob("*.py")):
        assert rooms(file) <= allowed(room) | {room}, file


def test_the_arrows_run_one_way():
    graphlib.TopologicalSorter({room: allowed(room) for room in ROOMS}).prepare()  # or CycleError
    assert rooms(LABS / "kit" / "amqp.py") == set()
    assert allowed("cli") == {"amqp"}
    assert allowed("web") == {"amqp", "cli"}  # these are copied with an application


def test_the_broker_s_command_and_so_kit_cli_load_without_pika():
    for file in (*LABS.glob("kit/cli/*.py"), *LABS.glob("kit/broker/*.py")):
        assert "amqp" not in rooms(file, at_start=True), file


@pytest.mark.parametrize("lab", APPLICATIONS)
def test_an_application_imports_amqp_cli_and_web_only(lab: str):
    files = [file for file in (LABS / lab).rglob("*.py") if file.name != "test_exercise.py"]
    assert files
    for file in files:
        assert rooms(file) <= {"amqp", "cli", "web"}, file


def test_nothing_imports_a_command():
    for file in LABS.rglob("*.py"):
        if file.parent.name == "speed":
            continue  # it measures producer.py from inside, imported as in ipython
        for module in imports(file):
            assert module.split(".")[0] not in COMMANDS, f"{file} imports {module}"


def test_lab_programs_end_with_the_codes_of_the_scripts():
    for name in ("OK", "UNEXPECTED", "USAGE", "UNREACHABLE", "REFUSED", "INTERRUPTED"):
        assert getattr(cli, name) == getattr(amqp, name)
