"""Test lab 7's programs on a real broker: who hears what, who misses what, at what cost."""

import contextlib
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pika
import pytest
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
from kit.cli import LOCALHOST
from kit.exercise.proxy import Proxy, proxy_before
from strange import ODD

FOLDER = "labs/07-publish-subscribe"
WAITING = "To exit press CTRL+C"
Start = Callable[..., Script]


@pytest.fixture
def start(run: Run, lab: Lab) -> Iterator[Start]:
    """Return a function that starts a program of the lab; fail on tracebacks."""
    scripts: list[Script] = []

    def start(name: str, *arguments: object, **more) -> Script:
        more = {"lab": lab} | more
        port = str(more["lab"].broker.management_port)
        environment = {"PYTHONPATH": str(ROOT), "LAB_MANAGEMENT_PORT": port} | more.pop("env", {})
        scripts.append(run(f"{FOLDER}/{name}", *arguments, env=environment, **more))
        return scripts[-1]

    yield start
    for script in scripts:
        assert "Traceback" not in script.text()


def write(script: Script, *lines: str | bytes) -> None:
    """Write lines to a program's standard input."""
    for line in lines:
        script.process.stdin.write((line.encode() if isinstance(line, str) else line) + b"\n")
    script.process.stdin.flush()


def received(script: Script) -> list[str]:
    """Return the messages that a subscriber has printed."""
    return re.findall(r" \[x\] Received '(.*?)'", script.text("stdout"))


@pytest.fixture
def subscriber(start: Start) -> Start:
    """Return a function that starts subscribe.py and waits until it is subscribed."""

    def subscribe(*arguments: object, **more) -> Script:
        script = start("subscribe.py", *arguments, **more)
        script.wait_for(WAITING)
        return script

    return subscribe


def leave(reader: Script) -> None:
    """Stop a program; it must exit with 0."""
    reader.terminate()
    assert reader.wait() == 0


@pytest.fixture
def emit(start: Start) -> Start:
    """Return a function that runs emit.py to its end and checks its exit code."""

    def emit(*arguments: object, code: int = 0, **more) -> Script:
        script = start("emit.py", *arguments, **more)
        assert script.wait() == code, script.text()
        return script

    return emit


# ---- polling


@pytest.fixture
def publisher(start: Start) -> Start:
    """Return a function that starts publisher.py --http; `address` is its URL."""

    def publish(*arguments: object, port: int = 0) -> Script:
        script = start(
            "publisher.py", "--http", "--http-port", port, *arguments, stdin=subprocess.PIPE
        )
        script.address = re.search(r"http://\S+", script.wait_for("Answering").text)[0].rstrip(",")
        return script

    return publish


def ask(address: str) -> dict:
    with urllib.request.urlopen(address, timeout=10) as page:
        return json.load(page)


def test_who_asks_hears_of_every_event_and_counts_the_questions(publisher: Start, start: Start):
    station = publisher()
    poller = start("poll.py", station.address, "--every", 0.5)
    poller.wait_for(WAITING)
    for event in ("rain", "snow"):
        write(station, event)
        poller.wait_for(f"'{event}'")
    leave(poller)
    assert [line.text for line in poller.find(" [x] ")] == [
        " [x] Event 1: 'rain'",
        " [x] Event 2: 'snow'",
    ]
    requests, in_vain = map(int, re.search(r"(\d+) requests, (\d+)", poller.text()).groups())
    assert requests == in_vain + 2 > 2
    leave(station)
    said = r"(\d+) requests answered, (\d+) of them with nothing new"
    answered, empty = map(int, re.search(said, station.text()).groups())
    assert answered == empty + 2
    assert answered in (requests, requests - 1)  # the last request may have had no answer


def test_who_asks_too_late_misses_what_is_no_longer_kept(publisher: Start, start: Start):
    station = publisher("--keep", 2)
    write(station, *"abcde")
    station.wait_for("Event 5")
    poller = start("poll.py", station.address, "--after", 1, "--every", 60)
    poller.wait_for(WAITING)
    leave(poller)
    assert poller.find(" [*] 1 request, 0 of them in vain; 2 events")
    assert "Missed 2 events" in poller.text("stderr")
    assert [line.text for line in poller.find("Event")] == [
        " [x] Event 4: 'd'",
        " [x] Event 5: 'e'",
    ]


