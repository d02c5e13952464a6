"""Test lab 10's programs on a real broker: no record lost or counted twice, no game waits."""

import contextlib
import gzip
import json
import logging
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel
from pika.spec import Basic

from conftest import (
    ROOT,
    Lab,
    Run,
    Script,
    UndecodableProperties,
    undecodable_is_fine,
    wait_until,
)
from kit.broker.network import free_port
from kit.exercise.proxy import Proxy, proxy_before
from logpipe.reader import read_tables
from logpipe.sink import Sink
from rabbit_logging import RabbitHandler
from strange import ODD

FOLDER = ROOT / "labs/10-log-pipeline"
GAMES = ("--players", "12", "--rounds", "10", "--seed", "7", "--turn-seconds", "0.002")
WAITING = "Waiting for records"
Start = Callable[..., Script]


@pytest.fixture
def start(run: Run, lab: Lab) -> Iterator[Start]:
    """Return a function that starts a program of the lab; fail on tracebacks."""
    scripts: list[Script] = []

    def start(name: str, *arguments: object, **more) -> Script:
        path = Path(name) if os.path.isabs(name) else FOLDER / name
        places = {"PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "labs", FOLDER)))}
        scripts.append(run(path, *arguments, **{"lab": lab, "env": places} | more))
        return scripts[-1]

    yield start
    for script in scripts:
        assert "Traceback" not in script.text()


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    return tmp_path / "truth.json"


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    return tmp_path / "rows"


def drain(start: Start, rows: Path, *options: object, program: str | Path = "worker.py") -> Script:
    """Let a worker write all waiting records."""
    channels = ("--channel", "lobby", "--channel", "combat", "--exit-when-empty")
    worker = start(str(program), *channels, "--output", rows, *options)
    worker.wait()
    return worker


def tables(start: Start, rows: Path) -> dict:
    """Return the tables that tables.py prints as JSON."""
    printed = start("tables.py", rows, "--json")
    assert printed.wait() == 0, printed.text()
    return json.loads(printed.text("stdout"))


def agrees(start: Start, rows: Path, truth: Path) -> dict:
    """Check the tables against the simulator's own counts; return them."""
    found, known = tables(start, rows), json.loads(truth.read_text())
    assert found["participants"] == known["participants"]
    assert found["podium"] == known["podium"]
    assert found["records"] == sum(known["records"].values())
    assert found["other"] == found["rejects"] == []
    return found


def game_lines(script: Script) -> list[str]:
    """Return a simulator's output without its timing."""
    return [re.sub(r"in [\d.]+ s", "", line) for line in script.text("stdout").splitlines()]


def mangled(tmp_path: Path, patch: str) -> Path:
    """Return a copy of the worker with a few lines in front."""
    program = tmp_path / "mangled.py"
    program.write_text(
        f"import os, runpy, signal, sys\n{patch}\n"
        f"sys.argv[0] = {str(FOLDER / 'worker.py')!r}\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    return program


# ---- the game and its handler


def test_the_game_is_the_same_with_and_without_its_log(start, truth, rows):
    plain = start("simulator.py", *GAMES, "--no-shipping")
    shipped = start("simulator.py", *GAMES, "--truth", truth)
    assert (plain.wait(), shipped.wait()) == (0, 0)
    assert game_lines(plain) == game_lines(shipped)
    assert len(game_lines(plain)) == 5 and plain.text("stderr") == shipped.text("stderr") == ""
    drain(start, rows, "--format", "gzip", "--batch", 30)
    assert all(path.name.endswith(".jsonl.gz") for path in rows.iterdir())
    assert len(list(rows.iterdir())) > 1
    assert agrees(start, rows, truth)["twice"] == 0
    printed = start("tables.py", rows, "--game", 2)
    assert printed.wait() == 0
    assert re.search(
        r"^  [\d-]+-\w{4} +2 +1 +\w+ \w+ +\d+ +\d+ +\d+$", printed.text("stdout"), re.M
    )


def test_the_broker_is_away_before_the_game_and_now_and_then(start, lab, truth, rows):
    port = free_port()
    away = {"url": lab.url.replace(str(lab.broker.port), str(port))}
    early = start("simulator.py", *GAMES, "--truth", truth, "--flush-seconds", 25, **away)
    early.wait_for("records logged")  # without a worker
    with contextlib.closing(Proxy(lab.broker.port, port)) as proxy:
        assert early.wait() == 0
        drain(start, rows)
        assert agrees(start, rows, truth)["twice"] == 0
        slow = ("--players", 60, "--turn-seconds", "0.003", "--flush-seconds", 25)
        game = start("simulator.py", *slow, "--truth", truth, **away)
        for number in (3, 6, 9):
            game.wait_for(f"Game {number}:")
            proxy.cut()
        assert game.wait() == 0
        assert game.find("Lost RabbitMQ")
    again = rows.with_name("again")
    drain(start, again)
    agrees(start, again, truth)


def test_the_broker_goes_and_stays_away(start, lab, truth, rows):
    with contextlib.closing(Proxy(lab.broker.port)) as proxy:
        url = lab.url.replace(str(lab.broker.port), str(proxy.port))
        slow = ("--players", 40, "--turn-seconds", "0.003", "--flush-seconds", "0.5")
        game = start("simulator.py", *slow, "--truth", truth, url=url)
        game.wait_for("Game 3:")
    assert game.wait() == 3
    left = re.search(r"(\d+) log records not shipped within 0.5 s", game.text("stderr"))
    drain(start, rows)
    logged = sum(json.loads(truth.read_text())["records"].values())
    # The broker may have taken some of the last records without confirming them.
    assert 0 < logged - tables(start, rows)["records"] <= int(left[1])


def test_a_full_buffer_drops_the_newest_and_says_so(start, lab, truth, rows):
    port = free_port()
    url = lab.url.replace(str(lab.broker.port), str(port))
    small = ("--buffer", 20, "--flush-seconds", 25)
    game = start("simulator.py", *GAMES, "--truth", truth, *small, url=url)
    game.wait_for("records logged")
    with contextlib.closing(Proxy(lab.broker.port, port)):
        assert game.wait() == 3
    logged = sum(json.loads(truth.read_text())["records"].values())
    assert game.find(f"{logged - 20} log records dropped: the buffer was full")
    worker = drain(start, rows)
    assert worker.find("No transform for 'lobby/dropped': kept in table 'other'")
    found = tables(start, rows)
    notes = [row["record"] for row in found["other"]]
    assert sum(note["fields"]["count"] for note in notes) == logged - 20
    assert found["records"] == 20 + len(notes)
    first = [*found["participants"], *json.loads(truth.read_text())["participants"]]
    assert first[0] == first[len(found["participants"])]  # the first one was kept


def test_a_refusal_does_not_stop_the_game(start, lab):
    game = start("simulator.py", *GAMES, url=lab.url.replace(lab.vhost, "no-such-vhost"))
    assert game.wait() == 4
    assert len(game.find("no-such-vhost")) == len(game.find("any more: RabbitMQ at")) == 1
    assert re.search(r"\d+ log records not shipped$", game.text("stderr"), re.M)
    assert not game.find("dropped")
    assert len(game.find("wins")) == 3


def test_a_second_run_is_a_second_set_of_games(start, truth, rows):
    first, known = truth.with_name("first.json"), {"participants": [], "podium": []}
    for file in (first, truth):
        assert start("simulator.py", *GAMES, "--truth", file).wait() == 0
        for table, more in json.loads(file.read_text()).items():
            known.get(table, []).extend(more)
    drain(start, rows)
    found = tables(start, rows)
    for table in known:  # two runs in one second may be in either order
        assert sorted(map(repr, found[table])) == sorted(map(repr, known[table]))
    assert len({row["run"] for row in found["podium"]}) == 2 and found["twice"] == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_game_that_is_stopped_ships_what_was_logged(start, lab, rows, number):
    game = start("simulator.py", *GAMES, "--players", 4000)
    game.wait_for("Game 3:")
    game.process.send_signal(number)
    assert game.wait() == 130
    logged, shipped = re.search(r"Stopped: (\d+) records logged, (\d+) shipped",
                                game.text("stdout")).groups()  # fmt: skip
    drain(start, rows)
    assert int(shipped) == tables(start, rows)["records"] >= int(logged) > 0


# ---- the handler in any program


@pytest.fixture
def handler(lab: Lab) -> Iterator[RabbitHandler]:
    """Return the only handler of the logger `shop`, which logs every level."""
    log, handler = logging.getLogger("shop"), RabbitHandler(url=lab.url)
    log.addHandler(handler)
    log.setLevel(logging.DEBUG)
    log.propagate = False
    yield handler
    log.removeHandler(handler)
    log.propagate = True
    handler.close()


def shipped(handler: RabbitHandler, lab: Lab, queue: str) -> list[dict]:
    """Ship all records, then return those in a queue."""
    handler.close()
    assert handler.code == 0
    return [json.loads(body) for body in lab.take(queue)]


SLY_PROGRAM = """
import logging
from pathlib import Path

from rabbit_logging import RabbitHandler


class Sly:
    def __repr__(self):
        raise RuntimeError("do not look at me")


log = logging.getLogger("shop.payments")
log.addHandler(RabbitHandler())
log.setLevel("INFO")
changing, endless = ["before"], []
endless.append(endless)
try:
    raise ValueError("no money")
except ValueError:
    log.exception("failed for %s", "ada")
log.info("%d of %d", 1)
log.info("sly %s", Sly())
log.info("extras", extra={"sly": Sly(), "changing": changing, "when": Path("x")})
log.info("endless", extra={"endless": endless, "number": float("nan")})
log.info("surrogate \\udc80 and line\\nbreak")
changing[0] = "after"
"""


def test_whatever_is_logged_is_shipped_at_the_latest_when_the_program_ends(start, lab, tmp_path):
    (tmp_path / "shop.py").write_text(SLY_PROGRAM)
    program = start(str(tmp_path / "shop.py"))
    assert (program.wait(), program.text()) == (0, "")
    records = [json.loads(body) for body in lab.take("log.payments")]
    assert [record["message"] for record in records] == [
        "failed for ada",
        "cannot be formatted: '%d of %d' (TypeError)",
        "cannot be formatted: 'sly %s' (RuntimeError)",
        "extras",
        "endless",
        "surrogate \udc80 and line\nbreak",
    ]
    assert records[0]["level"] == "ERROR" and records[0]["logger"] == "shop.payments"
    assert records[0]["exception"].endswith("ValueError: no money")
    assert records[3]["fields"] == {
        "sly": "<Sly> (RuntimeError)", "changing": ["before"], "when": repr(Path("x"))
    }  # fmt: skip
    assert records[4]["fields"] == {"endless": "[[...]]", "number": "nan"}


def test_pika_s_own_records_are_not_shipped(handler, lab):
    """At DEBUG pika logs every frame it sends, so shipping these records would never end."""
    root, seen = logging.getLogger(), []
    level, watcher = root.level, logging.Handler()
    watcher.emit = lambda record: seen.append(record.name)
    root.setLevel(logging.DEBUG)
    for one in (handler, watcher):
        root.addHandler(one)
    try:
        logging.getLogger("shop").debug("one")
        wait_until(lambda: lab_ready(lab, "log.shop") == 1)
    finally:
        root.setLevel(level)
        for one in (handler, watcher):
            root.removeHandler(one)
    assert any(name.startswith("pika.") for name in seen)
    queues = lab.broker.api("GET", f"queues/{lab.vhost}?disable_stats=true")
    assert [queue["name"] for queue in queues] == ["log.shop"]
    assert len(shipped(handler, lab, "log.shop")) == 1


def lab_ready(lab: Lab, queue: str) -> int:
    """Return the number of waiting messages, 0 without a queue."""
    try:
        return lab.ready(queue)
    except pika.exceptions.ChannelClosedByBroker:
        return 0


def test_a_very_long_name_is_cut(handler, lab):
    logging.getLogger("shop").info("before")
    logging.getLogger("shop." + "ü" * 300).info("long")
    logging.getLogger("shop").info("behind")
    assert len(shipped(handler, lab, "log.shop")) == 2
    assert len(lab.take("log." + "ü" * 75)) == 1


def test_a_record_whose_queue_cannot_be_declared_counts_as_not_shipped(handler, lab, monkeypatch):
    def declare(*_: object, **__: object) -> None:
        raise RuntimeError("not today")

    monkeypatch.setattr(BlockingChannel, "queue_declare", declare)
    logging.getLogger("shop").info("one")
    handler.close()
    assert (handler.code, len(handler.shipper.buffer), handler.shipper.shipped) == (1, 1, 0)


def test_a_name_with_control_characters_gets_a_queue_without(handler, lab):
    logging.getLogger("shop.till\r\x1b").info("one")  # RabbitMQ would call it "till"
    assert [record["logger"] for record in shipped(handler, lab, "log.till??")] == [
        "shop.till\r\x1b"
    ]


def test_a_record_leaves_the_buffer_when_it_is_confirmed_and_comes_again_until_then(lab):
    proxy, url = proxy_before(lab.url)
    log, handler = logging.getLogger("shop"), RabbitHandler(url=url, flush_seconds=30)
    log.addHandler(handler)
    log.setLevel(logging.DEBUG)
    try:
        log.info("one")
        wait_until(lambda: handler.shipper.shipped == 1)
        proxy.play_dead()
        proxy.cut()
        for text in ("two", "three"):
            log.info(text)
        assert (len(handler.shipper.buffer), handler.shipper.shipped) == (2, 1)
        proxy.play_dead(False)
        wait_until(lambda: handler.shipper.shipped == 3)
        records = shipped(handler, lab, "log.shop")
    finally:
        log.removeHandler(handler)
        handler.close()
        proxy.close()
    assert [record["message"] for record in records] == ["one", "two", "three"]


def test_a_queue_that_is_full_keeps_the_records_here_and_in_their_order(handler, lab):
    full = {"max-length": 1, "overflow": "reject-publish"}
    policy = {"pattern": "^log", "definition": full, "apply-to": "queues"}
    lab.broker.api("PUT", f"policies/{lab.vhost}/full", policy)
    for text in ("one", "two"):
        logging.getLogger("shop").info(text)
    wait_until(lambda: handler.shipper.shipped == 1)
    assert len(handler.shipper.buffer) == 1
    assert [json.loads(body)["message"] for body in lab.take("log.shop")] == ["one"]
    wait_until(lambda: handler.shipper.shipped == 2)
    assert [json.loads(body)["message"] for body in lab.take("log.shop")] == ["two"]


def test_what_comes_after_the_end_found_no_full_buffer(handler, capsys):
    handler.close()
    logging.getLogger("shop").info("late")
    assert handler.dropped == {"shop": 1} and "full" not in capsys.readouterr().err


def test_a_queue_that_was_deleted_is_made_anew(handler, lab):
    log = logging.getLogger("shop")
    log.info("one")
    wait_until(lambda: lab_ready(lab, "log.shop") == 1)
    lab.connection.channel().queue_delete("log.shop")
    log.info("two")
    log.info("three")
    records = shipped(handler, lab, "log.shop")
    assert sorted(record["message"] for record in records) == ["three", "two"]


# ---- the worker


@pytest.fixture
def logged(start: Start, truth: Path) -> int:
    """Return the number of a game's records that wait in the queues."""
    assert start("simulator.py", *GAMES, "--truth", truth).wait() == 0
    return sum(json.loads(truth.read_text())["records"].values())


KILL = "def kill(*a, **k): os.kill(os.getpid(), signal.SIGKILL)\n"
ACK = "from pika.adapters.blocking_connection import BlockingChannel as C\nC.basic_ack = kill"


@pytest.mark.parametrize(
    ("step", "twice"),
    [("os.fsync = kill", 0), ("os.replace = kill", 0), (ACK, 20)],
    ids=["in the file", "before the rename", "before the acknowledgement"],
)
def test_a_worker_is_killed(start, logged, truth, rows, tmp_path, step, twice):
    worker = drain(start, rows, "--batch", 20, program=mangled(tmp_path, KILL + step))
    assert worker.process.returncode == -signal.SIGKILL
    parts = list(rows.glob("*.part"))
    assert (len(parts), len(list(rows.glob("*.jsonl")))) == ((0, 1) if twice else (1, 0))
    assert tables(start, rows)["records"] == twice  # incomplete files are not read
    for part in parts:
        os.utime(part, (time.time() - 3600,) * 2)
    drain(start, rows)
    assert agrees(start, rows, truth)["twice"] == twice
    assert not list(rows.glob("*.part"))


def test_a_full_disk_is_said_and_nothing_is_lost(start, logged, truth, rows, tmp_path):
    small = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))"
    worker = drain(start, rows, program=mangled(tmp_path, small))
    assert worker.process.returncode == 1
    assert re.search(rf"error: cannot write into {rows} \(File too large\); \d+ records go back",
                     worker.text("stderr"))  # fmt: skip
    assert worker.find("try: free some space")
    assert list(rows.iterdir()) == []
    drain(start, rows)
    assert agrees(start, rows, truth)["twice"] == 0


