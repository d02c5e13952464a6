"""Test labs/play.py and its parts: reading a page, comparing, typing in tmux, leaving."""

import os
import signal
import subprocess
import sys
import textwrap
import time
import uuid
from pathlib import Path

import pytest

from conftest import wait_until
from kit.cli import Trouble
from kit.cli.program import DEADLINE
from kit.worksheet import panes as kit_tmux
from kit.worksheet.page import BadPage, Found, Missing, find, find_page, parse, same
from kit.worksheet.panes import Stage, tmux
from kit.worksheet.player import Mismatch, Player
from test_worksheets import ROOT, UNPACKED, pane_environment

NOBODY = "amqp://localhost:1"  # these pages need no broker
FILE = Path("labs/99-test/README.md")


def page(text: str):
    return parse(textwrap.dedent(text), FILE)


# ---- reading a page


def test_page_has_steps_blocks_and_panes():
    sheet = page("""\
        # Lab 99: Test

        Head.

        ## Step 1: Start

        ```console worker-1
        first
        second
        ```

        - also within a list:
          ```text worker-1
          seen
          ```

        ```console
        an illustration
        ```

        ## Key points

        ```python py
        1
        ```
        """)
    assert [step.title for step in sheet.steps] == ["Lab 99: Test", "Step 1: Start", "Key points"]
    assert [(b.kind, b.pane, b.lines) for b in sheet.steps[1].blocks] == [
        ("console", "worker-1", ("first", "second")),
        ("text", "worker-1", ("seen",)),
    ]
    assert sheet.panes == ["worker-1", "py"]
    assert sheet.steps[1].blocks[0].place(1) == f"{FILE}:9"
    assert sheet.steps[1].blocks[1].place() == f"{FILE}:14"
    assert "an illustration" in sheet.steps[1].text
    assert "Key points" not in sheet.steps[1].text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("# No blocks\n\n## Step 1: None\n", "has nothing to play"),
        ("```bash sender\nls\n```\n", f"{FILE}:1: 'bash' blocks are not played"),
        ("```console a b\nls\n```\n", f"{FILE}:1: a block has one pane"),
        ("\n```console a\n\n```\n", f"{FILE}:2: the block is empty"),
        (
            "```console a\nls\n```\n```text b\nx\n```\n",
            f"{FILE}:4: text is expected in pane 'b', but nothing was typed there",
        ),
    ],
)
def test_page_that_cannot_be_played_says_where(text, said):
    with pytest.raises(BadPage, match=said.replace("(", r"\(")):
        parse(text, FILE)


# ---- expected and seen


@pytest.mark.parametrize(
    ("expected", "seen", "equal"),
    [
        ("abc", "abc", True),
        ("abc  ", "abc", True),
        ("abc", "abc  ", True),
        ("abc", " abc", False),
        ("abc", "abcd", False),
        ("a…c", "abbbc", True),
        ("a…c", "ac", True),
        ("a…c", "abbbd", False),
        ("ab…ba", "aba", False),
        ("…b…d", "abcd", True),
        ("a…b…c", "a b b c", True),
        ("a…b…c", "acbc", True),
        ("a…b…c", "a c", False),
        ("a…", "a", True),
        ("", "", True),
    ],
)
def test_line_is_as_expected(expected, seen, equal):
    assert same(expected, seen) is equal


@pytest.mark.parametrize(
    ("expected", "seen", "result"),
    [
        (["a", "b"], ["x", "a", "b", "c"], Found(3)),
        (["a", "b"], ["a", "x", "a", "b"], Found(4)),
        (["a", "…", "b"], ["a", "b"], Found(2)),
        (["a", "…", "b"], ["a", "1", "2", "b"], Found(4)),
        (["…", "b"], ["a", "b"], Found(2)),
        (["a", "…"], ["a", "b"], Found(1)),
        (["a", "b"], ["a", "x", "b"], Missing(1, "b", "x")),
        (["a", "b"], ["a"], Missing(1, "b", None)),
        (["a"], [], Missing(0, "a", None)),
        (["Sent 'aaa'"], ["$ ls", "Sent 'aab'", "$ "], Missing(0, "Sent 'aaa'", "Sent 'aab'")),
        (["a", "…", "c"], ["a", "b"], Missing(2, "c", "b")),
    ],
)
def test_lines_are_found_or_the_first_missing_one_is_named(expected, seen, result):
    assert find(expected, seen) == result


# ---- typing into real panes


