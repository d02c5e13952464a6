"""Test every worksheet: played in real tmux with real ipython, it must show its output.

Try one page:  python -m pytest tests/test_worksheets.py -k 03
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import wait_until
from kit.broker import versions
from kit.broker.network import free_port
from kit.broker.node import Node
from kit.worksheet.page import Worksheet, read
from kit.worksheet.panes import Stage, tmux
from kit.worksheet.player import Mismatch, Player

ROOT = Path(__file__).resolve().parents[1]
# Seconds from a worker's start to the cut of the power: a reader takes longer. RabbitMQ 3.10 may
# write a queue to disk 2 s late if it was declared just after the broker's start.
READER = 2.5
UNPACKED = ROOT / ".broker" / "unpacked"
PAGES = sorted((ROOT / "labs").glob("[0-9]*/README.md"))


@pytest.mark.parametrize("path", PAGES, ids=[path.parent.name for path in PAGES])
def test_a_reader_is_told_in_which_pane(path: Path) -> None:
    """A rendered page does not show the text after a block's language."""
    source, end, untold = path.read_text(encoding="utf-8").splitlines(), 0, []
    steps = read(path).steps
    panes = {block.pane for step in steps for block in step.blocks}
    for step in steps if len(panes) > 1 else []:
        pane = None
        for block in step.blocks:
            before = "\n".join(source[end : block.line - 2])
            if block.pane != pane and f"`{block.pane}`" not in before:
                untold.append(block.place())
            pane, end = block.pane, block.line + len(block.lines)
    assert untold == []


@pytest.fixture
def kit(tmp_path: Path) -> Path:
    """Return a copy of the kit, so that no page changes or deletes the reader's own files."""
    copy = tmp_path / "kit"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*", "*-data", "*.egg-info", "demo"))
    return copy


def pane_environment(url: str, kit: Path = ROOT, **more: str) -> dict[str, str]:
    return os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(kit),  # import the scripts as modules, as after `pip install -e .`
        "AMQP_URL": url,
        # For lab 7's publisher; lab 9 takes two ports in a row, lab 11 four.
        "LAB_HTTP_PORT": str(free_port(4)),
        **more,
    }


@pytest.fixture
def page(request) -> Worksheet:
    return read(request.param)


@pytest.fixture
def environment(page: Worksheet, kit: Path, request, tmp_path) -> Iterator[dict[str, str]]:
    """Return the environment of the panes: their own vhost, or a broker that they may break.

    With --deny-transient it is a broker with the kit's own configuration, for which the pages are
    written.
    """
    if not page.breaks_the_broker and not request.config.getoption("--deny-transient"):
        lab = request.getfixturevalue("lab")
        yield pane_environment(
            lab.url.replace("127.0.0.1", "localhost"),  # the usual name on a reader's machine
            kit,
            LAB_PORT=str(lab.broker.port),
            LAB_MANAGEMENT_PORT=str(lab.broker.management_port),
        )
        return
    folder = tmp_path / "brokers"
    folder.mkdir()
    (folder / "unpacked").symlink_to(UNPACKED)
    port = free_port()
    environment = pane_environment(
        f"amqp://guest:guest@localhost:{port}/%2F",
        kit,
        QUEUE_LAB_BROKER_DIR=str(folder),
        LAB_PORT=str(port),
        LAB_MANAGEMENT_PORT=str(free_port()),
    )
    version = request.config.getoption("--rabbitmq")
    prefix = versions.get(UNPACKED, version)
    way = ["--via", "unpacked" if prefix else "installed"]
    if version and prefix:
        way += ["--version", version]
    try:
        subprocess.run(
            [sys.executable, ROOT / "labs/broker.py", "up", *way],
            env=environment,
            check=True,
            timeout=150,
            stdout=subprocess.DEVNULL,
        )
        yield environment
    finally:
        for state in folder.glob("*/node.json"):
            Node(state.parent).kill()


@pytest.mark.parametrize("page", PAGES, indirect=True, ids=[p.parent.name for p in PAGES])
def test_worksheet_shows_what_it_prints(
    page: Worksheet, kit: Path, environment: dict[str, str]
) -> None:
    with Stage(tmux(UNPACKED), page.panes, environment, cwd=kit) as stage:
        player = Player(stage.panes, deadline=120)
        failure, declared = "", 0.0
        try:
            for block in page.blocks:
                text = "\n".join(block.lines)
                if "broker.py kill" in text:
                    time.sleep(max(0.0, declared + READER - time.monotonic()))
                player.play(block)
                if "Waiting for messages" in text:
                    declared = time.monotonic()
        except Mismatch as mismatch:
            failure = f"{mismatch}\n\n{mismatch.screen}"
        else:
            failure = what_is_left(page, stage, environment)
    if failure:
        pytest.fail(failure, pytrace=False)


def what_is_left(page: Worksheet, stage: Stage, environment: dict[str, str]) -> str:
    """Return what the page's "Clean up" left behind: programs in panes, queues in the vhost."""
    for name, pane in stage.panes.items():
        try:
            wait_until(lambda pane=pane: pane.look().prompt == "$")
        except AssertionError:
            view = pane.look()
            last = view.lines[view.cursor]
            return f"{page.file}: clean up: a program still runs in pane {name!r}: {last!r}"
    try:  # a program's own queue vanishes a moment after the program
        wait_until(lambda: "no queue" in queues(environment))
    except AssertionError:
        return f"{page.file}: clean up: there are queues left:\n{queues(environment)}"
    return ""


def queues(environment: dict[str, str]) -> str:
    """Return the output of labs/queues.py, or "no queue" if the broker is gone."""
    command = [sys.executable, ROOT / "labs/queues.py"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    return done.stdout if done.returncode == 0 else "no queue"