@pytest.mark.parametrize("hung", [KeyboardInterrupt, OSError])
def test_a_file_that_is_given_up_leaves_no_part(rows, monkeypatch, hung):
    sink = Sink(rows, "jsonl")

    def interrupted(_: int) -> None:
        raise hung

    monkeypatch.setattr("os.fsync", interrupted)
    with pytest.raises(hung):
        sink.write([{"id": "1", "table": "hits"}])
    assert list(rows.iterdir()) == []


def test_a_folder_that_was_removed_is_made_anew(rows):
    sink = Sink(rows, "jsonl")
    rows.rmdir()
    assert sink.write([{"id": "1", "table": "hits"}]).exists()


def test_two_workers_share_a_folder_and_one_loses_its_connection(start, lab, truth, rows):
    channels = ("--channel", "lobby", "combat", "--output", rows, "--batch", 7)
    with contextlib.closing(Proxy(lab.broker.port)) as proxy:
        url = lab.url.replace(str(lab.broker.port), str(proxy.port))
        workers = [
            start("worker.py", *channels),
            start("worker.py", *channels, "--format", "gzip", url=url),
        ]
        for worker in workers:
            worker.wait_for(WAITING)
        game = start("simulator.py", *GAMES, "--truth", truth)
        for worker in workers:
            worker.wait_for("records in")
        proxy.cut()
        workers[1].wait_for(WAITING, count=2)
        assert game.wait() == 0
        logged = sum(json.loads(truth.read_text())["records"].values())
        wait_until(lambda: read_tables(rows).records == logged)
        for worker in workers:
            worker.terminate()
            assert worker.wait() == 0
    agrees(start, rows, truth)
    assert {"".join(path.suffixes) for path in rows.iterdir()} == {".jsonl", ".jsonl.gz"}