@pytest.fixture
def play():
    """Return a function that plays a page and returns its player; close the stage in the end.

    It waits for the last block until the pane shows a line, or for a number of seconds.
    """
    stages = []

    def start(
        text: str, *, last: float = DEADLINE, until: str | None = None, program: Path | None = None
    ) -> Player:
        sheet = page(text)
        where = pane_environment(NOBODY)
        stage = Stage(program or tmux(UNPACKED), sheet.panes, where, cwd=ROOT)
        stages.append(stage)
        player = Player(stage.panes, deadline=DEADLINE)
        player.stage = stage
        *blocks, last_block = sheet.blocks
        for block in blocks:
            player.play(block)

        is_there = False

        def pause(_: str) -> bool:
            nonlocal is_there
            if is_there:  # and the player has read the pane since
                return True
            time.sleep(0.05)
            is_there = until in stage.panes[last_block.pane].look().lines
            return False

        player.deadline, player.pause = last, pause
        player.play(last_block)
        return player

    yield start
    for stage in stages:
        stage.close()


def test_panes_are_shells_in_the_repository_with_the_venv_first(play):
    play(f"""\
        ```console a
        pwd; which python; echo $AMQP_URL; echo "[$HISTFILE]"
        ```
        ```text a
        {ROOT}
        {Path(sys.executable).parent}/python
        {NOBODY}
        []
        $
        ```
        """)


def test_each_line_waits_for_the_one_before(play):
    play("""\
        ```console a
        sleep 1; echo first
        echo second;
        for i in 1 2; do
          echo "round $i"
        done
        ```
        ```text a
        first
        $ echo second;
        second
        $ for i in 1 2; do
        >   echo "round $i"
        > done
        round 1
        round 2
        ```
        """)


def test_lines_wider_than_the_pane_are_one_again(play):
    wide = "0123456789" * 30
    play(f"""\
        ```console a
        echo {wide}
        ```
        ```text a
        {wide}
        $
        ```
        """)


def test_wrong_text_is_named_with_place_expected_and_seen(play):
    with pytest.raises(Mismatch) as caught:
        play(
            """\
            ```console a
            printf "%s\\n" one two three
            ```
            ```text a
            one
            zwei
            ```
            """,
            until="three",
        )
    assert str(caught.value) == f"{FILE}:6: a: expected 'zwei', seen: 'two'"
    assert "three" in caught.value.screen


def test_missing_text_is_waited_for_and_named(play):
    with pytest.raises(Mismatch, match=f"{FILE}:5: a: expected 'never', seen: nothing"):
        play(
            """\
            ```console a
            sleep 60
            ```
            ```text a
            never
            ```
            """,
            last=2,
        )


def test_text_from_before_the_last_command_does_not_count(play):
    with pytest.raises(Mismatch, match="expected 'ready', seen: 'other'|seen: '\\$'"):
        play(
            """\
            ```console a
            echo ready
            ```
            ```text a
            ready
            ```
            ```console a
            echo other
            ```
            ```text a
            ready
            ```
            """,
            until="other",
        )


def test_keys_stop_a_program_and_its_last_line_is_seen(play):
    play("""\
        ```console a
        python3 -c 'import time; print("at work", flush=True); time.sleep(60)'
        ```
        ```text a
        at work
        ```
        ```keys a
        C-c
        ```
        ```text a
        ^C…
        …
        KeyboardInterrupt
        ```
        ```console a
        echo next
        ```
        ```text a
        next
        ```
        """)


def test_typing_behind_a_program_that_still_runs_fails(play):
    with pytest.raises(Mismatch, match=rf"{FILE}:5: a: expected the prompt \$ to type at"):
        play(
            """\
            ```console a
            sleep 60
            ```
            ```console a
            echo next
            ```
            """,
            last=1,
        )


def test_a_program_that_asks_is_answered(play):
    play("""\
        ```console a
        python3 -c 'for i in "12": print("got", input("more?"))'
        ```
        ```text a
        more?
        ```
        ```console a
        aaa
        ```
        ```text a
        got aaa
        more?
        ```
        ```console a
        bbb
        ```
        ```text a
        got bbb
        ```
        """)


def test_several_lines_are_one_cell_in_ipython(play):
    play("""\
        ```console py
        ipython
        ```
        ```python py
        def twice(x):
            y = x

            return 2 * y
        ```
        ```python py
        for i in range(3):
            print("round", i)
        ```
        ```text py
        round 0
        round 1
        round 2
        ```
        ```python py
        a = {
            "key": twice(4),
        }

        a["key"];
        a
        ```
        ```text py
        Out[3]: {'key': 8}
        ```
        ```python py
        1 / 0
        ```
        ```text py
        …
        ZeroDivisionError: division by zero
        ```
        ```python py
        exit
        ```
        ```console py
        echo "back in the shell"
        ```
        ```text py
        back in the shell
        ```
        """)


