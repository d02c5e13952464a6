"""Test producer.py: its messages, its output, and that exit code 0 means all arrived."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pika
import pytest

from conftest import ROOT, Broker, Lab, Run, Script, of, read_journal, wait_until
from kit.exercise.proxy import Proxy
from producer import BrokerError, Producer, Undelivered, connect


def messages(lab: Lab) -> list[tuple[pika.BasicProperties, bytes]]:
    """Take all waiting messages; return the properties and body of each."""
    count, channel, found = lab.ready(), lab.connection.channel(), []
    if count:
        for _, properties, body in channel.consume(lab.queue, auto_ack=True):
            found.append((properties, body))
            if len(found) == count:
                break
    channel.close()
    return found


def on_terminal(terminal: Callable, lab: Lab, *arguments: object):
    return terminal(sys.executable, ROOT / "producer.py", "--queue", "q", *arguments, lab=lab)


def write(script: Script, data: bytes) -> None:
    script.process.stdin.write(data)
    script.process.stdin.flush()


def established(pid: int, lab: Lab) -> int:
    """Return the number of a process's connections to the broker that both sides keep open."""
    links = [os.readlink(path) for path in Path(f"/proc/{pid}/fd").iterdir() if path.is_symlink()]
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    peer, open_state = f":{lab.broker.port:04X}", "01"
    return sum(
        f"socket:[{row[9]}]" in links and row[2].endswith(peer) and row[3] == open_state
        for row in rows
    )


@contextlib.contextmanager
def standing_still(broker: Broker) -> Iterator[None]:
    """Freeze a broker for the block, which begins when all its threads stand still."""

    def state(path: Path) -> str:
        return path.read_text().rpartition(")")[2].split()[0]

    threads = Path(f"/proc/{broker.node.pid}/task")
    with broker.frozen():
        wait_until(lambda: {state(path) for path in threads.glob("*/stat")} == {"T"})
        yield


def counts(script: Script) -> tuple[int, int]:
    """Return the last line's counts of messages confirmed and not sent."""
    (found,) = re.findall(r"(\d+) messages? confirmed in \d+\.\d s, (\d+) not sent", script.text())
    return int(found[0]), int(found[1])


def peak_memory(script: Script) -> float:
    """Wait for a script's end; return its peak memory in MB."""
    peak = 0
    while script.process.poll() is None:
        status = Path(f"/proc/{script.process.pid}/status").read_text()
        if found := re.search(r"VmHWM:\s+(\d+)", status):
            peak = int(found[1]) / 1024
        time.sleep(0.01)
    assert script.wait() == 0, script.text()
    return peak


# ---- its messages


def test_each_argument_is_a_message_and_the_lines_say_so(lab: Lab, run: Run):
    lab.declare()
    sent = run("producer.py", "--queue", "q", "aaa", "bb", "", lab=lab)
    assert sent.wait() == 0
    assert sent.text("stdout") == " [x] Sent 'aaa'\n [x] Sent 'bb'\n [x] Sent ''"
    assert sent.text("stderr") == ""
    assert lab.take() == [b"aaa", b"bb", b""]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (b"aaa\nbb\n", [b"aaa", b"bb"]),
        (b"aaa\nbb", [b"aaa", b"bb"]),
        (b"aaa\r\nbb\r\n", [b"aaa", b"bb"]),
        (b"aaa\n\nbb\n", [b"aaa", b"", b"bb"]),
        (b"\xff\xfe\ngr\xc3\xbc\xc3\x9fe\n", [b"\xff\xfe", "grüße".encode()]),
        (b"\xef\xbb\xbfaaa\r\n\xef\xbb\xbf\r\n", [b"aaa", b"\xef\xbb\xbf"]),
        (b"", []),
    ],
    ids=[
        "lines",
        "no end",
        "Windows lines",
        "empty line",
        "not UTF-8",
        "byte order mark",
        "nothing",
    ],
)
def test_each_line_of_standard_input_is_a_message(lab: Lab, run: Run, lines, expected):
    lab.declare()
    sent = run("producer.py", "--queue", "q", lab=lab, stdin=lines)
    assert sent.wait() == 0, sent.text()
    assert lab.take() == expected
    assert len(sent.find(" [x] Sent ")) == len(expected)