def test_sigterm_writes_what_is_in_hand_and_ctrl_c_gives_it_back(start, lab, logged, truth, rows):
    slow = ("--channel", "lobby", "combat", "--output", rows, "--batch", 1000)
    slow += ("--batch-seconds", 60)
    worker = start("worker.py", *slow, "--prefix", "log.")
    worker.wait_for(WAITING)
    wait_until(lambda: lab.ready("log.lobby") == lab.ready("log.combat") == 0)
    worker.interrupt()
    assert worker.wait() in (0, 130) and not list(rows.iterdir())
    wait_until(lambda: lab.ready("log.lobby") + lab.ready("log.combat") == logged)
    worker = start("worker.py", *slow)
    wait_until(lambda: lab.ready("log.lobby") == lab.ready("log.combat") == 0)
    worker.terminate()
    assert worker.wait() == 0
    drain(start, rows)  # in case it had received nothing yet
    agrees(start, rows, truth)


def test_a_worker_waits_for_its_broker_and_its_queue_and_can_be_stopped_meanwhile(start, lab, rows):
    port = free_port()
    url = lab.url.replace(str(lab.broker.port), str(port))
    worker = start("worker.py", "--channel", "lobby", "--output", rows, url=url)
    worker.wait_for("Cannot reach RabbitMQ")
    with contextlib.closing(Proxy(lab.broker.port, port)):
        worker.wait_for(WAITING)
        lab.connection.channel().queue_delete("log.lobby")
        worker.wait_for(WAITING, count=2)  # it declares another one
        assert lab.ready("log.lobby") == 0
    worker.wait_for("Lost RabbitMQ", count=2)
    worker.terminate()
    assert worker.wait() == 0
    assert worker.find("Lost RabbitMQ") and worker.find("Stopped: 0 records in 0 files")


