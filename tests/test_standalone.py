"""Test each script alone, as if uploaded: it carries all it needs, and says what is missing."""

import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pika
import pytest

from conftest import ROOT, Lab

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SCRIPTS = "producer.py", "consumer.py", "qprocessor.py"
WORDS = {"producer.py": ["aaa"], "consumer.py": ["-n", "1"], "qprocessor.py": ["-n", "1"]}
each_script = pytest.mark.parametrize("script", SCRIPTS)


def source(script: str) -> str:
    return (ROOT / script).read_text(encoding="utf-8")


def start(*command: object, **environment: str) -> subprocess.CompletedProcess:
    """Run a command to its end, in an environment that cannot import the kit by chance."""
    clean = {
        key: value for key, value in os.environ.items() if key not in ("AMQP_URL", "PYTHONPATH")
    }
    return subprocess.run(
        list(map(str, command)),
        env=clean | environment,
        cwd="/",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
    )


def options_of(script: str) -> set[str]:
    """Return the long options that --help lists."""
    return set(re.findall(r"--[a-z][a-z-]+", start(sys.executable, ROOT / script, "--help").stdout))


def shared_block(file: str) -> str:
    (block,) = re.findall(
        r"^# ---- shared block.*?^# ---- end of the shared block$", source(file), re.M | re.S
    )
    return block