def test_a_line_is_sent_when_it_comes_not_when_the_pipe_is_closed(lab: Lab, run: Run):
    lab.declare()
    sent = run("producer.py", "--queue", "q", lab=lab, stdin=subprocess.PIPE)
    for line in ("one", "two"):
        write(sent, f"{line}\n".encode())
        sent.wait_for(f" [x] Sent '{line}'")
        assert lab.take() == [line.encode()]
    write(sent, b"three")
    sent.process.stdin.close()
    sent.wait_for(" [x] Sent 'three'")
    assert sent.wait() == 0


def test_a_line_that_is_begun_does_not_keep_those_before_it_waiting(lab: Lab, run: Run):
    lab.declare()
    sent = run("producer.py", "--queue", "q", lab=lab, stdin=subprocess.PIPE)
    write(sent, b"one\ntwo\nthr")
    sent.wait_for(" [x] Sent 'two'")
    assert lab.take() == [b"one", b"two"]
    write(sent, b"ee\r\nfour")
    sent.process.stdin.close()
    assert sent.wait() == 0
    assert lab.take() == [b"three", b"four"]


def test_a_message_may_be_bytes_that_are_not_utf8(lab: Lab, run: Run):
    lab.declare()
    sent = run("producer.py", "--queue", "q", os.fsdecode(b"a\xff"), lab=lab)
    assert sent.wait() == 0
    assert sent.text() == " [x] Sent 'a\ufffd'"
    assert lab.take() == [b"a\xff"]


def test_a_message_of_10_mb_arrives(lab: Lab, run: Run):
    lab.declare()
    sent = run("producer.py", "--queue", "q", lab=lab, stdin=b"x" * 10_000_000)
    assert sent.wait() == 0, sent.text()
    assert sent.text() == f" [x] Sent '{'x' * 60}'... (10000000 bytes)"
    assert lab.take() == [b"x" * 10_000_000]


def test_a_line_of_120_mb_is_read_without_going_over_it_again_and_again(run: Run):
    # The cost must not grow with the square of the length. This needs no broker, and none would
    # accept such a message.
    code = """if True:
        import argparse, producer
        options = argparse.Namespace(messages=[], interval=0)
        print([len(body) for batch in producer.batches(options) for body in batch])
    """
    line = b"x" * 120_000_000 + b"\n" + b"y"
    cut = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, input=line, capture_output=True, timeout=30
    )
    assert cut.stdout.decode().split() == ["[120000000,", "1]"], cut.stderr


def test_many_large_messages_arrive(lab: Lab, run: Run):
    lab.declare()
    sent = run("producer.py", "--queue", "q", "--count", "300", "x" * 100_000, lab=lab)
    assert sent.wait() == 0, sent.text()
    assert lab.ready() == 300


def test_count_sends_them_all_that_many_times(lab: Lab, run: Run):
    lab.declare()
    sent = run("producer.py", "--queue", "q", "--count", "3", "a", "b", lab=lab)
    assert sent.wait() == 0
    assert lab.take() == [b"a", b"b"] * 3


def test_interval_waits_after_each_message(lab: Lab, run: Run, tmp_path: Path):
    lab.declare()
    journal = tmp_path / "run.jsonl"
    options = "--queue", "q", "--interval", "0.2", "--journal", journal
    assert run("producer.py", *options, "a", "b", "c", lab=lab).wait() == 0
    first, second, third = (line["monotonic"] for line in of(read_journal(journal), "sent"))
    assert second - first >= 0.2 and third - second >= 0.2


def test_interval_goes_for_standard_input_too(lab: Lab, run: Run):
    lab.declare()
    sent = run("producer.py", "--queue", "q", "--interval", "3600", lab=lab, stdin=b"a\nb\n")
    sent.wait_for(" [x] Sent 'a'")
    assert lab.take() == [b"a"]
    sent.interrupt()
    assert sent.wait() == 130
    assert lab.take() == []