def test_what_is_no_record_is_kept_and_stops_nothing(start, lab, logged, rows):
    bad = [
        (b"not json", "p1"),
        (b"[1, 2]", "p2"),
        (b"\xff\x00", "p3"),
        (b'{"logger": "arena.combat", "fields": {"event": "hit", "run": "", "game": ""}}', "p4"),
        (b'{"logger": "arena.combat", "fields": {"event": "hit"}}', None),
        (b'{"logger": "arena.combat", "fields": {"event": ["x"]}}', "p5"),
        (b'{"logger": "arena.combat", "fields": {"event": "dance"}}', "p6"),
    ]
    channel = lab.connection.channel()
    for body, record_id in [*bad, *bad]:
        properties = pika.BasicProperties(message_id=record_id)
        channel.basic_publish("", "log.combat", body, properties)
    wait_until(lambda: lab.ready("log.combat") > 2 * len(bad))
    worker = drain(start, rows)
    assert worker.process.returncode == 0
    found = tables(start, rows)
    assert {row["id"] for row in found["rejects"]} >= {"p1", "p2", "p3", "p4", "p5"}
    assert (len(found["rejects"]), len(found["other"])) == (6, 1)
    assert found["records"] == logged + len(bad) and found["twice"] == len(bad)
    assert worker.find("'game' is no int") and worker.find("it has no message_id")
    assert worker.find("No transform for 'combat/dance'")