def test_a_publisher_that_was_away_is_asked_on(publisher: Start, start: Start):
    station = publisher()
    write(station, "old")
    poller = start("poll.py", station.address, "--every", 0.05)
    poller.wait_for("'old'")
    leave(station)
    poller.wait_for("; asking on")
    again = publisher(port=int(station.address.split(":")[2].split("/")[0]))
    poller.wait_for("answers again")
    write(again, "new")
    poller.wait_for("Event 1: 'new'")
    leave(poller)
    assert len(poller.find("; asking on")) == 1
    assert len(poller.find("started anew")) == 1


def test_nonsense_does_no_harm_to_the_publisher(publisher: Start):
    station = publisher()
    write(station, "rain")
    station.wait_for("Event 1")
    for path in (
        "",
        "/events?after=-1",
        "/events?after=x",
        "/events/../etc",
        "/events?after=1&b=2",
    ):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            ask(station.address.replace("/events", path))
    host, port = station.address.split("/")[2].split(":")
    for garbage in (b"\x16\x03\x01\0\0", b"GET " + b"/" * 70_000 + b" HTTP/1.1\r\n\r\n"):
        with socket.create_connection((host, int(port)), timeout=10) as rude:
            rude.sendall(garbage)
    assert ask(station.address)["events"] == [{"number": 1, "text": "rain"}]
    assert host == LOCALHOST