@pytest.mark.parametrize(
    ("options", "durable", "kind"),
    [
        (["--durable"], True, "classic"),
        (["--queue-type", "quorum"], True, "quorum"),
        (["--durable", "--queue-type", "quorum"], True, "quorum"),
        (["--durable", "--queue-type", "classic"], True, "classic"),
    ],
)
def test_the_queue_is_created_as_asked_for(lab: Lab, run: Run, options, durable, kind):
    sent = run("producer.py", "--queue", "q", *options, "a", lab=lab)
    assert sent.wait() == 0, sent.text()
    queue = lab.broker.api("GET", f"queues/{lab.vhost}/q")
    assert (queue["durable"], queue["type"]) == (durable, kind)
    again = run("producer.py", "--queue", "q", "b", lab=lab)  # uses the queue as it finds it
    assert again.wait() == 0
    assert again.text() == " [x] Sent 'b'"


@pytest.mark.usefixtures("transient_queues")
def test_without_options_the_queue_is_created_as_the_tutorials_do(lab: Lab, run: Run):
    sent = run("producer.py", "--queue", "q", "a", lab=lab)
    assert sent.wait() == 0
    assert sent.text() == " [*] There is no queue 'q' yet: creating it\n [x] Sent 'a'"
    queue = lab.broker.api("GET", f"queues/{lab.vhost}/q")
    assert (queue["durable"], queue["type"], queue["auto_delete"]) == (False, "classic", False)


def test_persistent_messages_are_marked_so_and_each_has_its_message_id(lab: Lab, run: Run):
    lab.declare()
    assert run("producer.py", "--queue", "q", "a", "b", lab=lab).wait() == 0
    assert run("producer.py", "--queue", "q", "--persistent", "c", lab=lab).wait() == 0
    properties = [properties for properties, _ in messages(lab)]
    assert [one.delivery_mode for one in properties] == [1, 1, 2]
    assert len({one.message_id for one in properties}) == 3
    assert None not in {one.message_id for one in properties}


def test_it_sends_by_way_of_the_default_exchange(lab: Lab, run: Run):
    lab.declare()
    assert run("producer.py", "--queue", "q", "a", lab=lab).wait() == 0
    method, _, _ = lab.connection.channel().basic_get("q", auto_ack=True)
    assert (method.exchange, method.routing_key) == ("", "q")


# ---- its output


def test_many_messages_are_one_line_in_a_pipe(lab: Lab, run: Run):
    lab.declare()
    sent = run("producer.py", "--queue", "q", "--count", "5000", "a", lab=lab)
    assert sent.wait() == 0
    assert len(sent.lines) == 1 and counts(sent) == (5000, 0)
    assert lab.ready() == 5000


def test_many_messages_are_one_line_on_a_terminal(lab: Lab, terminal):
    lab.declare()
    sent = on_terminal(terminal, lab, "--count", "5000", "a")
    assert sent.wait() == 0
    said = r"( \[\*\] 5000 messages confirmed in \d+\.\d s, 0 not sent)\r\n"
    assert re.fullmatch(said, sent.text)
    assert lab.ready() == 5000


def test_on_a_terminal_it_says_how_to_type_messages(lab: Lab, terminal):
    lab.declare()
    sent = on_terminal(terminal, lab)
    sent.wait_for("Type a message, then Enter; end with Ctrl-D")
    sent.type("hello\n")
    sent.wait_for(" [x] Sent 'hello'")
    sent.type("\x04")
    assert sent.wait() == 0
    assert lab.take() == [b"hello"]


def test_it_sends_on_when_the_reader_of_its_output_has_gone(lab: Lab, run: Run):
    lab.declare()
    letters = list("abcdefghij")
    sent = run(
        "producer.py", "--queue", "q", "--interval", "0.02", *letters, lab=lab, shell="| head -1"
    )
    assert sent.wait() == 0
    assert sent.text() == " [x] Sent 'a'"
    assert lab.take() == [letter.encode() for letter in letters]


def test_where_the_output_has_no_room_the_messages_are_sent_once(lab: Lab, run: Run):
    lab.declare()
    sent = run("producer.py", "--queue", "q", "a", "b", lab=lab, shell=">/dev/full")
    assert sent.wait() == 0
    assert lab.take() == [b"a", b"b"]


@pytest.mark.parametrize("stdin", [False, True], ids=["--count", "standard input"])
def test_a_long_send_needs_no_more_memory_than_a_short_one(lab: Lab, run: Run, tmp_path, stdin):
    lab.declare(arguments={"x-max-length": 100})

    def send(count: int) -> float:
        if not stdin:
            return peak_memory(run("producer.py", "--queue", "q", "--count", count, "a", lab=lab))
        (tmp_path / "lines").write_text("some words\n" * count)
        return peak_memory(
            run("producer.py", "--queue", "q", lab=lab, shell=f"< {tmp_path / 'lines'}")
        )

    assert send(30_000) - send(10_000) < 2  # MB, or 100 bytes a message