def private_names(tree: ast.AST) -> Iterator[tuple[str, bool]]:
    """Yield the attributes that begin with one underscore, and whether they are self's."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and re.match("_[a-z]", node.attr):
            own = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
            yield node.attr, own


# ---- the files


def test_the_four_copies_of_the_shared_block_are_equal():
    original = shared_block("labs/kit/amqp.py")
    assert "class Broker:" in original and "def run(" in original
    for script in SCRIPTS:
        assert shared_block(script) == original, f"{script}: make sync"


def test_the_scripts_stay_short_enough_to_be_read_in_one_sitting():
    most = {"block": 291, "qprocessor.py": 646, "producer.py": 576, "consumer.py": 445}
    texts = {script: source(script) for script in SCRIPTS}
    texts["block"] = shared_block("labs/kit/amqp.py")
    lines = {name: len(text.splitlines()) for name, text in texts.items()}
    assert {name: count for name, count in lines.items() if count > most[name]} == {}


def test_only_one_private_name_of_pika_is_used_and_only_in_producer():
    pikas = set()
    for path in Path(pika.__file__).parent.rglob("*.py"):
        pikas |= {name for name, own in private_names(ast.parse(path.read_bytes())) if own}
    used = []
    for path in [*map(ROOT.joinpath, SCRIPTS), *(ROOT / "labs").rglob("*.py")]:
        tree = ast.parse(path.read_bytes())
        names = [name for name, own in private_names(tree) if not own]
        names += [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
        used += [(str(path.relative_to(ROOT)), name) for name in names if name in pikas]
    assert used == [("producer.py", "_impl")]


@each_script
def test_a_script_imports_only_the_standard_library_pika_and_tenacity(script):
    imported = set()
    for node in ast.walk(ast.parse(source(script))):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0
            imported.add(node.module.split(".")[0])
    assert imported - sys.stdlib_module_names == {"pika", "tenacity"}


@each_script
def test_a_script_can_be_run_by_its_name(script):
    assert source(script).startswith("#!/usr/bin/env python3\n")
    assert os.access(ROOT / script, os.X_OK)
    folder = Path(sys.executable).parent
    helped = start(ROOT / script, "--help", PATH=f"{folder}:{os.environ['PATH']}")
    assert helped.returncode == 0, helped.stderr


@each_script
def test_the_metadata_for_uv_are_those_of_the_kit(script):
    metadata = re.search(r"^# /// script\n(.*?)^# ///$", source(script), re.M | re.S)[1]
    metadata = tomllib.loads(re.sub("^# ?", "", metadata, flags=re.M))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert metadata["requires-python"] == project["requires-python"]
    required = (ROOT / "requirements.txt").read_text().splitlines()
    ours = [line for line in required if re.match("(pika|tenacity)[^a-z]", line)]
    assert metadata["dependencies"] == ours
    assert len(ours) == 2


@each_script
def test_the_docstring_is_short(script):
    assert len(ast.get_docstring(ast.parse(source(script))).splitlines()) <= 15


@each_script
def test_version_is_that_of_the_kit(script):
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    said = start(sys.executable, ROOT / script, "--version")
    assert (said.returncode, said.stdout) == (0, f"{script} {version}\n")


@each_script
def test_help_tells_what_it_does_how_and_the_exit_codes(script):
    said = start(sys.executable, ROOT / script, "--help").stdout
    assert ast.get_docstring(ast.parse(source(script))).splitlines()[0] in said
    assert f"./{script} --queue " in said
    for code in ("0 done", "1 unexpected", "2 usage", "3 broker unreachable", "4 broker refused"):
        assert code in said
    assert "130 stopped by Ctrl-C" in said


def test_every_option_is_in_the_readme():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for script in SCRIPTS:
        missing = {o for o in options_of(script) if not re.search(rf"{o}(?![a-z-])", readme)}
        assert missing <= {"--help"}, f"{script}: {missing}"


def test_the_same_option_means_the_same_in_every_script():
    common = [dict(re.findall(r"^  (--[a-z-]+)(.*(?:\n {10,}.*)*)", start(
        sys.executable, ROOT / script, "--help").stdout, re.M)) for script in SCRIPTS]  # fmt: skip
    for option in set(common[0]) & set(common[1]) & set(common[2]):
        assert common[0][option] == common[1][option] == common[2][option], option


# ---- alone


@each_script
@pytest.mark.parametrize("isolated", [[], ["-I"]], ids=["python", "python -I"])
def test_a_script_runs_alone_in_an_empty_folder(lab: Lab, tmp_path, script, isolated):
    lab.declare()
    lab.publish("a")
    shutil.copy(ROOT / script, tmp_path)
    done = start(
        sys.executable, *isolated, tmp_path / script, "--queue", "q", *WORDS[script],
        *(["--seconds-per-character", "0"] if script == "qprocessor.py" else []),
        AMQP_URL=lab.url,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert " [x] " in done.stdout


@each_script
def test_a_script_goes_by_the_name_of_its_file(tmp_path, script):
    shutil.copy(ROOT / script, tmp_path / "mine.py")
    said = start(sys.executable, tmp_path / "mine.py", "--queue", "q", "--port", "x", "a")
    assert said.returncode == 2
    assert said.stderr.startswith("mine.py: error: ")
    shutil.copy(ROOT / script, tmp_path / "producer.py")  # under this name for each of the three
    assert start(sys.executable, tmp_path / "producer.py", "--help").returncode == 0


@each_script
@pytest.mark.parametrize("missing", ["pika", "tenacity"])
def test_what_is_missing_is_one_line_that_says_what_to_type(tmp_path, script, missing):
    if missing == "tenacity":
        (tmp_path / "pika").symlink_to(Path(pika.__file__).parent)
    said = start(sys.executable, "-S", ROOT / script, "--queue", "q", "a", PYTHONPATH=str(tmp_path))
    assert said.returncode == 1
    problem, hint = said.stderr.splitlines()
    assert problem == f"No module named {missing!r}"
    # Use a virtual environment, as Debian's and Homebrew's Python refuse packages (PEP 668).
    ours = re.search("pika.*?(<[0-9.]+)", source("requirements.txt"))[1]
    install = f"python3 -m venv v && v/bin/pip install 'pika{ours}' tenacity"
    assert hint.startswith(f"  try: {install}; then v/bin/python {ROOT / script}")


@each_script
@pytest.mark.parametrize("name", ["pika.py", "queue.py", "tenacity.py"])
def test_a_file_of_ones_own_that_hides_a_library_is_said(lab: Lab, tmp_path, script, name):
    lab.declare()
    lab.publish("a")
    shutil.copy(ROOT / script, tmp_path)
    (tmp_path / name).write_text("greeting = 'hello'\n")
    words = WORDS[script]
    said = start(sys.executable, tmp_path / script, "--queue", "q", *words, AMQP_URL=lab.url)
    if name == "queue.py" and script != "qprocessor.py":  # the others do not import it
        assert said.returncode == 0
        return
    assert said.returncode == 1
    problem, hint = said.stderr.splitlines()
    assert f"{name.removesuffix('.py')!r}" in problem
    assert "rename" in hint and "of yours called" in hint


@pytest.mark.parametrize("name", ["demo", "measure", "play", "queues", "timeline", "watch"])
def test_a_lab_program_outside_the_environment_says_how_to_enter_it(name):
    program = ROOT / "labs" / f"{name}.py"
    result = start(sys.executable, "-ES", program, "--help")
    assert result.returncode == 1
    assert re.fullmatch(
        rf"{name}\.py: error: No module named '\w+'\n  try: \. \S*\.venv/bin/activate .*\n",
        result.stderr,
    )