@pytest.mark.parametrize("answer", [b"<html>hello", b"[]", b'{"events": 3}', b'{"started": {}}'])
def test_what_is_no_publisher_is_said(start: Start, answer: bytes):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer((LOCALHOST, 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        poller = start("poll.py", f"http://{LOCALHOST}:{server.server_port}/events")
        assert poller.wait() == 3
        assert "it answers, but is no publisher.py" in poller.text("stderr")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_an_address_that_is_not_the_publishers_is_said(publisher: Start, start: Start):
    poller = start("poll.py", publisher().address.removesuffix("/events"))
    assert poller.wait() == 3
    assert "(it says 404)\n  try: the address ends in /events" in poller.text("stderr")


def test_an_event_cannot_play_with_the_terminal(publisher: Start, start: Start):
    station = publisher()
    write(station, b"\x1b]0;mine\x07 \xff")
    poller = start("poll.py", station.address)
    poller.wait_for("Event 1: '\\x1b]0;mine\\x07")
    assert "\x1b" not in poller.text() + station.text()


def test_events_can_be_typed(terminal, lab: Lab):
    typed = terminal(
        sys.executable, ROOT / FOLDER / "publisher.py", "--http", "--http-port", 0, lab=lab
    )
    typed.wait_for("> ")
    typed.type("rain\n")
    typed.wait_for("Event 1: 'rain'")
    typed.type("\x04")
    assert typed.wait() == 0
    assert "Traceback" not in typed.text


# ---- a work queue, and exchanges


def test_a_publisher_may_share_events_out_or_copy_them(
    start: Start, subscriber: Start, run: Run, lab: Lab
):
    jobs = start("publisher.py", "--queue", "jobs", "--durable", stdin=subprocess.PIPE)
    jobs.wait_for("one worker of queue 'jobs'")
    workers = [run("consumer.py", "--queue", "jobs", lab=lab) for _ in range(2)]
    copies = [subscriber("--exchange", "news") for _ in range(2)]
    news = start("publisher.py", "--exchange", "news", stdin=subprocess.PIPE)
    for worker in workers:
        worker.wait_for(WAITING)
    for station in (jobs, news):
        write(station, *"abcd")
        station.wait_for("Event 4: 'd'")
    wait_until(lambda: sorted(received(workers[0]) + received(workers[1])) == list("abcd"))
    assert len(received(workers[0])) == 2
    wait_until(lambda: [received(one) for one in copies] == [list("abcd")] * 2)


def test_a_publisher_counts_what_it_has_sent(start: Start):
    for lines, said in ((["a", "", "  \t", "b"], "2 events sent"), (["a"], "1 event sent")):
        news = start("publisher.py", "--exchange", "news", stdin=subprocess.PIPE)
        write(news, *lines)
        news.wait_for(f"Event {said[0]}: ")
        news.interrupt()
        assert news.wait() == 0
        assert news.text("stdout").endswith(f" [*] {said}")


def test_ctrl_c_while_a_message_is_being_sent_is_no_error(run: Run, lab: Lab):
    interrupted = "tests/interrupt_half_sent.py", ROOT / FOLDER / "publisher.py"
    news = run(*interrupted, "--exchange", "news", lab=lab, stdin=subprocess.PIPE)
    write(news, "a")
    assert news.wait() == 0
    assert news.text().endswith(" [*] 1 event sent")


def test_an_exchange_that_is_made_is_said(start: Start, subscriber: Start, emit: Start):
    creating = " [*] There is no exchange '{}' yet: creating it"
    assert subscriber("--exchange", "one").text("stdout").startswith(creating.format("one"))
    assert emit("--exchange", "two", "x").text("stdout").startswith(creating.format("two"))
    third = start("publisher.py", "--exchange", "three")
    assert third.wait() == 0
    assert third.text("stdout").startswith(creating.format("three"))
    assert "creating" not in emit("--exchange", "one", "x").text()


def test_a_direct_exchange_goes_by_the_key(subscriber: Start, emit: Start):
    log = ("--exchange", "log", "--type", "direct")
    errors = subscriber(*log, "--bind", "error")
    both = subscriber(*log, "--bind", "error", "--bind", "warning", "-n", 2)
    emit(*log, "--key", "warning", "w")
    emit(*log, "--key", "error", "e")
    errors.wait_for("Received 'e' (key 'error')")
    assert both.wait() == 0
    assert (received(errors), received(both)) == (["e"], ["w", "e"])
    dropped = emit(*log, "--key", "info", "i")
    assert dropped.text() == " [!] Nobody is subscribed to 'log', key 'info': 'i' is dropped"


KEYS = ("error", "kern.error", "kern.disk.error", "kern.error.disk", "kern", "mail.info")
PATTERNS = {
    "*.error": {"kern.error"},
    "#.error": {"error", "kern.error", "kern.disk.error"},
    "kern.#": {"kern.error", "kern.disk.error", "kern.error.disk", "kern"},
    "*": {"error", "kern"},
    "#": set(KEYS),
    "kern.*.error": {"kern.disk.error"},
    "kern*": set(),
}


def test_a_pattern_for_a_direct_exchange_is_said(subscriber: Start):
    direct = ("--exchange", "log", "--type", "direct", "--bind", "error")
    takes = " [!] A direct exchange takes '*' and '#' letter by letter; patterns need --type topic"
    assert subscriber(*direct, "*.error").text("stderr") == takes
    assert subscriber(*direct).text("stderr") == ""


def test_a_topic_exchange_goes_by_patterns(subscriber: Start, emit: Start):
    topic = ("--exchange", "logs", "--type", "topic")
    readers = {pattern: subscriber(*topic, "--bind", pattern, "end") for pattern in PATTERNS}
    for key in (*KEYS, "end"):
        emit(*topic, "--key", key, key)
    for reader in readers.values():
        reader.wait_for("'end'")
        leave(reader)
    heard = {pattern: set(received(reader)) - {"end"} for pattern, reader in readers.items()}
    assert heard == PATTERNS
    half = [pattern for pattern, reader in readers.items() if reader.find("is no pattern")]
    assert half == ["kern*"]


def test_who_is_away_misses_it_unless_a_queue_of_theirs_stays(subscriber: Start, emit: Start):
    news, kept = ("--exchange", "news"), ("--queue", "kept", "--durable")
    for reader in (subscriber(*news), subscriber(*news, *kept)):
        leave(reader)
    emit(*news, "meanwhile")
    own, durable = subscriber(*news), subscriber(*news, *kept)
    emit(*news, "now")
    own.wait_for("'now'")
    durable.wait_for("'now'")
    assert (received(own), received(durable)) == (["now"], ["meanwhile", "now"])


def test_a_limit_leaves_the_rest_in_the_queue(subscriber: Start, emit: Start, lab: Lab):
    news = ("--exchange", "news", "--queue", "kept", "--durable")
    leave(subscriber(*news))
    emit("--exchange", "news", *"abcde")
    reader = subscriber(*news, "--limit", 2)
    assert reader.wait() == 0
    assert received(reader) == ["a", "b"]
    assert lab.take("kept") == [b"c", b"d", b"e"]


def test_the_default_exchange_knows_every_queue_by_its_name(emit: Start, lab: Lab):
    lab.declare("ada")
    emit("--exchange", "", "--key", "ada", "hello")
    assert lab.take("ada") == [b"hello"]
    sent = emit("--exchange", "", "--key", "bob", "hello", code=4)
    assert sent.text() == " [!] There is no queue 'bob': 'hello' is dropped"


def test_lines_of_standard_input_are_sent_as_they_come(subscriber: Start, start: Start):
    reader = subscriber("--exchange", "news")
    sender = start("emit.py", "--exchange", "news", stdin=subprocess.PIPE)
    for line in ("one", "two"):
        write(sender, line)
        reader.wait_for(f"'{line}'")
    sender.process.stdin.close()
    assert sender.wait() == 0


@pytest.mark.parametrize("program", ["emit.py", "publisher.py"])
def test_who_types_slowly_is_not_cut_off(start: Start, lab: Lab, program: str):
    """Heartbeats are off: they would cut off a program that waits minutes for a line."""
    start(program, "--exchange", "news", stdin=subprocess.PIPE)
    wait_until(lambda: [one.get("timeout") for one in lab.connections(program)] == [0])


@pytest.mark.parametrize("option", [[], ["--persistent"]])
def test_persistent_is_said_to_the_broker(emit: Start, lab: Lab, option: list[str]):
    lab.declare("ada")
    emit("--exchange", "", "--key", "ada", *option, "x")
    (_, properties, _), *_ = lab.take_all("ada")
    assert properties.delivery_mode == (2 if option else 1)


def test_a_queue_that_is_full_refuses(emit: Start, lab: Lab):
    full = {"x-max-length": 1, "x-overflow": "reject-publish"}
    lab.declare("small", arguments=full)
    sent = emit("--exchange", "", "--key", "small", "one", "two", code=4)
    assert sent.text("stderr").splitlines() == [
        "emit.py: error: the broker refused the message",
        "  try: see on the management page which of the queues is full",
    ]
    assert lab.take("small") == [b"one"]


# ---- connections that are lost


def test_a_cut_connection_is_made_again_and_what_was_lost_is_said(
    subscriber: Start, start: Start, emit: Start, lab: Lab
):
    proxy, url = proxy_before(lab.url)
    try:
        news = ("--exchange", "news")
        own = subscriber(*news, url=url)
        durable = subscriber(*news, "--queue", "kept", "--durable", url=url)
        sender = start("emit.py", *news, url=url, stdin=subprocess.PIPE)
        write(sender, "before")
        for reader in (own, durable):
            reader.wait_for("'before'")
        sender.wait_for("Sent 'before'")  # it is confirmed
        wait_until(
            lambda: len([one for one in proxy.heard if isinstance(one.what, Basic.Ack)]) == 3,
            "both have acknowledged, and the broker has confirmed",
        )
        proxy.play_dead()
        proxy.cut()
        for reader in (own, durable):
            reader.wait_for("Lost RabbitMQ")
        emit(*news, "meanwhile")
        proxy.play_dead(False)
        own.wait_for("what was sent meanwhile has gone past us")
        durable.wait_for("what was sent meanwhile is in the queue")
        for reader in (own, durable):
            reader.wait_for(WAITING, count=2)
        write(sender, "after")
        for reader in (own, durable):
            reader.wait_for("'after'")
        sender.wait_for("Connected again")
        creating = [len(one.find("creating it")) for one in (own, durable, sender)]
        assert creating == [1, 0, 0]  # no second one
        assert received(own) == ["before", "after"]
        # If the cut stopped an acknowledgement, its message comes a second time.
        assert list(dict.fromkeys(received(durable))) == ["before", "meanwhile", "after"]
    finally:
        proxy.close()


def test_a_broker_that_crashes_keeps_the_durable_ones_messages(
    subscriber: Start, start: Start, emit: Start, own_lab: Lab
):
    news = ("--exchange", "news")
    durable = subscriber(*news, "--queue", "kept", "--durable", lab=own_lab)
    own = subscriber(*news, lab=own_lab)
    leave(durable)
    emit(*news, "--persistent", "before", lab=own_lab)
    own.wait_for("'before'")
    own_lab.broker.flush_to_disk()
    own_lab.broker.node.kill()
    own_lab.broker.node.start()
    own.wait_for(WAITING, count=2, within=60)
    emit(*news, "after", lab=own_lab)
    own.wait_for("'after'")
    durable = subscriber(*news, "--queue", "kept", "--durable", lab=own_lab)
    durable.wait_for("'after'")
    assert received(durable) == ["before", "after"]
    own_lab.reconnect()


def test_a_queue_that_is_deleted_is_made_anew(subscriber: Start, emit: Start, lab: Lab):
    reader = subscriber("--exchange", "news", "--queue", "kept", "--durable")
    lab.connection.channel().queue_delete("kept")
    reader.wait_for("queue 'kept' was deleted")
    reader.wait_for("what was sent meanwhile has gone past us")
    reader.wait_for(WAITING, count=2)
    emit("--exchange", "news", "after")
    reader.wait_for("'after'")


# ---- messages from strangers


def publish(lab: Lab, body: bytes, properties: pika.BasicProperties, key: str | bytes = "") -> None:
    """Publish to the exchange "news" a message that our own programs would not send."""
    channel = lab.connection.channel()
    channel.confirm_delivery()
    channel.basic_publish("news", key, body, properties, mandatory=True)
    channel.close()


def test_a_connection_that_is_lost_at_the_limit_is_not_made_again(
    start: Start, subscriber: Start, lab: Lab, proxied: tuple[Proxy, str]
):
    kept = ("--exchange", "news", "--queue", "kept", "--durable")
    leave(subscriber(*kept))
    for body in (b"a", b"b", b"c"):
        publish(lab, body, pika.BasicProperties())
    proxy, url = proxied
    proxy.before_cancel = proxy.cut
    reader = start("subscribe.py", *kept, "-n", 2, url=url)
    assert reader.wait() == 0, reader.text()
    assert proxy.before_cancel is None, "no basic.cancel was seen"
    assert received(reader) == ["a", "b"]


@pytest.mark.skipif(undecodable_is_fine(), reason="pika decodes it")
def test_a_message_that_cannot_be_decoded_ends_a_durable_subscriber_after_some_tries(
    start: Start, subscriber: Start, emit: Start, lab: Lab
):
    kept = ("--exchange", "news", "--queue", "kept", "--durable")
    leave(subscriber(*kept))
    publish(lab, b"bad", UndecodableProperties())
    emit("--exchange", "news", "good")
    proxy, url = proxy_before(lab.url)
    try:
        reader = start("subscribe.py", *kept, url=url)
        assert reader.wait() == 1
        prefetched = [one.what.prefetch_count for one in proxy.heard if type(one.what) is Basic.Qos]
    finally:
        proxy.close()
    error, hint = reader.text("stderr").splitlines()[-2:]
    assert error.startswith("subscribe.py: error: pika cannot decode the next message (")
    assert "is out of range" in error and hint.startswith("  try: ")
    assert len(reader.find("cannot decode")) == len(prefetched) < 5
    assert prefetched == [100] + [1] * (len(prefetched) - 1)  # a bad one goes back alone
    assert lab.ready("kept") == 2


@pytest.mark.skipif(undecodable_is_fine(), reason="pika decodes it")
def test_a_message_that_cannot_be_decoded_goes_with_a_subscriber_s_own_queue(
    subscriber: Start, emit: Start, lab: Lab
):
    reader = subscriber("--exchange", "news")
    publish(lab, b"bad", UndecodableProperties())
    reader.wait_for("what was sent meanwhile has gone past us")
    reader.wait_for(WAITING, count=2)
    emit("--exchange", "news", "good")
    reader.wait_for("Received 'good'")
    assert len(reader.find("cannot decode the next message")) == 1
    leave(reader)


def test_odd_properties_and_keys_do_no_harm(subscriber: Start, lab: Lab):
    reader = subscriber("--exchange", "news", "--type", "topic", "--bind", "#")
    publish(lab, b"odd", pika.BasicProperties(**ODD), key=b"\xe9\x1b")
    reader.wait_for("Received 'odd' (key b'\\xe9\\x1b')")
    leave(reader)
    assert reader.text("stderr") == ""


def test_the_last_line_counts_in_plain_english(subscriber: Start, emit: Start):
    for limit, said in ((1, "1 message received"), (2, "2 messages received")):
        reader = subscriber("--exchange", "news", "-n", limit)
        emit("--exchange", "news", "a", "b")
        assert reader.wait() == 0
        assert reader.lines[-1].text == f" [*] {said}"


# ---- errors


@pytest.fixture
def fanout(lab: Lab) -> str:
    """Return the name of a fanout exchange that exists."""
    lab.connection.channel().exchange_declare("there", "fanout", durable=True)
    lab.connection.channel().exchange_declare("patterns", "topic", durable=True)
    lab.connection.channel().exchange_declare("passing", "fanout", durable=False)
    return "there"


TOPIC = ("--type", "topic", "--bind", "x")
X = "x" * 256


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        (("emit.py", "--exchange", "there", "--type", "direct", "--key", "k", "m"), 4,
         "received 'direct' but current is 'fanout'\n  try: --type fanout, or another"),
        (("subscribe.py", "--exchange", "there", *TOPIC), 4, "try: --type fanout, or another"),
        (("publisher.py", "--exchange", "patterns"), 4,
         "another --exchange name (publisher.py knows fanout only; emit.py has --type)"),
        (("emit.py", "--exchange", "passing", "m"), 4, "subscribe.py --delete first"),
        (("emit.py", "--exchange", "amq.mine", "m"), 4, "begin with amq. are the broker's own"),
        (("subscribe.py", "--exchange", "amq.mine"), 4, "begin with amq. are the broker's own"),
        (("subscribe.py", "--exchange", "there", "--queue", "amq.q", "--durable"), 4,
         "begin with amq. are the broker's own"),
        (("subscribe.py", "--delete", "--exchange", "amq.fanout"), 4, "the broker's own"),
        (("subscribe.py", "--exchange", "log", "--type", "direct"), 2, "add --bind KEY"),
        (("subscribe.py", "--exchange", "log", "--type", "topic"), 2, "add --bind KEY"),
        (("subscribe.py", "--exchange", "log", "--bind", "x"), 2, "knows no keys"),
        (("subscribe.py", "--exchange", "log", "--queue", "q"), 2, "--queue needs --durable"),
        (("subscribe.py", "--exchange", "log", "--durable"), 2, "--durable needs --queue"),
        (("subscribe.py", "--exchange", ""), 2, "nothing can be bound to the default exchange"),
        (("subscribe.py",), 2, "which exchange?"),
        (("subscribe.py", "--delete"), 2, "which exchange?"),
        (("emit.py", "--exchange", "log", "--type", "topic", "m"), 2, "add --key KEY"),
        (("emit.py", "--exchange", "", "m"), 2, "add --key KEY"),
        (("emit.py", "--exchange", X, "m"), 2, "--exchange: it has 256 bytes"),
        (("emit.py", "--exchange", "é" * 128, "m"), 2, "--exchange: it has 256 bytes"),
        (("emit.py", "--exchange", "a\nb", "m"), 2, "no control characters"),
        (("emit.py", "--exchange", "a\x1b[2J", "m"), 2, "no control characters"),
        (("publisher.py", "--queue", "hello\r"), 2, "no control characters"),
        (("subscribe.py", "--exchange", "log", "--queue", "q\x7f", "--durable"), 2, "no control"),
        (("emit.py", "--exchange", b"\xff", "m"), 2, "is not UTF-8"),
        (("emit.py", "--exchange", "log", "--type", "direct", "--key", X, "m"), 2, "256 bytes"),
        (("subscribe.py", "--exchange", "log", *TOPIC, X), 2, "256 bytes"),
        (("subscribe.py", "--exchange", "log", "--queue", X, "--durable"), 2, "256 bytes"),
        (("emit.py", "--vhost", X, "--exchange", "log", "m"), 2, "--vhost: it has 256 bytes"),
        (("publisher.py",), 2, "one of the arguments --http --queue --exchange is required"),
        (("publisher.py", "--http", "--durable"), 2, "--durable goes with --queue"),
        (("poll.py", "ftp://x"), 2, "an address is http://HOST:PORT/events"),
        (("poll.py", "http://x:y/"), 2, "an address is http://HOST:PORT/events"),
        (("poll.py", f"http://{LOCALHOST}:1/events"), 3, "try: ./publisher.py --http"),
        (("emit.py", "--url", "amqp://localhost:1", "--retry-for", 0, "--exchange", "a", "m"), 3,
         "cannot reach RabbitMQ at localhost:1"),
        (("compare.py", "--url", "amqp://localhost:1", "--retry-for", 0), 3, "cannot reach"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_one_line_and_what_to_try(
    run: Run, lab: Lab, fanout: str, command: tuple, code: int, said: str
):
    name, *arguments = command
    if b"\xff" in arguments:  # as a shell would pass it
        arguments = [a.decode(errors="surrogateescape") if a == b"\xff" else a for a in arguments]
    done = run(f"{FOLDER}/{name}", *arguments, lab=lab, env={"PYTHONPATH": str(ROOT)})
    assert done.wait() == code, done.text()
    assert said in done.text("stderr")
    assert done.text("stdout") == ""
    error, hint = done.text("stderr").splitlines()
    assert error.startswith(f"{name}: error: ") and hint.startswith("  try: ")


def test_a_port_that_is_taken_is_said(publisher: Start, start: Start):
    port = publisher().address.split(":")[2].split("/")[0]
    second = start("publisher.py", "--http", "--http-port", port)
    assert second.wait() == 1
    assert f"cannot answer on port {port} (Address already in use)" in second.text("stderr")


def test_names_and_keys_of_255_bytes_will_do(subscriber: Start, emit: Start):
    long = "é" * 127 + "x"
    topic = ("--exchange", long, "--type", "topic")
    reader = subscriber(*topic, "--bind", long, "--queue", long, "--durable")
    emit(*topic, "--key", long, "hello")
    reader.wait_for("Received 'hello'")


def test_a_message_cannot_play_with_the_terminal(subscriber: Start, emit: Start):
    topic = ("--exchange", "logs", "--type", "topic")
    reader = subscriber(*topic, "--bind", "#")
    sent = emit(*topic, "--key", "\x1b[2J", "\x1b[31mred")
    reader.wait_for("Received '\\x1b[31mred' (key '\\x1b[2J')")
    assert "\x1b" not in reader.text() + sent.text()


# ---- the graph


def test_the_graph_shows_exchanges_keys_and_queues(start: Start, subscriber: Start):
    subscriber("--exchange", "news", "--queue", "bob", "--durable")
    own = subscriber("--exchange", "logs", "--type", "topic", "--bind", "*.error", "kern.#")
    queue = re.search(r"'(amq\.gen-.+?)'", own.text())[1].replace("_", "#95;")
    graph = start("subscribe.py", "--draw", "--exchange", "logs")
    assert graph.wait() == 0
    head, exchange, box, *arrows = graph.text().splitlines()
    assert (head, exchange) == ("flowchart LR", '    x0(("logs<br/>topic"))')
    assert box == f'    q0[["{queue}"]]'
    assert sorted(arrows) == ['    x0 -->|"#42;.error"| q0', '    x0 -->|"kern.#35;"| q0']
    every = start("subscribe.py", "--draw")
    assert every.wait() == 0
    assert 'q0[("bob")]' in every.text() or 'q1[("bob")]' in every.text()
    assert "default exchange" not in every.text()
    default = start("subscribe.py", "--draw", "--exchange", "")
    assert default.wait() == 0
    assert '-->|"bob"|' in default.text()


def test_the_graph_follows_exchanges_that_are_bound_to_exchanges(start: Start, lab: Lab):
    channel = lab.connection.channel()
    for name, kind in (("in", "fanout"), ("out", "headers"), ("other", "fanout")):
        channel.exchange_declare(name, kind)
    lab.declare("q")
    channel.exchange_bind("out", "in")
    channel.exchange_bind("in", "out", arguments={"x-match": "any", "colour": "red"})
    channel.queue_bind("q", "out", "")
    channel.queue_bind("q", "other", "")
    graph = start("subscribe.py", "--draw", "--exchange", "in")
    assert graph.wait() == 0
    assert "other" not in graph.text()
    assert "    x0 --> x1" in graph.text() and "    x1 --> q0" in graph.text()
    assert "colour=red" in graph.text()


NASTY = [
    '"]; click x0 "javascript:alert(1)"',
    "%%{init: {}}%%",
    "a`b|c{d}<script>&lt;#quot;",
    "end",
    "1. one",
    "_under_",
    "snow ☃ é",
]


def test_names_cannot_play_with_the_graph(start: Start, lab: Lab):
    channel = lab.connection.channel()
    for name in NASTY:
        channel.exchange_declare(name, "topic")
        lab.declare(name)
        channel.queue_bind(name, name, name + "\n\x1b")
    graph = start("subscribe.py", "--draw")
    assert graph.wait() == 0
    head, *lines = graph.text().splitlines()
    assert len(lines) == 3 * len(NASTY)
    text = r"(?:[\w .\-/@,=+é]|#\d+;)+"
    shapes = rf'    (x\d+\(\("{text}<br/>topic"\)\)|q\d+\[\("{text}"\)\]|x\d+ -->\|"{text}"\| q\d+)'
    assert [line for line in lines if not re.fullmatch(shapes, line)] == []
    names = {
        re.sub(r"#(\d+);", lambda code: chr(int(code[1])), name)
        for name in re.findall(r'q\d+\[\("(.+)"\)\]', graph.text())
    }
    assert names == set(NASTY)


def test_an_empty_graph_is_said(start: Start):
    graph = start("subscribe.py", "--draw")
    assert graph.wait() == 0
    assert graph.text("stdout") == "flowchart LR"
    assert "Nothing is bound here" in graph.text("stderr")


def test_without_the_page_there_is_no_graph(start: Start, lab: Lab):
    away = start("subscribe.py", "--draw", "--management-port", 1)
    assert away.wait() == 3
    assert "the bindings are not known: the management page on 127.0.0.1:1" in away.text("stderr")
    assert "try: --management-port, if the page is elsewhere" in away.text("stderr")
    user = f"u{uuid.uuid4().hex[:8]}"
    lab.broker.api("PUT", f"users/{user}", {"password": "p-w", "tags": ""})
    try:
        everything = {"configure": ".*", "write": ".*", "read": ".*"}
        lab.broker.api("PUT", f"permissions/{lab.vhost}/{user}", everything)
        url = lab.url.replace("guest:guest", f"{user}:p-w")
        refused = start("subscribe.py", "--draw", url=url)
        assert refused.wait() == 3
        assert "does not let you in" in refused.text("stderr")
        assert "p-w" not in refused.text()
    finally:
        lab.broker.api("DELETE", f"users/{user}")


def test_an_exchange_that_is_not_there_is_not_drawn(start: Start):
    graph = start("subscribe.py", "--draw", "--exchange", "nosuch")
    assert graph.wait() == 4
    assert "there is no exchange 'nosuch' in this vhost" in graph.text("stderr")


# ---- the comparison


def exchanges(lab: Lab) -> list[str]:
    every = lab.broker.api("GET", f"exchanges/{lab.vhost}")
    return [one["name"] for one in every if one["name"] and not one["name"].startswith("amq.")]


def test_the_ways_are_compared_and_what_is_missed_is_exact(start: Start, lab: Lab):
    done = start("compare.py", env={"PYTHONUNBUFFERED": "1"})
    assert done.wait(60) == 0, done.text()
    rows = {}
    for line in done.text("stdout").splitlines()[-5:]:
        title, *figures = re.split(r"  +(?=\d)", line)
        rows[title.strip()] = list(map(int, figures))
    often, seldom, queue, copies, kept = rows.values()
    assert list(rows)[2:] == ["work queue", "publish/subscribe", "with durable queues"]
    assert [row[-1] for row in rows.values()] == [4, 4, 0, 12, 0]
    assert [row[:2] for row in (queue, copies, kept)] == [[24, 0], [36, 0], [48, 0]]
    assert often[0] > seldom[0] and often[1] > seldom[1] >= 0
    assert seldom[2] > often[2] > 0 and seldom[2] > copies[2]
    assert all(worst >= mean for _, _, mean, worst, _ in rows.values())
    assert lab.broker.api("GET", f"queues/{lab.vhost}") == [] == exchanges(lab)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_comparison_that_is_stopped_leaves_nothing_behind(start: Start, lab: Lab, number: int):
    one = start("compare.py")
    one.wait_for("B is away")
    assert len(still_running(lab)) > 5
    one.signal(number)
    assert one.wait() == 130
    assert lab.broker.api("GET", f"queues/{lab.vhost}") == [] == exchanges(lab)
    assert not still_running(lab)


def still_running(lab: Lab) -> list[str]:
    """Return the lab's commands that still run on the test's vhost."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if lab.vhost in (folder / "environ").read_text(errors="replace"):
                command = (folder / "cmdline").read_text(errors="replace")
                found.append(command.replace("\0", " "))
    return [command for command in found if FOLDER in command]


def test_a_comparison_without_the_rights_says_what_is_missing(start: Start, lab: Lab):
    user = f"u{uuid.uuid4().hex[:8]}"
    lab.broker.api("PUT", f"users/{user}", {"password": "p-w", "tags": ""})
    try:
        nothing = {"configure": "^$", "write": ".*", "read": ".*"}
        lab.broker.api("PUT", f"permissions/{lab.vhost}/{user}", nothing)
        done = start("compare.py", url=lab.url.replace("guest:guest", f"{user}:p-w"))
        assert done.wait() == 1
        error, *_ = done.text("stderr").splitlines()
        assert "the comparison failed: publisher.py: error: RabbitMQ at 127.0.0.1:" in error
        assert " refuses: ACCESS_REFUSED" in error
        assert "p-w" not in done.text()
    finally:
        lab.broker.api("DELETE", f"users/{user}")


def test_delete_takes_the_exchange_and_its_bindings(start: Start, subscriber: Start, lab: Lab):
    leave(subscriber("--exchange", "news", "--queue", "bob", "--durable"))
    for said in (" [*] Exchange 'news' is deleted", " [!] There is no exchange 'news'"):
        done = start("subscribe.py", "--delete", "--exchange", "news")
        assert (done.wait(), done.text()) == (0, said)
    assert exchanges(lab) == []
    with pytest.raises(pika.exceptions.ChannelClosedByBroker):
        lab.connection.channel().exchange_declare("news", passive=True)