# ---- naming messages that do not arrive


def test_a_queue_that_is_deleted_meanwhile_is_named(lab: Lab, run: Run):
    lab.declare()
    sent = run("producer.py", "--queue", "q", lab=lab, stdin=subprocess.PIPE)
    write(sent, b"a\n")
    sent.wait_for(" [x] Sent 'a'")
    lab.connection.channel().queue_delete("q")
    write(sent, b"b\n")
    sent.process.stdin.close()
    assert sent.wait() == 4
    assert sent.text("stderr") == " [!] Not sent: 'b' (no queue 'q' to go to)"
    assert counts(sent) == (1, 1)


def test_messages_that_the_broker_rejects_are_named(lab: Lab, run: Run):
    lab.declare(arguments={"x-max-length": 2, "x-overflow": "reject-publish"})
    sent = run("producer.py", "--queue", "q", *"abcde", lab=lab)
    assert sent.wait() == 4
    confirmed, refused = len(sent.find(" [x] Sent")), len(sent.find("(the broker refused it)"))
    assert confirmed == lab.ready() == 2
    assert refused == 3
    assert counts(sent) == (2, 3)


def refusing_queue(lab: Lab) -> None:
    lab.declare(arguments={"x-max-length": 10, "x-overflow": "reject-publish"})


@pytest.mark.parametrize("source", ["--count", "file", "pipe"])
def test_many_messages_that_the_broker_rejects_are_ten_lines_and_a_sum_that_is_right(
    lab: Lab, run: Run, tmp_path: Path, source
):
    refusing_queue(lab)
    total, lines = 5_000, b"".join(b"%d\n" % number for number in range(5_000))
    (tmp_path / "lines").write_bytes(lines)
    sources = {
        "--count": (["--count", total, "a"], {}),
        "file": ([], {"shell": f"< {tmp_path / 'lines'}"}),
        "pipe": ([], {"stdin": lines}),
    }
    words, options = sources[source]
    sent = run("producer.py", "--queue", "q", *words, lab=lab, **options)
    assert sent.wait() == 4
    confirmed, missing = counts(sent)
    assert confirmed == lab.ready() >= 10
    assert confirmed + missing == total
    assert len(sent.find(" [!] Not sent: ")) == len(sent.find("(the broker refused it)")) == 10
    assert "was not read" not in sent.text()


def test_ctrl_c_while_it_reads_says_that_the_rest_was_not_read(lab: Lab, run: Run):
    lab.declare()
    sent = run("producer.py", "--queue", "q", lab=lab, stdin=subprocess.PIPE)
    write(sent, b"a\nb\n")
    sent.wait_for(" [x] Sent 'b'")
    sent.interrupt()
    assert sent.wait() == 130
    assert counts(sent) == (2, 0)
    assert sent.lines[-1].text.endswith("0 not sent; the rest was not read")


def test_a_message_that_is_too_large_says_so_and_that_the_rest_was_not_read(lab: Lab, run: Run):
    lab.declare()
    limit = largest_message(lab.broker)
    lines = b"a\n" + b"x" * (limit + 1) + b"\n" + b"b\n"
    sent = run("producer.py", "--queue", "q", "--interval", 0.01, lab=lab, stdin=lines)
    assert sent.wait() == 4
    error, hint = sent.text("stderr").splitlines()[-2:]
    assert error.startswith("producer.py: error: ") and "larger than" in error
    assert "smaller messages" in hint
    assert counts(sent) == (1, 1)
    assert "the rest was not read" in sent.text("stdout")
    assert lab.take() == [b"a"]


def test_ctrl_c_names_what_is_not_confirmed_and_does_not_wait_for_the_broker(
    own_lab: Lab, run: Run, tmp_path: Path
):
    own_lab.declare()
    journal = tmp_path / "journal"
    options = ("--queue", "q", "--journal", journal)
    sent = run("producer.py", *options, lab=own_lab, stdin=subprocess.PIPE)
    write(sent, b"a\n")
    sent.wait_for(" [x] Sent 'a'")
    with standing_still(own_lab.broker):
        write(sent, b"b\nc\n")
        wait_until(lambda: journal.read_text().count('"sent"') == 2, "it is on its way")
        sent.interrupt()
        assert sent.wait() == 130
    assert sent.text("stderr") == " [!] Not sent: 'b' (not confirmed)"
    assert counts(sent) == (1, 2)