def test_a_pane_somebody_scrolls_in_is_typed_into_all_the_same(play):
    player = play("```console a\necho 1\n```\n```text a\n1\n```\n")
    player.stage.server.cmd("copy-mode", "-t", player.panes["a"].id)
    for block in page("```console a\necho 2\n```\n```text a\n2\n```\n").blocks:
        player.play(block)


def test_a_pane_that_is_gone_is_said(play):
    with pytest.raises(Mismatch, match="pane 'b' is gone"):
        play("""\
            ```console a
            true
            ```
            ```console b
            exit
            sleep 1
            ```
            """)


def test_the_stage_hides_the_password_and_leaves_nothing(play):
    player = play(
        "```console a\n(trap '' HUP TERM; sleep 54321) & echo up\n```\n```text a\nup\n```\n"
    )
    stage = player.stage
    pids = [pid for pid, _ in stage._processes()]
    commands = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in pids]
    assert len(pids) >= 3
    assert any(b"54321" in command for command in commands)
    assert not any(NOBODY.encode() in command for command in commands)
    stage.close()
    assert not any(is_alive(pid) for pid in pids)
    assert not stage.folder.exists()


def test_where_tmux_is_missing_an_unpacked_one_plays(play, monkeypatch):
    monkeypatch.setattr(kit_tmux, "installed", lambda: None)
    program = tmux(UNPACKED)
    assert UNPACKED in program.parents
    play(
        """\
        ```console a
        echo "it works…"
        ```
        ```text a
        it works…
        ```
        """,
        program=program,
    )


def test_too_small_a_terminal_is_said():
    with pytest.raises(Trouble, match="no room for the panes"):
        Stage(tmux(UNPACKED), ["a", "b", "c"], pane_environment(NOBODY), cwd=ROOT, size=(20, 5))


def is_alive(pid: int) -> bool:
    return bool(kit_tmux.birth(pid))


# ---- labs/play.py

SMALL = """\
# Lab 99: Small

The head of the page.

## Step 1: Speak

**Do**

```console left
echo "$((40 + 2)) tasks"
```

**See**

```text left
42 tasks
```

<details><summary>Check</summary>

The answer is hidden.

</details>

## Step 2: Work

```console right
sleep 4321 & echo working
```

```text right
…
working
```
"""


@pytest.fixture
def small(tmp_path):
    file = tmp_path / "README.md"
    file.write_text(SMALL)
    return file


def run_play(*arguments, url: str = NOBODY, **options) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, ROOT / "labs" / "play.py", *arguments],
        env=pane_environment(url),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        **options,
    )


def test_list_shows_the_steps_without_tmux_or_broker(small):
    done = run_play(small, "--list")
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        "  0  Lab 99: Small",
        "  1  Step 1: Speak   (left)",
        "  2  Step 2: Work   (right)",
    ]


def test_every_lab_is_found_by_its_number():
    for sheet in sorted((ROOT / "labs").glob("[0-9]*/README.md")):
        number = sheet.parent.name.split("-")[0]
        for name in (number, str(int(number)), sheet.parent.name, str(sheet)):
            assert find_page(name) == sheet


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["99"], 2, "there is no lab '99'"),
        ([], 2, "LAB"),
        (["PAGE"], 2, "a terminal is needed"),
        (["PAGE", "--from", "7", "--auto"], 2, "there is no step 7"),
        (["PAGE", "--auto"], 3, "try: labs/broker.py up"),
    ],
)
def test_what_cannot_be_played_is_said_in_a_line(small, arguments, code, said):
    done = run_play(*[small if word == "PAGE" else word for word in arguments])
    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_auto_without_a_terminal_plays_to_the_end(small, lab):
    done = run_play(small, "--auto", url=lab.url)
    assert done.returncode == 0, done.stderr
    assert " [*] 2/2 Step 2: Work\n" in done.stdout


def test_auto_stops_at_a_text_that_does_not_come(small, lab):
    small.write_text(SMALL.replace("42 tasks", "43 tasks"))
    done = run_play("README.md", "--auto", "--wait", "8", url=lab.url, cwd=small.parent)
    assert done.returncode == 1
    assert done.stderr.startswith(" [!] README.md:16: left: expected '43 tasks', seen: '42 tasks'")


def test_a_page_begins_without_its_queues(small, lab):
    small.write_text(SMALL.replace("sleep 4321 &", "true --queue films;"))
    assert run_play(small, "--auto", url=lab.url).returncode == 0
    lab.declare("films")
    done = run_play(small, "--auto", url=lab.url)
    assert done.returncode == 1
    assert "these exist: films\n  try: labs/queues.py --delete films" in done.stderr