@pytest.mark.skipif(undecodable_is_fine(), reason="pika decodes it")
def test_a_record_that_cannot_be_decoded_ends_a_worker_after_some_tries(start, lab, logged, rows):
    channel = lab.connection.channel()
    channel.confirm_delivery()
    channel.basic_publish("", "log.combat", b"bad", UndecodableProperties(), mandatory=True)
    proxy, url = proxy_before(lab.url)
    try:
        worker = start("worker.py", "--channel", "combat", "--output", rows, "--batch", 7, url=url)
        assert worker.wait() == 1
        prefetched = [one.what.prefetch_count for one in proxy.heard if type(one.what) is Basic.Qos]
    finally:
        proxy.close()
    error, hint = worker.text("stderr").splitlines()[-2:]
    assert error.startswith("worker.py: error: pika cannot decode the next message (")
    assert hint.startswith("  try: ")
    assert len(worker.find("cannot decode")) == len(prefetched) < 5
    assert prefetched == [14] + [1] * (len(prefetched) - 1)
    # Each record is in a file or, if the worker did not reach it, in its queue.
    in_files = read_tables(rows).records
    assert len(lab.peek("log.combat")) + in_files + len(lab.peek("log.lobby")) == logged + 1


def test_a_worker_that_has_lost_a_young_connection_writes_whole_files_again(start, lab, rows):
    proxy, url = proxy_before(lab.url)
    try:
        options = ("--channel", "combat", "--output", rows, "--batch", 5, "--batch-seconds", 60)
        worker = start("worker.py", *options, url=url)
        worker.wait_for(WAITING)
        proxy.cut()
        wait_until(
            lambda: (
                [one.what.prefetch_count for one in proxy.heard if type(one.what) is Basic.Qos]
                == [10, 1, 10]
            )
        )
        channel = lab.connection.channel()
        for number in range(5):
            properties = pika.BasicProperties(message_id=str(number))
            channel.basic_publish("", "log.combat", b"{}", properties)
        worker.wait_for("5 records in ")
    finally:
        proxy.close()