@pytest.mark.parametrize("stop", ["interrupt", "terminate"])
def test_ctrl_c_counts_what_was_not_tried_yet(lab: Lab, run: Run, stop):
    lab.declare()
    sent = run("producer.py", "--queue", "q", "--interval", "3600", "a", "b", "c", lab=lab)
    sent.wait_for(" [x] Sent 'a'")
    getattr(sent, stop)()
    assert sent.wait() == 130
    assert counts(sent) == (1, 2)
    assert lab.take() == [b"a"]


def test_ctrl_c_in_a_long_send_counts_what_is_missing(lab: Lab, run: Run):
    lab.declare(arguments={"x-max-length": 100})
    sent = run("producer.py", "--queue", "q", "--count", "1000000000", "a", lab=lab)
    wait_until(lambda: lab.ready() == 100)
    sent.interrupt()
    assert sent.wait() == 130
    assert sum(counts(sent)) == 1_000_000_000
    assert len(sent.find("Not sent: 'a'")) <= 10


# ---- the broker goes away


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_when_the_broker_is_restarted_in_a_long_send_all_messages_arrive(
    own_lab: Lab, run: Run, how
):
    own_lab.declare()
    own_lab.broker.flush_to_disk()
    lines = "".join(f"{number}\n" for number in range(10_000))
    sent = run("producer.py", "--queue", "q", "--persistent", lab=own_lab, stdin=subprocess.PIPE)
    write(sent, lines[:25_000].encode())
    wait_until(lambda: own_lab.ready() > 500)
    node = own_lab.broker.node
    node.stop() if how == "stop" else node.kill()
    feeding = threading.Thread(target=write, args=(sent, lines[25_000:].encode()))
    feeding.start()  # more than the pipe holds until the broker is back
    node.start()
    feeding.join()
    sent.process.stdin.close()
    assert sent.wait() == 0, sent.text()
    assert 1 <= len(sent.find(" [!] Lost RabbitMQ at 127.0.0.1:")) <= 3
    again = sum(map(int, re.findall(r"Connected again; (\d+) messages? to send", sent.text())))
    own_lab.reconnect()
    arrived = messages(own_lab)
    assert {int(body) for _, body in arrived} == set(range(10_000))
    assert len({properties.message_id for properties, _ in arrived}) == 10_000
    assert len(arrived) <= 10_000 + again


def test_while_the_broker_is_short_of_memory_it_says_so_once_and_waits(own_lab: Lab, run: Run):
    own_lab.declare()
    with own_lab.broker.short_of_memory():
        sent = run("producer.py", "--queue", "q", *"abc", lab=own_lab)
        sent.wait_for(" [!] The broker is short of memory or disk and makes us wait")
        assert sent.process.poll() is None
    assert sent.wait() == 0
    assert len(sent.find("[!]")) == 1
    assert own_lab.take() == [b"a", b"b", b"c"]


# ---- from Python


def test_from_python_with_closes_the_connection(lab: Lab):
    lab.declare()
    host = {"host": "127.0.0.1", "port": lab.broker.port, "vhost": lab.vhost}
    before = established(os.getpid(), lab)
    with Producer(queue="q", **host) as p:
        assert established(os.getpid(), lab) == before + 1
        p.send("Hello World!")
        p.send(b"\xff")
        p.send_all(["a", "b"])
        assert p.unconfirmed == []
    assert lab.take() == [b"Hello World!", b"\xff", b"a", b"b"]
    wait_until(lambda: established(os.getpid(), lab) == before, "the connection is closed")


def test_from_python_what_was_not_sent_is_an_error_and_the_next_message_goes(lab: Lab):
    lab.declare()
    with Producer(queue="q", url=lab.url) as p:
        lab.connection.channel().queue_delete("q")
        with pytest.raises(Undelivered, match="no queue 'q' to go to") as caught:
            p.send_all(["a", "b"])
        assert [body for body, _ in caught.value.messages] == [b"a", b"b"]
        lab.declare()
        p.send("c")
    assert lab.take() == [b"c"]