def test_a_broker_that_is_not_ours_is_not_stopped(small, lab):
    small.write_text(SMALL.replace("sleep 4321 &", "labs/broker.py kill;"))
    done = run_play(small, "--auto", url=lab.url)
    assert done.returncode == 3
    assert "is not node 'lab' of labs/broker.py" in done.stderr
    assert lab.connection.channel().is_open


@pytest.fixture
def terminal(lab):
    """Return an 80x24 terminal inside tmux, and the mark of all processes that it starts."""
    mark = f"MARK_{uuid.uuid4().hex}"
    environment = pane_environment(lab.url) | {mark: "1"}
    with Stage(tmux(UNPACKED), ["t"], environment, cwd=ROOT, size=(80, 25)) as stage:
        yield stage.panes["t"], mark


def processes(mark: str, part: str) -> list[int]:
    """Return the processes started in a terminal that have `part` in their command."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (folder / "environ").read_bytes():
                if part.encode() in (folder / "cmdline").read_bytes():
                    found.append(int(folder.name))
        except OSError:
            continue
    return found


def shows(pane, *parts: str) -> bool:
    text = "\n".join(pane.look().lines)
    return all(part in text for part in parts)


def start_play(pane, *arguments) -> None:
    pane.type(f"python labs/play.py {' '.join(map(str, arguments))}; echo code $?")
    pane.press("Enter")


def test_enter_types_step_by_step_and_q_leaves_nothing(terminal, small):
    pane, mark = terminal
    start_play(pane, small)
    wait_until(lambda: shows(pane, "The head of the page.", "left ─", "right ─"), "the head")
    pane.press("Enter")
    wait_until(lambda: shows(pane, "Enter types into left"), "step 1")
    assert not shows(pane, "│42 tasks")
    assert not shows(pane, "The answer is hidden")
    pane.press("a")
    wait_until(lambda: shows(pane, "The answer is hidden"), "the answer")
    pane.press("Enter")
    wait_until(lambda: shows(pane, "│42 tasks", "Enter shows the next step"), "step 1 played")
    pane.press("Enter")
    wait_until(lambda: shows(pane, "Enter types into right"), "step 2")
    pane.press("Enter")
    wait_until(lambda: shows(pane, "The end: q leaves"), "step 2 played")
    assert processes(mark, "4321")
    pane.press("q")
    wait_until(lambda: shows(pane, "code 0"), "left")
    assert not processes(mark, "4321")
    assert not processes(mark, "play.py")
    assert len(processes(mark, "tmux")) <= 1  # the terminal's own


@pytest.mark.parametrize("how", ["C-c", "detach", signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_however_it_ends_nothing_stays(terminal, small, how):
    pane, mark = terminal
    start_play(pane, small, "--from", 2)
    wait_until(lambda: shows(pane, "Enter types into right"), "step 2")
    pane.press("Enter")
    wait_until(lambda: shows(pane, "The end: q leaves"), "step 2 played")
    stage = Path(
        next(
            word
            for pid in processes(mark, "--stage")
            for word in Path(f"/proc/{pid}/cmdline").read_text().split("\0")
            if word.endswith("/tmux") and word.startswith("/tmp/lab-")
        )
    ).parent
    if how == "C-c":
        pane.press("C-c")
    elif how == "detach":
        pane.press("C-b", "d")
    else:
        parent = [
            pid for pid in processes(mark, "play.py") if pid not in processes(mark, "--stage")
        ]
        os.kill(parent[0], how)
    wait_until(lambda: shows(pane, "code "), "left")
    wait_until(lambda: not processes(mark, "4321"), "the worker's end")
    wait_until(lambda: not processes(mark, "play.py"), "the script's end")
    wait_until(lambda: not stage.exists(), "the stage's end")


def test_auto_at_a_terminal_plays_and_ends_by_itself(terminal, small):
    pane, mark = terminal
    start_play(pane, small, "--auto")
    wait_until(lambda: shows(pane, "code 0"), "the end")
    assert shows(pane, "Lab 99: Small: played to the end")
    assert not processes(mark, "4321")


def test_a_surprise_is_shown_and_enter_goes_on(terminal, small):
    pane, _ = terminal
    small.write_text(SMALL.replace("\n42 tasks", "\n43 tasks").replace("The head of the page.", ""))
    start_play(pane, small, "--from", 1)
    wait_until(lambda: shows(pane, "Enter types into left"), "step 1")
    pane.press("Enter")
    wait_until(lambda: shows(pane, "waiting for"), "the wait")
    pane.press("s")
    wait_until(lambda: shows(pane, "43 tasks", "42 tasks", "(Enter"), "the surprise")
    pane.press("Enter")
    wait_until(lambda: shows(pane, "Enter shows the next step"), "going on")
    pane.press("q")
    wait_until(lambda: shows(pane, "code 0"), "left")