def test_odd_properties_disturb_no_worker(start, lab, rows):
    lab.declare("log.combat")
    channel = lab.connection.channel()
    channel.confirm_delivery()
    for _ in range(2):
        channel.basic_publish("", "log.combat", b"{}", pika.BasicProperties(**ODD), mandatory=True)
    worker = start("worker.py", "--channel", "combat", "--output", rows, "--exit-when-empty")
    assert worker.wait() == 0
    found = tables(start, rows)
    assert [row["id"] for row in found["rejects"]] == [r"\xe9t\xe9"] and found["twice"] == 1


# ---- the experiments


@pytest.mark.parametrize("fanout", [False, True], ids=["queues", "fanout"])
@pytest.mark.parametrize("experiment", ["one", "four", "away", "killed"])
def test_an_experiment(start, lab, experiment, fanout):
    games = ("--players", 16)
    if experiment == "killed":  # a long game, to leave time for the kill
        games = ("--players", 40, "--turn-seconds", "0.01")
    run = start("experiment.py", experiment, *games, *(["--fanout"] if fanout else []))
    assert run.wait(60) == 0, run.text()
    figures = re.search(r"^\w+, (?:queues|fanout) +(\d+) +(\d+) +(\d+) +(\d+) +[\d.]+$",
                        run.text("stdout"), re.M)  # fmt: skip
    logged, rows, twice, missing = map(int, figures.groups())
    if fanout:
        assert {
            "one": rows == logged and not missing,
            "four": rows == 4 * logged and not missing,
            "away": rows == 0 and missing == logged,
            "killed": missing > 0,
        }[experiment], run.text()
    else:
        assert missing == 0 and (rows == logged or experiment == "killed"), run.text()
    assert rows - twice == logged - missing
    assert bool(run.find("The tables are right")) == (missing == 0)
    assert bool(run.find("The tables are wrong")) == (missing > 0)
    assert lab.broker.api("GET", f"queues/{lab.vhost}") == []
    exchanges = lab.broker.api("GET", f"exchanges/{lab.vhost}")
    assert all(one["name"].startswith("amq.") or not one["name"] for one in exchanges)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_an_experiment_is_stopped_and_leaves_nothing(start, lab, tmp_path, number):
    folder = tmp_path / "tmp"
    folder.mkdir()
    places = {"PYTHONPATH": f"{ROOT}:{ROOT / 'labs'}", "TMPDIR": str(folder)}
    run = start("experiment.py", "one", "--players", 4000, env=places)
    wait_until(lambda: list(folder.glob("*/rows/*.jsonl")))
    run.process.send_signal(number)
    assert run.wait() == 130
    assert list(folder.iterdir()) == []
    assert lab.broker.api("GET", f"queues/{lab.vhost}") == []