def test_from_python_a_producer_left_alone_for_long_sends_exactly_once(lab: Lab, capfd):
    lab.declare()
    p = Producer(queue="q", url=lab.url, heartbeat=1)
    p.send("one")
    before = established(os.getpid(), lab)
    wait_until(lambda: established(os.getpid(), lab) < before, "the broker hangs up")
    p.send("two")
    p.send("three")
    assert lab.take() == [b"one", b"two", b"three"]
    printed = capfd.readouterr().err
    assert len(printed.splitlines()) == 1 and printed.startswith(" [!] Lost RabbitMQ")
    p.close()


def test_from_python_after_lost_connections_it_sends_exactly_once(
    lab: Lab, proxied: tuple[Proxy, str]
):
    proxy, url = proxied
    lab.declare()
    with Producer(queue="q", url=url, persistent=True) as p:
        p.send("one")
        proxy.cut()
        p.send("two")
        proxy.cut()
        p.send_all(["three", "four"])
    assert lab.take() == [b"one", b"two", b"three", b"four"]


@pytest.mark.parametrize("odd", [42, None, ["a"], {"a": 1}, bytearray(b"a")])
def test_from_python_what_is_no_message_is_refused_and_the_next_message_goes(lab: Lab, odd):
    lab.declare()
    with Producer(queue="q", url=lab.url) as p:
        p.send("a")
        with pytest.raises(TypeError, match="str or bytes"):
            p.send(odd)
        assert p.confirmed == 1
        p.send("b")
        with pytest.raises(TypeError, match="str or bytes"):
            p.send_all(["c", odd, "d"])
        p.send("e")
        assert p.unconfirmed == []
    arrived = lab.take()
    assert [body for body in arrived if body != b"c"] == [b"a", b"b", b"e"]  # "c" had been sent


def largest_message(broker: Broker) -> int:
    """Return the broker's limit in bytes: 3.10 has 128 MiB, 4.x has 16 MiB."""
    version = broker.api("GET", "overview")["rabbitmq_version"]
    return 2**27 if version.startswith("3.") else 2**24


def test_from_python_a_message_that_is_too_large_is_refused_and_the_next_message_goes(lab: Lab):
    lab.declare()
    with Producer(queue="q", url=lab.url) as p:
        p.send("a")
        for _ in range(2):
            with pytest.raises(BrokerError, match="larger than") as caught:
                p.send(b"x" * (largest_message(lab.broker) + 1))
            assert caught.value.code == 4
            assert "smaller messages" in caught.value.hint
        p.send("b")
        assert p.confirmed == 2
    assert lab.take() == [b"a", b"b"]


@pytest.mark.parametrize("when", ["at once", "in the middle"])
def test_from_python_after_ctrl_c_the_next_message_goes(lab: Lab, when):
    lab.declare()

    def interrupted():
        for number in range(1_000_000):
            if number == (0 if when == "at once" else 2_345):
                signal.raise_signal(signal.SIGINT)
            yield f"{number}"

    with Producer(queue="q", url=lab.url) as p:
        for round in range(3):
            with pytest.raises(KeyboardInterrupt):
                p.send_all(interrupted())
            p.send(f"after {round}")
    arrived = [body for body in lab_bodies(lab) if body.startswith(b"after")]
    assert arrived == [b"after %d" % round for round in range(3)]


def test_from_python_after_ctrl_c_while_it_waits_the_next_message_goes(own_lab: Lab):
    own_lab.declare()
    here = threading.main_thread().ident

    def interrupt() -> None:
        wait_until(lambda: len(p.unconfirmed) == 2, "both are on their way")
        signal.pthread_kill(here, signal.SIGINT)

    with Producer(queue="q", url=own_lab.url) as p:
        p.send("a")
        with standing_still(own_lab.broker):
            threading.Thread(target=interrupt).start()
            with pytest.raises(KeyboardInterrupt):
                p.send_all(["b", "c"])
            assert p.unconfirmed == [b"b", b"c"]
        p.send("d")
        assert p.unconfirmed == []
    arrived = own_lab.take()
    assert [body for body in arrived if body in b"ad"] == [b"a", b"d"]


def lab_bodies(lab: Lab) -> list[bytes]:
    return [body for _, body in messages(lab)]


