"""Test labs/watch.py on a real broker: its figures, its screen in a terminal, a restart."""

import contextlib
import json
import os
import subprocess
import sys
import time
import uuid

import pytest
import rich.screen
from rich.cells import cell_len
from rich.console import Console

from conftest import Terminal, open_lab, wait_until
from kit.exercise.proxy import Proxy, proxy_before
from kit.management.api import Consumer
from kit.management.poller import MISSING, Queue, Snapshot
from kit.management.view import View
from screen import Screen, stages
from test_worksheets import ROOT, pane_environment

WATCH = ROOT / "labs" / "watch.py"
NOWHERE = ("--management-port", "1")
HOSTILE = "\x1b[2J\x1b]0;gone\x07[red]bold[/red]\u202eback"
HARMLESS = r"\x1b[2J\x1b]0;gone\x07[red]bold[/red]\u202eback"


def settings(lab, url: str | None = None, **more: str) -> dict[str, str]:
    page = str(lab.broker.management_port)
    return pane_environment(url or lab.url, LAB_MANAGEMENT_PORT=page, **more)


def watch(lab, *arguments, url: str | None = None) -> subprocess.CompletedProcess:
    done = subprocess.run(
        [sys.executable, WATCH, *map(str, arguments)],
        env=settings(lab, url),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "Traceback" not in done.stderr
    return done


def figures(lab, *arguments, **options) -> dict:
    return json.loads(watch(lab, "--once", "--json", *arguments, **options).stdout)


@contextlib.contextmanager
def student(lab, tags: str):
    """Yield the URL of a user who has rights only on the test's vhost."""
    user = f"u{uuid.uuid4().hex[:8]}"
    everything = {"configure": ".*", "write": ".*", "read": ".*"}
    lab.broker.api("PUT", f"users/{user}", {"password": "p-w", "tags": tags})
    try:
        lab.broker.api("PUT", f"permissions/{lab.vhost}/{user}", everything)
        yield lab.url.replace("guest:guest", f"{user}:p-w")
    finally:
        lab.broker.api("DELETE", f"users/{user}")


@pytest.fixture
def busy(lab, worker):
    """Return a vhost with a worker that holds two of five tasks, and an empty queue."""
    lab.declare()
    lab.declare("idle")
    worker(lab, "--acknowledge", "--prefetch", 2, "--name", "ada", seconds=60)
    lab.publish(*"abcde")
    wait_until(lambda: lab.ready() == 3, "the worker has two tasks")
    return lab


# ---- once


def test_one_table_shows_queues_and_who_consumes_them(busy):
    def held(report: dict) -> list:
        return [one["unacknowledged"] for one in report["consumers"]]

    # The page lists consumers some seconds late, and queues at once.
    report = figures(busy)
    assert [
        (q["name"], q["ready"], q["unacknowledged"], q["consumers"]) for q in report["queues"]
    ] == [
        ("idle", 0, 0, 0),
        ("q", 3, 2, 1),
    ]
    report = wait_until(lambda: (report := figures(busy, "q")) and held(report) == [2] and report)
    (consumer,) = report["consumers"]
    assert (consumer["queue"], consumer["connection"], consumer["prefetch"]) == ("q", "ada", 2)
    assert report["away"] is None and report["management"] is None
    rates = wait_until(
        lambda: (q := figures(busy, "q")["queues"][0])["in_per_second"] is not None and q
    )
    assert rates["in_per_second"] >= 0 and rates["out_per_second"] >= 0

    done = watch(busy, "--once", "q", "idle")
    assert done.returncode == 0 and done.stderr == ""
    header, busy_row, idle_row, _, titles, who = done.stdout.splitlines()
    assert header.split() == ["queue", "ready", "unacked", "consumers", "in/s", "out/s"]
    assert busy_row.split()[:4] == ["q", "3", "2", "1"]
    assert idle_row.split()[:4] == ["idle", "0", "0", "0"]
    assert titles.split() == ["consumer", "tag", "prefetch", "unacked", "queue", "connection"]
    assert who.split() == [consumer["tag"], "2", "2", "q", "ada"]


def test_readers_of_a_stream_are_known_to_the_page_only(lab):
    lab.declare("log", arguments={"x-queue-type": "stream"})
    channel = lab.connection.channel()
    channel.basic_qos(prefetch_count=10)
    channel.basic_consume("log", lambda *delivery: None)
    wait_until(lambda: [queue["consumers"] for queue in figures(lab, "log")["queues"]] == [1])
    wait_until(
        lambda: [consumer["queue"] for consumer in figures(lab, "log")["consumers"]] == ["log"]
    )


def test_without_the_page_named_queues_are_still_counted(busy):
    done = watch(busy, "--once", "q", *NOWHERE)
    assert done.returncode == 0
    assert done.stdout.splitlines()[1].split() == ["q", "3", "-", "1", "-", "-"]
    assert done.stderr.startswith(" [!] Unacknowledged, rates and consumers are not known: the man")
    assert "Connection refused" in done.stderr
    report = figures(busy, "q", *NOWHERE)
    assert "does not answer" in report["management"]
    assert report["queues"][0]["unacknowledged"] is None
    unnamed = watch(busy, "--once", *NOWHERE)
    assert unnamed.returncode == 3
    assert "try: name the queues" in unnamed.stderr


def test_page_may_be_elsewhere(busy):
    page = f"http://127.0.0.1:{busy.broker.management_port}/"
    report = figures(busy, "q", "--management-url", page)
    assert report["queues"][0]["unacknowledged"] == 2
    wrong = watch(busy, "--management-url", "http://guest:p-w@127.0.0.1")
    assert wrong.returncode == 2
    assert "p-w" not in wrong.stderr


@pytest.mark.parametrize("tags, known", [("management", 2), ("", None)])
def test_student_needs_rights_on_the_own_vhost_only(busy, tags, known):
    with student(busy, tags) as url:
        report = figures(busy, "q", url=url)
        assert report["queues"][0]["ready"] == 3
        assert report["queues"][0]["unacknowledged"] == known
        done = watch(busy, "--once", "q", url=url)
        assert done.returncode == 0
        assert ("does not let you in" in done.stderr) == (known is None)
        # The page lists only the same user's consumers; the worker's is guest's.
        unlisted = "1 consumer not listed: new, or another user's"
        assert (unlisted in done.stdout) == (known is not None)
        assert "p-w" not in done.stdout + done.stderr


def test_missing_queue_is_named(busy):
    for more in ((), NOWHERE):
        done = watch(busy, "--once", "none", "idle", *more)
        assert done.returncode == 4
        assert done.stdout.splitlines()[1].split()[:2] == ["idle", "0"]
        assert done.stdout.splitlines()[2].split(None, 1) == ["none", "there is no such queue"]
    assert figures(busy, "none")["queues"][0]["exists"] is False


def test_exclusive_queue_of_another_is_counted_by_the_page(lab):
    lab.declare("own", durable=False, exclusive=True)
    lab.publish("a", queue="own")
    assert wait_until(lambda: figures(lab)["queues"][0]["ready"] == 1)
    done = watch(lab, "--once", "own", *NOWHERE)
    assert done.returncode == 0
    assert done.stdout.splitlines()[1] == "own    exclusive to another connection"


def test_names_can_neither_break_nor_inject(lab):
    lab.declare(HOSTILE)
    assert watch(lab, "--once").stdout.splitlines()[1].startswith(HARMLESS + "  ")
    assert figures(lab)["queues"][0]["name"] == HOSTILE


def test_name_that_cannot_be_one_is_refused(lab):
    for name in (
        "",
        "a" * 256,
        "two\nlines",
    ):  # RabbitMQ drops line breaks, and then pika waits for ever
        done = watch(lab, "--once", name)
        assert done.returncode == 2
        assert "the name of a queue has" in done.stderr


def test_without_a_terminal_it_is_one_look(lab):
    lab.declare()
    done = watch(lab, "q")
    assert done.returncode == 0
    assert "not a terminal: one look, as with --once" in done.stderr
    assert done.stdout.splitlines()[1].split()[0] == "q"


@pytest.mark.parametrize("option", ["--once", "--json"])
def test_broker_that_refuses_is_one_line(lab, option):
    url = lab.url.replace("guest:guest", "guest:wr-ong")
    done = watch(lab, option, "q", url=url)
    assert done.returncode == 4
    assert done.stderr.startswith("watch.py: error: RabbitMQ at 127.0.0.1:")
    assert "wr-ong" not in done.stderr and done.stderr.count("\n") == 2


def test_no_broker_is_one_line(lab):
    done = watch(lab, "--once", "q", url="amqp://localhost:1")
    assert done.returncode == 3
    assert done.stderr.startswith("watch.py: error: cannot reach RabbitMQ at localhost:1")


# ---- one object per line


def test_lines_of_json_go_on_through_a_lost_connection(lab, run):
    lab.declare()
    proxy = Proxy(lab.broker.port)
    url = lab.url.replace(f":{lab.broker.port}", f":{proxy.port}")
    env = settings(lab, url)
    script = run("labs/watch.py", "--json", "q", "--interval", "0.2", url=url, env=env)

    def ready() -> object:
        lines = [json.loads(line.text) for line in script.lines if line.stream == "stdout"]
        return lines[-1]["queues"][0]["ready"] if lines and not lines[-1]["away"] else None

    wait_until(lambda: ready() == 0)
    lab.publish("a", "b")
    wait_until(lambda: ready() == 2)
    proxy.cut()
    away = script.wait_for('"away": "')
    assert json.loads(away.text)["queues"] == []
    lab.publish("c")
    wait_until(lambda: ready() == 3)
    script.terminate()
    assert script.wait() == 0
    assert script.text("stderr") == ""
    proxy.close()


# ---- the screen


@pytest.fixture
def stage():
    """Return a function that opens a terminal of a given size for a vhost."""
    with stages() as open_stage:
        yield lambda lab, size=(80, 25), **more: WatchScreen(
            open_stage(settings(lab, **more), size)
        )


class WatchScreen(Screen):
    """The terminal in which labs/watch.py is typed."""

    command = "python labs/watch.py"
    patience = 20

    def row(self, queue: str) -> list[str]:
        """Return the words of a queue's row."""
        return next((line.split() for line in self.rows() if line.split()[:1] == [queue]), [])

    def tmux(self, *arguments: str) -> str:
        """Return the output of a tmux command."""
        return " ".join(self.stage.server.cmd(*arguments))

    def is_restored(self) -> bool:
        """Return True if cursor, echo and the primary screen are back."""
        state = self.tmux("display-message", "-p", "-t", "lab", "#{cursor_flag} #{alternate_on}")
        self.pane.type("stty -a | tr ' ' '\\n' | grep -cE '^-?(echo|icanon);?$' ; stty -a")
        self.pane.press("Enter")
        self.wait("icanon")
        return state == "1 0" and not self.shows("-icanon") and not self.shows(" -echo ")


def test_screen_shows_the_queue_breathe_and_q_leaves_the_terminal_as_it_was(busy, stage):
    screen = stage(busy)
    screen.start("q", "later")
    screen.wait("q quits", "last", "later", MISSING)
    wait_until(lambda: screen.row("q")[1:4] == ["3", "2", "1"], "the figures")
    busy.publish(*"fghi")
    wait_until(lambda: screen.row("q")[1:4] == ["7", "2", "1"], "the new figures")
    wait_until(lambda: "▄" in screen.row("q")[-1] and "█" in screen.row("q")[-1], "the history")
    busy.declare("later")
    wait_until(lambda: screen.row("later")[1:4] == ["0", "0", "0"], "the new queue")
    screen.wait("ctag1.", "ada")
    busy.connection.channel().queue_delete("later")
    screen.wait(MISSING)
    screen.pane.press("q")
    screen.wait("code 0")
    assert screen.is_restored()


def test_all_queues_come_and_go_and_ctrl_z_and_ctrl_c_restore_the_terminal(lab, stage):
    screen = stage(lab)
    screen.start()
    screen.wait("There is no queue in this vhost")
    lab.declare(HOSTILE)
    lab.declare("other")
    screen.wait("other", r"\x1b[2J")
    lab.connection.channel().queue_delete("other")
    wait_until(lambda: not screen.shows("other"), "it is gone")
    screen.pane.press("C-z")
    screen.wait("Stopped", "code 147")
    screen.pane.type("clear; fg; echo code $?")
    screen.pane.press("Enter")
    screen.wait("q quits", r"\x1b[2J")
    screen.pane.press("C-c")
    screen.wait("code 0")
    assert screen.is_restored()


def test_narrow_pane_shows_what_matters_and_follows_a_new_size(lab, stage):
    for number in range(15):
        lab.declare(f"queue-{number:02}")
    screen = stage(lab, size=(50, 13))  # one line of which is the frame's
    screen.start("--interval", "0.2")
    screen.wait("queue-00", "... and ", "more")
    lines = screen.rows()[-12:]  # the typed command is above them
    assert lines[0].startswith("RabbitMQ at") and all(len(line) <= 50 for line in lines)
    assert not screen.shows("last")
    shown = sum(line.startswith("queue-") for line in lines)
    assert screen.shows(f"... and {15 - shown} more") and shown >= 9
    screen.tmux("resize-window", "-t", "lab", "-x", "120", "-y", "31")
    screen.wait("queue-14", "last 12 s")
    assert not screen.shows("more")
    screen.pane.press("q")
    screen.wait("code 0")


def test_screen_without_the_page_says_what_is_not_known(busy, stage):
    screen = stage(busy)
    screen.start("q", *NOWHERE)
    screen.wait("unacknowledged, rates and consumers are not known", "Connection refused")
    assert screen.row("q")[:6] == ["q", "3", "-", "1", "-", "-"]
    screen.pane.press("q")
    screen.wait("code 0")
    screen.start(*NOWHERE)
    screen.wait("the queues are not known: name them (labs/watch.py QUEUE)")
    screen.pane.press("q")
    screen.wait("code 0")


def test_refusal_is_a_line_and_no_screen(lab, stage):
    screen = stage(lab, url=lab.url.replace("guest:guest", "guest:wr-ong"))
    screen.start("q")
    screen.wait("watch.py: error: RabbitMQ at", "code 4")
    assert not screen.shows("wr-ong")


def test_screen_waits_for_a_broker_that_is_not_there_yet(lab, stage):
    lab.declare()
    proxy, url = proxy_before(lab.url)
    proxy.play_dead()
    screen = stage(lab, url=url)
    screen.start("q")
    screen.wait("broker away for 1 s, trying again: ")
    proxy.play_dead(False)
    wait_until(lambda: screen.row("q")[1:2] == ["0"])
    assert not screen.shows("away")
    proxy.close()


def test_screen_survives_a_restart_of_the_broker(own_broker, stage):
    lab = open_lab(own_broker)
    lab.declare(durable=True)
    lab.publish("a", "b", persistent=True)
    screen = stage(lab)
    screen.start("q", "--interval", "0.2")
    wait_until(lambda: screen.row("q")[1:3] == ["2", "0"], "the figures")
    own_broker.flush_to_disk()
    own_broker.node.kill()
    screen.wait("broker away for 2 s")
    assert screen.row("q")[1] == "2"  # the last figures stay
    own_broker.node.start()
    wait_until(lambda: not screen.shows("away"))
    assert screen.row("q")[1] == "2"
    with own_broker.frozen():
        screen.wait("no answer from the broker for")
    wait_until(lambda: not screen.shows("no answer"))
    screen.pane.press("q")
    screen.wait("code 0")


@pytest.fixture
def xterm(lab):
    """Return a terminal whose raw bytes the test reads."""
    terminals: list[Terminal] = []

    def start(*arguments: object, **more: str) -> Terminal:
        environment = settings(lab) | {"TERM": "xterm-256color", "COLUMNS": "160"} | more
        terminals.append(Terminal([sys.executable, WATCH, *map(str, arguments)], environment))
        return terminals[-1]

    yield start
    for one in terminals:
        with contextlib.suppress(OSError):
            one.close()


def read_for(terminal: Terminal, seconds: float) -> str:
    """Return the output of the next `seconds`."""
    before, end = len(terminal.text), time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        terminal._read(left)
    return terminal.text[before:]


def test_nothing_is_sent_while_nothing_changes(lab, xterm):
    lab.declare()
    terminal = xterm("q", "--interval", "0.1", *NOWHERE)
    terminal.wait_for("▁" * 60)  # the history is full
    read_for(terminal, 0.5)  # the rest of that picture
    assert read_for(terminal, 1) == ""
    lab.publish("a")
    terminal.wait_for("▂")
    assert "\x1b[2J" not in terminal.text  # clearing the screen before each redraw would flicker


def test_terminal_without_these_letters_keeps_its_columns(lab, xterm):
    lab.declare()
    terminal = xterm("q", PYTHONIOENCODING="latin-1")
    terminal.wait_for("ready, last")
    terminal.wait_for(" ??")
    assert "\\u" not in terminal.text


@pytest.mark.parametrize("how", ["signal", "closed"])
def test_it_ends_with_its_terminal_and_when_it_is_asked_to(lab, xterm, how):
    lab.declare()
    terminal = xterm("q")
    terminal.wait_for("last")
    if how == "closed":
        os.close(terminal._master)
        assert terminal.process.wait(5) == 0
    else:
        terminal.process.terminate()
        assert terminal.wait(5) == 0
        left = terminal.text.rpartition("\x1b[?1049l")
        assert left[1] and "\x1b[?25h" in left[0][-20:] + left[2]


# ---- layout, without a broker

NAMES = {"short": "q", "long": "a-long-name-" * 9, "wide": "映画" * 20, "hostile": HOSTILE + "\n"}


def draw(snapshot: Snapshot, width: int, height: int, name: str) -> list[str]:
    """Return the lines of a screen."""
    console = Console(width=width, height=height, highlight=False)
    view = View(console, f"RabbitMQ at {name}:5672, vhost /", interval=1)
    screen = view.screen(snapshot, view.silence(snapshot), "q quits")
    lines = console.render_lines(rich.screen.Screen(screen))
    return ["".join(segment.text for segment in line) for line in lines]


FIGURES = ["1234567", "7654", "98", "0.5", "12345"]


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
@pytest.mark.parametrize("height", [12, 30])
@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_names_give_way_and_figures_do_not(width, height, name):
    names = [f"#{number}{name}" for number in range(9)]
    queues = [Queue(one, True, 1_234_567, 7654, 98, 0.5, 12345.0) for one in names]
    queues.append(Queue(name, exists=False, note=MISSING))
    consumers = [Consumer(name, f"ctag1.{name}", name, 65_535, 7654) for _ in names]
    history = {one: [1, None, 9] for one in names}
    for trouble, away in [("", ""), ("the page does not answer", ""), ("", "it is gone")]:
        lines = draw(Snapshot(queues, consumers, history, trouble, away), width, height, name)
        assert all(cell_len(line) == width for line in lines)
        assert "\x1b" not in "".join(lines)
        # Half of a letter that is two cells wide leaves a blank.
        rows = [line.replace(" …", "…").split() for line in lines if line.startswith("#")]
        shown = 5 if width >= 60 else 3
        assert [row[1 : shown + 1] for row in rows] == [FIGURES[:shown]] * len(rows)
        assert len(rows) == 9 if height == 30 else rows


@pytest.mark.parametrize("size", [(8, 5), (20, 5), (37, 2), (1, 1)])
def test_the_smallest_pane_will_do(size):
    queues = [Queue("jobs", True, 1_234_567, 7654, 98, 0.5, 12345.0), Queue("b", note=MISSING)]
    lines = draw(Snapshot(queues, history={"jobs": [1, 2]}), *size, "q")
    assert [cell_len(line) for line in lines] == [size[0]] * size[1]