# ---- bad input


@pytest.mark.parametrize(
    ("command", "code", "says"),
    [
        ("simulator.py --players 1", 2, "--players: '1' is not a number from 2 to 100000"),
        ("simulator.py --truth /no/such/file", 2, "cannot write /no/such/file (No such"),
        ("simulator.py --fanout a/b", 2, "letters, digits, dots"),
        ("worker.py --output rows", 2, "one of the arguments --channel --fanout is required"),
        ("worker.py --channel lobby --output /dev/null", 1, "cannot use /dev/null"),
        ("tables.py /no/such/folder", 1, "cannot read /no/such/folder (No such file"),
        ("experiment.py two", 2, "invalid choice: 'two'"),
        ("experiment.py one --port 1 --retry-for 0", 3, "cannot reach RabbitMQ"),
    ],
)
def test_bad_input_is_one_line(start, tmp_path, command, code, says):
    program, *arguments = command.split()
    told = start(program, *arguments, lab=None, cwd=tmp_path)
    assert told.wait() == code
    assert says in told.text("stderr") and "  try: " in told.text("stderr")


def test_a_file_that_no_worker_wrote_is_named(start, rows):
    rows.mkdir()
    assert start("tables.py", rows).wait_for(f"There is no file of rows in {rows}")
    (rows / "torn.jsonl").write_text('{"id": "x", "table": "hi')
    told = start("tables.py", rows)
    assert told.wait() == 1 and told.find("torn.jsonl is no file of rows")
    (rows / "torn.jsonl").rename(rows / "whole.txt")
    (rows / "torn.jsonl.gz").write_bytes(gzip.compress(b'{"id": 1}')[:-4])
    assert start("tables.py", rows).wait() == 1


def test_the_overhead_is_reckoned_against_the_game_without_shipping(capsys):
    from overhead import print_game

    print_game("The game", [2.0, 2.1, 3.0], 7)
    assert capsys.readouterr().out.splitlines() == [
        "The game",
        "  not shipped       2.00 s",
        "  RabbitHandler     2.10 s      +5.0 %   7 records dropped",
        "  one by one        3.00 s     +50.0 %",
    ]