def test_from_python_threads_may_share_a_producer(lab: Lab):
    lab.declare()
    with Producer(queue="q", url=lab.url) as p:

        def send(thread: int) -> None:
            for number in range(100):
                p.send(f"{thread} {number}")
            p.send_all(f"{thread} {number}" for number in range(100, 200))

        threads = [threading.Thread(target=send, args=(n,), daemon=True) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
        assert not any(thread.is_alive() for thread in threads)
        assert p.confirmed == 1600
    arrived = lab_bodies(lab)
    assert len(arrived) == 1600
    for thread in range(8):  # each thread's messages are in the order it sent them
        own = [int(body.split()[1]) for body in arrived if body.split()[0] == b"%d" % thread]
        assert own == list(range(200))


def test_from_python_an_error_of_one_thread_leaves_the_others_alone(lab: Lab):
    lab.declare()
    with Producer(queue="q", url=lab.url) as p:

        def send(thread: int) -> None:
            for number in range(50):
                p.send(f"{thread} {number}")
                if thread == 0:
                    with pytest.raises(TypeError):
                        p.send(42)

        threads = [threading.Thread(target=send, args=(n,), daemon=True) for n in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
        assert not any(thread.is_alive() for thread in threads)
    assert len(lab_bodies(lab)) == 150


@pytest.mark.parametrize("name", ["hello\r", "hello\n", "\x1b[31m", "", "q" * 256, "\udce9"])
def test_from_python_a_name_that_the_broker_would_alter_is_refused_at_once(lab: Lab, name):
    with pytest.raises(Exception, match="printable UTF-8") as caught:
        Producer(queue=name, url=lab.url)
    assert repr(name) in str(caught.value)


def test_from_ipython_a_producer_left_alone_for_long_sends_exactly_once(
    lab: Lab, terminal, tmp_path
):
    lab.declare()
    settings = f"PYTHONPATH={ROOT}", f"IPYTHONDIR={tmp_path}"
    ipython = sys.executable, "-m", "IPython", "--simple-prompt", "--no-banner", "--no-confirm-exit"
    prompt = terminal("env", *settings, *ipython, lab=lab)
    prompt.wait_for("In [1]: ")
    prompt.type("from producer import Producer\n")
    prompt.wait_for("In [2]: ")
    prompt.type('p = Producer(queue="q", heartbeat=1)\n')
    prompt.wait_for("In [3]: ")
    prompt.type('p.send("one")\n')
    prompt.wait_for("In [4]: ")
    wait_until(lambda: not established(prompt.process.pid, lab), "the broker hangs up")
    prompt.type('p.send("two")\n')
    prompt.wait_for("In [5]: ")
    assert "Traceback" not in prompt.text
    assert lab.take() == [b"one", b"two"]
    prompt.type("exit\n")
    assert prompt.wait() == 0


def test_connect_gives_a_plain_pika_connection(lab: Lab):
    connection = connect(host="127.0.0.1", port=lab.broker.port, vhost=lab.vhost)
    assert type(connection) is pika.BlockingConnection
    channel = connection.channel()
    channel.queue_declare(queue="hello", durable=True)
    channel.basic_publish(exchange="", routing_key="hello", body="Hello World!")
    connection.close()
    assert lab.take("hello") == [b"Hello World!"]


@pytest.mark.parametrize("script", ["producer", "consumer", "qprocessor"])
def test_importing_a_script_does_and_prints_nothing(script):
    code = f"""if True:
        import signal, sys, threading
        before = [signal.getsignal(number) for number in signal.valid_signals()]
        done = []
        sys.addaudithook(lambda event, args: event.startswith("socket.connect") and done.append(1))
        import {script}
        assert not done, "it connected"
        assert threading.active_count() == 1, "it started a thread"
        assert before == [signal.getsignal(number) for number in signal.valid_signals()]
    """
    imported = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, timeout=30
    )
    assert (imported.returncode, imported.stdout, imported.stderr) == (0, b"", b"")


def test_from_python_a_login_that_is_refused_is_a_broker_error(broker: Broker):
    with pytest.raises(BrokerError, match="Login was refused") as caught:
        connect(host="127.0.0.1", port=broker.port, username="ada", password="wrong")
    assert caught.value.code == 4
    assert "--username" in caught.value.hint and "wrong" not in str(caught.value)
