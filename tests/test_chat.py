"""Test the chat of lab 8: the same tests for both transports, then some for each.

Google Pub/Sub is tested with Google's own client over gRPC, against the small
server of fake_pubsub.py.
"""

import contextlib
import json
import os
import queue
import re
import shlex
import subprocess
import sys
import threading
import time
import urllib.error
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import pika
import pytest
from rich.cells import cell_len

from chatroom import message as messages
from chatroom import room
from chatroom.conversation import COLOURS, Conversation
from chatroom.message import HERE, JOINED, LEFT, SAID, Message, from_bytes
from chatroom.pubsub import PubSubTransport
from chatroom.rabbitmq import RabbitMQTransport
from chatroom.room import BEAT, KEPT, Back, Delivered, Ended, Entered, Heard, Lost, Room
from chatroom.transport import Transport
from conftest import (
    ROOT,
    Lab,
    Terminal,
    UndecodableProperties,
    undecodable_is_fine,
    wait_until,
)
from fake_pubsub import FakePubSub
from kit.amqp import UNREACHABLE, Broker, BrokerError
from kit.exercise.proxy import Proxy
from kit.worksheet.page import Found, find
from screen import Screen, stages
from strange import ODD
from test_worksheets import pane_environment

FOLDER = ROOT / "labs" / "08-chat"

SAYS, LISTENS, CHATS = "labs/08-chat/say.py", "labs/08-chat/listen.py", "labs/08-chat/chat.py"
REQUIREMENTS = "labs/08-chat/requirements-pubsub.txt"
HOSTILE = "\x1b[2J\x1b]0;gone\x07\r\b[red]bold[/red]\u202eback\n"
ESCAPED = r"\x1b[2J\x1b]0;gone\x07\r\x08[red]bold[/red]\u202eback\n"
BOTH = pytest.mark.parametrize("net", ["rabbitmq", "pubsub"], indirect=True)


@dataclass
class Net:
    """The network of a chat in a test: how to reach it from here and from a program."""

    transport: Callable[[], Transport]
    options: list[str]
    environment: dict[str, str]
    publish: Callable[[bytes], None]  # publishes any bytes, without checks


@pytest.fixture
def pubsub(monkeypatch) -> Iterator[FakePubSub]:
    server = FakePubSub()
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", server.address)
    yield server
    server.stop()


def net_of_rabbitmq(lab: Lab) -> Net:
    def publish(body: bytes) -> None:
        channel = lab.connection.channel()
        channel.confirm_delivery()
        channel.basic_publish("chat.lobby", "", body, mandatory=True)
        channel.close()

    return Net(rabbitmq_transport(lab.url), [], {"AMQP_URL": lab.url}, publish)


def rabbitmq_transport(url: str) -> Callable[[], Transport]:
    return lambda: RabbitMQTransport("lobby", Broker(url=url, heartbeat=10))


def net_of_pubsub(server: FakePubSub) -> Net:
    def publish(body: bytes) -> None:
        transport = PubSubTransport("lobby", "p")
        transport.open()
        transport._publisher.publish(transport.topic, body, ordering_key="room").result(30)
        transport.close()

    environment = {"PUBSUB_EMULATOR_HOST": server.address}
    options = ["--via", "pubsub", "--project", "p"]
    return Net(partial(PubSubTransport, "lobby", "p"), options, environment, publish)


@pytest.fixture
def net(request) -> Net:
    """Return a chat's network: a fresh vhost on the shared broker, or a Pub/Sub server."""
    if request.param == "rabbitmq":
        return net_of_rabbitmq(request.getfixturevalue("lab"))
    return net_of_pubsub(request.getfixturevalue("pubsub"))


@pytest.fixture
def away(request) -> tuple[Net, Callable, Callable]:
    """Return a network, and functions that take it down and bring it back."""
    if request.param == "rabbitmq":
        lab = request.getfixturevalue("own_lab")
        return net_of_rabbitmq(lab), lab.broker.node.stop, lab.broker.node.start
    server = request.getfixturevalue("pubsub")
    return net_of_pubsub(server), server.stop, server.start


class Chatter:
    """A person in the room, and every event that reached them."""

    def __init__(self, transport: Transport, name: str | None) -> None:
        self.name, self.events = name, []
        self.room = Room(transport, name, self.events.append)
        self.room.start()

    def wait_for(self, kind: type, count: int = 1) -> object:
        """Wait for a number of events of a kind; return the last one."""

        def found() -> list:
            events = list(self.events)
            failed = [one.error for one in events if isinstance(one, Ended) and one.error]
            assert not failed, failed
            return [one for one in events if isinstance(one, kind)]

        return wait_until(lambda: len(found()) >= count and found(), f"{count} {kind}")[count - 1]

    def old(self) -> list[str]:
        """Return the messages from before we entered."""
        return [message.text for message in self.wait_for(Entered).old]

    def heard(self, kind: str = SAID) -> list[Message]:
        """Return the messages of a kind that came after we entered."""
        events = [event.message for event in list(self.events) if isinstance(event, Heard)]
        return [message for message in events if message.kind == kind]

    def texts(self) -> list[str]:
        """Return the texts said after we entered."""
        return [message.text for message in self.heard()]


@pytest.fixture
def enter() -> Iterator[Callable[[Net, str | None], Chatter]]:
    """Return a function that lets a person enter, and waits until they are in."""
    chatters: list[Chatter] = []

    def start(net: Net, name: str | None = None) -> Chatter:
        chatter = Chatter(net.transport(), name)
        chatters.append(chatter)
        chatter.wait_for(Entered)
        return chatter

    yield start
    for chatter in chatters:
        chatter.room.leave(within=0)
    for chatter in chatters:
        chatter.room.join(10)


def program(net: Net, script: str, *arguments: object) -> list[str]:
    return [script, *net.options, *map(str, arguments)]


# ---- both transports: everybody hears everything


@BOTH
def test_two_chatters_hear_each_other_and_themselves(net, enter):
    ada, bob = enter(net, "ada"), enter(net, "bob")
    ada.room.say("hello")
    wait_until(lambda: bob.texts() == ["hello"])
    bob.room.say("hello yourself")
    for chatter in (ada, bob):
        wait_until(lambda chatter=chatter: len(chatter.texts()) == 2)
        assert chatter.texts() == ["hello", "hello yourself"]
        assert [message.name for message in chatter.heard()] == ["ada", "bob"]
    assert ada.wait_for(Delivered).message.text == "hello"
    assert [message.name for message in ada.heard(JOINED)] == ["bob"]
    assert bob.room.leave(10) == []
    wait_until(lambda: [message.name for message in ada.heard(LEFT)] == ["bob"])


@BOTH
def test_ten_chatters_hear_every_message_once_and_in_its_sender_s_order(net, enter):
    count, each = 10, 4
    with ThreadPoolExecutor(count) as pool:
        chatters = list(pool.map(lambda n: enter(net, f"chatter-{n}"), range(count)))
    for number in range(each):
        for chatter in chatters:
            chatter.room.say(str(number))
    expected = [str(number) for number in range(each)]
    for listener in chatters:
        wait_until(lambda listener=listener: len(listener.heard()) >= count * each)
        for sender in chatters:
            said = [m.text for m in listener.heard() if m.name == sender.name]
            assert said == expected
    # Each chatter hears exactly that, and all in the same order.
    chatters[0].room.say("the end")
    for listener in chatters:
        wait_until(lambda listener=listener: listener.texts()[-1] == "the end")
        assert len(listener.heard()) == count * each + 1
        assert listener.texts() == chatters[0].texts()


@BOTH
def test_who_comes_late_is_shown_the_last_fifty_and_then_the_rest(net, enter):
    early = enter(net, "ada")
    for number in range(KEPT + 20):
        early.room.say(str(number))
    wait_until(lambda: len(early.texts()) == KEPT + 20)
    late = enter(net, "bob")
    assert late.old() == [str(number) for number in range(20, KEPT + 20)]
    early.room.say("now")
    wait_until(lambda: late.texts() == ["now"])
    assert late.old()[-1] == str(KEPT + 19)  # no message repeated or lost between old and new


@BOTH
def test_message_whose_confirm_was_lost_is_said_again_and_heard_once(net, enter):
    ada, bob = enter(net, "ada"), enter(net, "bob")
    publish, lost = ada.room.transport.publish, []

    def publish_and_lose_the_confirm(message: Message) -> None:
        publish(message)
        if message.kind == SAID and not lost:
            lost.append(message)
            raise BrokerError("the confirm is lost", "", UNREACHABLE)

    ada.room.transport.publish = publish_and_lose_the_confirm
    ada.room.say("once")
    ada.room.say("and on")
    ada.wait_for(Back)
    for chatter in (ada, bob):
        wait_until(lambda chatter=chatter: "and on" in chatter.texts())
        assert chatter.texts() == ["once", "and on"]


@BOTH
def test_who_is_here_is_known_to_newcomers_at_once(net, enter, monkeypatch):
    monkeypatch.setattr(room, "BEAT", 3600)  # so that no beat can tell it
    here = [enter(net, name) for name in ("ada", "bob")]
    carl, conversation = enter(net, "carl"), Conversation()

    def names() -> list[str]:
        for event in list(carl.events):
            conversation.take(event)
        return conversation.names()

    wait_until(lambda: names() == ["~ada", "~bob", "~carl"])
    assert len(here) == 2


@BOTH
def test_a_listener_is_killed_and_another_has_all_it_missed(net, enter, run):
    listener = run(*program(net, LISTENS), env=net.environment)
    listener.wait_for("Listening")
    ada = enter(net, "ada")
    ada.room.say("before")
    listener.wait_for("~ada: before")
    listener.kill()
    listener.wait()
    ada.room.say("meanwhile")
    wait_until(lambda: "meanwhile" in ada.texts())
    listener = run(*program(net, LISTENS), env=net.environment)
    listener.wait_for("Listening")
    ada.room.say("after")
    listener.wait_for("~ada: after")
    said = [line.text.partition("~ada: ")[2] for line in listener.find(" [x] ")]
    assert said == ["before", "meanwhile", "after"]
    listener.interrupt()
    assert listener.wait() == 0
    assert listener.lines[-1].text == " [*] Stopped"


@pytest.mark.parametrize("away", ["rabbitmq", "pubsub"], indirect=True)
def test_broker_goes_away_in_the_middle_of_a_conversation(away, enter):
    net, stop, start = away
    ada, bob, listener = enter(net, "ada"), enter(net, "bob"), enter(net)
    everyone = (ada, bob, listener)
    for number in range(10):
        ada.room.say(f"ada {number}")
        bob.room.say(f"bob {number}")
    wait_until(lambda: ada.texts())
    stop()
    for number in range(10, 20):
        ada.room.say(f"ada {number}")
        bob.room.say(f"bob {number}")
    ada.wait_for(Lost)
    assert ada.room.unsent
    start()
    ada.wait_for(Back)
    for one in everyone:
        wait_until(lambda one=one: len(one.texts()) >= 40, within=60)
        for name in ("ada", "bob"):
            said = [text for text in one.texts() if text.startswith(name)]
            assert said == [f"{name} {number}" for number in range(20)]
    assert ada.room.unsent == []


# ---- both transports: hostile input


@BOTH
def test_hostile_input_is_shown_and_does_nothing(net, enter, run):
    listener = run(*program(net, LISTENS), env=net.environment)
    listener.wait_for("Listening")
    ada = enter(net, "ada")
    hostile = {"name": HOSTILE, "text": HOSTILE, "who": "x", "time": 1e9, "kind": SAID}
    bodies = [
        json.dumps(hostile | {"id": "1"}).encode(),
        json.dumps(hostile | {"id": "2", "name": "eve", "text": "a" * 1_000_000}).encode(),
        json.dumps(hostile | {"id": "3", "name": " \t ", "text": "nobody"}).encode(),
        b"\xff\xfe not JSON \x1b[31m",
        b"[" * 100_000,
        json.dumps(hostile | {"id": "4", "time": 1e300}).encode(),
        json.dumps(hostile | {"id": "5", "time": "NaN"}).encode(),
        json.dumps(hostile | {"id": "6", "text": "\ud800 half a letter"}).encode(),
        b"",
    ]
    for body in bodies:
        net.publish(body)
    ada.room.say("still here")
    listener.wait_for("~ada: still here")
    output = listener.text("stdout")
    for character in "\x1b\x07\x08\r\u202e":
        assert character not in output
    assert f": {ESCAPED}" in output
    assert "~eve: " + "a" * 2000 + " ... (998000 more characters)\n" in output
    assert "~?: nobody" in output
    assert r"~?: \xff\xfe not JSON \x1b[31m" in output
    assert r"\ud800 half a letter" in output
    assert max(map(len, output.splitlines())) < 2100
    assert listener.text("stderr") == ""


@BOTH
def test_say_says_it_to_those_who_listen(net, enter, run):
    ada = enter(net, "ada")
    listener = run(*program(net, LISTENS, "--mode", "rich"), env=net.environment)
    listener.wait_for("Listening")
    script = run(*program(net, SAYS, "--username", "bob", "--message", "é 👍"), env=net.environment)
    assert script.wait() == 0
    assert script.text() == " [x] Said 'é 👍' in 'lobby'"
    wait_until(lambda: ada.texts() == ["é 👍"])
    assert re.fullmatch(r"\d\d:\d\d ~bob: é 👍", listener.wait_for("~bob").text)
    ada.room.say("a long line " * 50)  # one line if the output is no terminal
    assert listener.wait_for("a long line").text.count("long") == 50


@BOTH
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--username", "", "--message", "a"], "a name has 1 to 30 characters"),
        (["--username", " \t", "--message", "a"], "a name has 1 to 30 characters"),
        (["--username", "a\x1b[31m", "--message", "a"], "no control characters"),
        (["--username", "~ada", "--message", "a"], "no ~"),
        (["--username", "a" * 31, "--message", "a"], "a name has 1 to 30 characters"),
        (["--username", "ada", "--message", " "], "1 to 2000 characters"),
        (["--username", "ada", "--message", "a" * 2001], "1 to 2000 characters"),
        (["--message", "a"], "who are you? --username NAME"),
        (["--username", "ada", "--message", "a", "--room", "a b"], "1 to 40 letters"),
    ],
)
def test_say_refuses_what_could_not_be_read(net, run, arguments, says):
    script = run(*program(net, SAYS, *arguments), env=net.environment)
    assert script.wait() == 2
    problem, hint = script.text("stderr").splitlines()
    assert says in problem and hint == "  try: say.py --help"


# ---- a room by itself


def test_name_is_proven_only_by_the_login():
    sent = Message(SAID, "ada", "hello").to_bytes()
    assert from_bytes(sent, "ada").shown_name == "ada"
    assert from_bytes(sent, "bob").shown_name == "~ada"
    assert from_bytes(sent).shown_name == "~ada"


def test_name_keeps_its_colour_and_markup_is_only_text():
    conversation = Conversation()
    (said,) = conversation.take(Heard(Message(SAID, "ada", "[red]no[/red]")))
    words = said.words()
    assert words.plain == "~ada: [red]no[/red]"
    assert [(span.start, span.end) for span in words.spans] == [(0, 4)]
    conversation.take(Heard(Message(SAID, "bob", "yes")))
    (more,) = conversation.take(Heard(Message(SAID, "ada", "more")))
    assert words.spans == more.words().spans


def test_as_many_names_as_there_are_colours_differ():
    names = ["ada", "bob", "guest", "teacher"]
    messages = [Message(SAID, name, proven=proven) for name in names for proven in (False, True)]
    conversation = Conversation()
    old, new = messages[:5], messages[5:]
    lines = conversation.take(Entered(old))
    for message in new:
        lines += conversation.take(Heard(message))
    assert {line.colour for line in lines} == set(COLOURS)


def test_letters_of_all_scripts_and_emoji_are_left_alone():
    text = "日本語 العربية हिन्दी 👩‍👩‍👧 👍🏽 é ñ"
    assert messages.harmless(text, 100) == text
    assert messages.harmless("quoi\u00a0?", 100) == "quoi ?"


def test_who_falls_silent_is_missed_and_who_is_away_misses_nobody(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    conversation = Conversation()
    conversation.take(Heard(Message(JOINED, "ada", who="1")))
    conversation.take(Lost("it hung up"))
    now[0] += 60
    assert conversation.miss() == []
    conversation.take(Back())
    assert conversation.miss() == [] and conversation.names() == ["~ada"]
    for _ in range(3):
        now[0] += BEAT
        assert conversation.miss() == []
    now[0] += 1
    (notice,) = conversation.miss()
    assert notice.plain() == " [*] ~ada is gone without a word"
    assert conversation.names() == []


def test_who_was_stopped_misses_nobody_at_once(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    conversation = Conversation()
    conversation.take(Heard(Message(JOINED, "ada", who="1")))
    now[0] += 60
    assert conversation.miss() == [] and conversation.names() == ["~ada"]


def test_message_that_comes_twice_is_heard_once():
    events: queue.SimpleQueue = queue.SimpleQueue()
    room = Room(None, "ada", events.put)
    room._on_message(Message(JOINED, "ada", who=room.who))
    said = Message(SAID, "bob", "once", "another")
    room._on_message(said)
    room._on_message(said)
    assert isinstance(events.get(), Entered)
    assert events.get() == Heard(said)
    assert events.empty()


# ---- RabbitMQ


@contextlib.contextmanager
def student(lab: Lab, rights: str) -> Iterator[str]:
    """Yield the URL of a user with these rights on the test's vhost."""
    user = f"u{uuid.uuid4().hex[:8]}"
    lab.broker.api("PUT", f"users/{user}", {"password": "p-w", "tags": ""})
    try:
        everything = {"configure": rights, "write": rights, "read": rights}
        lab.broker.api("PUT", f"permissions/{lab.vhost}/{user}", everything)
        yield lab.url.replace("guest:guest", f"{user}:p-w")
    finally:
        with contextlib.suppress(urllib.error.HTTPError):  # the test has deleted it
            lab.broker.api("DELETE", f"users/{user}")


def rights_of_the_page() -> str:
    """Return the rights that the worksheet gives to a student."""
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    (line,) = {line for line in page.splitlines() if "set_permissions -p class ada" in line}
    first, second, third = line.split('"')[1::2]
    assert first == second == third
    return first


def test_the_rights_of_the_page_are_enough_and_the_name_is_proven(lab, run):
    with student(lab, rights_of_the_page()) as url:
        user = url.split("//")[1].split(":")[0]
        listener = run(LISTENS, url=url)
        listener.wait_for("Listening")
        assert run(SAYS, "--message", "me", url=url).wait() == 0
        assert run(SAYS, "--username", "teacher", "--message", "not me", url=url).wait() == 0
        listener.wait_for("not me")
        said = [line.text.split(" ", 3)[3] for line in listener.find(" [x] ")]
        assert said == [f"{user}: me", "~teacher: not me"]
        assert run("producer.py", "--queue", "homework", "a", url=url).wait() == 4


def test_who_is_deleted_is_out_at_once(lab, run):
    with student(lab, rights_of_the_page()) as url:
        user = url.split("//")[1].split(":")[0]
        listener = run(LISTENS, url=url)
        listener.wait_for("Listening")
        lab.broker.api("DELETE", f"users/{user}")
        listener.wait_for("Lost the connection")
        assert run(SAYS, "--message", "still me", url=url).wait() == 4


def test_login_under_the_name_of_the_room(lab, run):
    with student(lab, ".*") as url:
        user = url.split("//")[1].split(":")[0]
        where = ["--port", lab.broker.port, "--vhost", lab.vhost]
        listener = run(LISTENS, lab=lab)
        listener.wait_for("Listening")
        words = ["--username", user, "--message", "me", "--password"]
        assert run(SAYS, *where, *words, "p-w").wait() == 0
        listener.wait_for(f" {user}: me")
        refused = run(SAYS, *where, *words, "wrong")
        assert refused.wait() == 4
        assert "Login was refused" in refused.text() and "wrong" not in refused.text()


def test_login_asks_for_the_password(lab, terminal):
    with student(lab, ".*") as url:
        user = url.split("//")[1].split(":")[0]
        where = ["--port", lab.broker.port, "--vhost", lab.vhost]
        asked = terminal(
            sys.executable, ROOT / SAYS, *where, "--username", user, "--message", "me", "--password"
        )
        asked.wait_for(f"Password of {user}: ")
        asked.type("p-w\n")
        asked.wait_for("Said 'me'")
        assert asked.wait() == 0


def test_a_stolen_name_is_refused_by_the_broker(lab):
    transport = RabbitMQTransport("lobby", Broker(url=lab.url))
    transport.open()
    transport.login = "ada"
    with pytest.raises(BrokerError) as refused:
        transport.publish(Message(SAID, "ada", "give me your lunch"))
    assert "user_id property set to 'ada' but authenticated user was 'guest'" in str(refused.value)
    assert refused.value.code == 4


def test_nothing_is_left_of_a_room_without_its_stream(lab, run):
    def exchanges() -> set[str]:
        names = {one["name"] for one in lab.broker.api("GET", f"exchanges/{lab.vhost}")}
        return {name for name in names if name.startswith("chat.")}

    listener = run(LISTENS, lab=lab)
    listener.wait_for("Listening")
    listener.terminate()
    assert listener.wait() == 0
    assert exchanges() == {"chat.lobby", "chat.lobby.here"}
    assert run("labs/queues.py", "--delete", "chat.lobby.log", lab=lab).wait() == 0
    assert exchanges() == set()


def test_many_come_and_go_at_once(lab):
    """An exchange that went with the last of them would break RabbitMQ 4.3, its vhost for good."""

    def come_and_go(_) -> None:
        for _ in range(15):
            transport = RabbitMQTransport("lobby", Broker(url=lab.url))
            transport.open()
            transport.listen(lambda message: None)
            transport.hang_up()

    with ThreadPoolExecutor() as people:
        list(people.map(come_and_go, range(4)))


def test_a_room_whose_stream_is_deleted_is_made_anew(lab, enter):
    net = net_of_rabbitmq(lab)
    ada, bob = enter(net, "ada"), enter(net, "bob")
    lab.connection.channel().queue_delete("chat.lobby.log")
    for chatter in (ada, bob):
        chatter.wait_for(Back)
    ada.room.say("what was that?")
    wait_until(lambda: bob.texts() == ["what was that?"])


@pytest.fixture
def breakable(lab, proxied) -> tuple[Net, Proxy]:
    """Return a network whose connections can be cut, and the function that cuts them."""
    proxy, url = proxied
    net = net_of_rabbitmq(lab)
    net.transport = rabbitmq_transport(url)
    return net, proxy


def test_the_stream_is_another_when_we_come_back(breakable, lab, enter):
    (net, proxy), may_return = breakable, threading.Event()
    ada = enter(net, "ada")
    listen = ada.room.transport.listen

    def listen_later(on_message: Callable[[Message], None]) -> None:
        may_return.wait(30)
        listen(on_message)

    ada.room.transport.listen = listen_later
    for number in range(3):
        ada.room.say(str(number))
    wait_until(lambda: len(ada.texts()) == 3)
    proxy.cut()
    ada.wait_for(Lost)
    lab.connection.channel().queue_delete("chat.lobby.log")
    bob = enter(net, "bob")
    bob.room.say("meanwhile")
    wait_until(lambda: bob.texts() == ["meanwhile"])
    may_return.set()
    ada.wait_for(Back)
    bob.room.say("afterwards")
    wait_until(lambda: ada.texts()[-1] == "afterwards")
    assert ada.texts() == ["0", "1", "2", "meanwhile", "afterwards"]


def test_nothing_is_heard_again_when_we_come_back(breakable, enter):
    net, proxy = breakable
    ada = enter(net, "ada")
    for body in (b"no JSON", b"no JSON", Message(SAID, "bob", "old").to_bytes()):
        net.publish(body)
    wait_until(lambda: len(ada.texts()) == 3)
    proxy.cut()
    ada.wait_for(Back)
    ada.room.say("new")
    wait_until(lambda: ada.texts()[-1] == "new")
    assert ada.texts() == ["no JSON", "no JSON", "old", "new"]


@pytest.mark.parametrize("script", [LISTENS, SAYS])
def test_no_broker_is_a_line(run, script):
    more = ["--username", "ada", "--message", "a"] if script == SAYS else []
    alone = run(script, "--port", 1, *more)
    assert alone.wait() == 3
    problem, hint = alone.text("stderr").splitlines()
    assert "cannot reach RabbitMQ at localhost:1 (Connection refused)" in problem
    assert hint.startswith("  try: labs/broker.py up --port 1")


# ---- RabbitMQ: messages from strangers


def publish(
    lab: Lab, exchange: str, body: bytes, properties: pika.BasicProperties, key: str = ""
) -> None:
    """Publish a message that our own programs would not send."""
    channel = lab.connection.channel()
    channel.confirm_delivery()
    channel.basic_publish(exchange, key, body, properties, mandatory=True)
    channel.close()


@pytest.mark.skipif(undecodable_is_fine(), reason="pika decodes it")
def test_a_message_that_cannot_be_decoded_ends_the_listeners_after_some_tries(lab, run, enter):
    ada = enter(net_of_rabbitmq(lab), "ada")
    listener = run(LISTENS, lab=lab)
    listener.wait_for("Listening")
    ada.room.say("before")
    listener.wait_for("~ada: before")
    publish(lab, "chat.lobby", b"bad", UndecodableProperties())
    assert listener.wait() == 1
    *lost, problem, hint = listener.text("stderr").splitlines()
    assert problem.startswith("listen.py: error: pika cannot decode the next message (")
    assert hint == "  try: labs/queues.py --delete chat.lobby.log: the room begins anew"
    assert 1 <= len([line for line in lost if "cannot decode" in line]) < 5
    newcomer = run(LISTENS, lab=lab)
    assert newcomer.wait() == 1
    assert len(newcomer.text("stderr").splitlines()) == 2
    ended = wait_until(lambda: [one for one in ada.events if isinstance(one, Ended)])
    assert "cannot decode" in str(ended[0].error)
    assert run("labs/queues.py", "--delete", "chat.lobby.log", lab=lab).wait() == 0
    listener = run(LISTENS, lab=lab)
    listener.wait_for("Listening")


@pytest.mark.skipif(undecodable_is_fine(), reason="pika decodes it")
def test_a_message_that_cannot_be_decoded_and_is_not_kept_is_passed_over(lab, enter):
    ada, bob = enter(net_of_rabbitmq(lab), "ada"), enter(net_of_rabbitmq(lab))
    publish(lab, "chat.lobby.here", b"bad", UndecodableProperties(), HERE)
    for one in (ada, bob):
        one.wait_for(Back)
        assert "cannot decode" in one.wait_for(Lost).why
    ada.room.say("still here")
    wait_until(lambda: bob.texts() == ["still here"])


def test_odd_properties_do_no_harm(lab, enter):
    ada = enter(net_of_rabbitmq(lab), "ada")
    for exchange, key in ("chat.lobby", ""), ("chat.lobby.here", HERE):
        publish(lab, exchange, b"odd", pika.BasicProperties(**ODD), key)
    said = Message(SAID, "bob", "fine").to_bytes()
    publish(lab, "chat.lobby", said, pika.BasicProperties(**ODD))
    wait_until(lambda: ada.texts() == ["odd", "fine"])
    assert not [one for one in ada.events if isinstance(one, (Lost, Ended))]


# ---- Google Pub/Sub


def test_subscriptions_come_and_go_with_the_person(pubsub, enter):
    net = net_of_pubsub(pubsub)
    ada = enter(net, "ada")
    assert len(pubsub.subscriptions) == 2
    bob = enter(net, "bob")
    assert len(pubsub.subscriptions) == 4
    ada.room.leave(10)
    assert len(pubsub.subscriptions) == 2
    bob.room.leave(10)
    assert pubsub.subscriptions == {}


def test_all_that_was_received_is_acknowledged(pubsub, enter):
    net = net_of_pubsub(pubsub)
    ada = enter(net, "ada")
    for number in range(20):
        ada.room.say(str(number))
    wait_until(lambda: len(ada.texts()) == 20)
    kept = next(sub for name, sub in pubsub.subscriptions.items() if ".here" not in name)
    wait_until(lambda: not kept.delivered and not kept.waiting, "acknowledged")


def test_what_is_not_acknowledged_comes_again_in_its_order(pubsub):
    """fake_pubsub.py promises this order, and the lab relies on it."""
    transport, heard = PubSubTransport("lobby", "p"), []
    transport.listen(heard.append)
    subscription = transport.subscriptions[transport.topic]
    transport.publish(
        Message(SAID, "ada", "is the stream open?")
    )  # a stream cancelled before it opens would stay
    wait_until(lambda: transport.wait(0.1) or heard)
    wait_until(lambda: not pubsub.subscriptions[subscription].delivered, "acknowledged")
    transport.hang_up()
    for number in range(5):
        transport.publish(Message(SAID, "ada", str(number)))
    for acknowledges in (False, True):
        came: queue.SimpleQueue = queue.SimpleQueue()
        stream = transport._subscriber.subscribe(subscription, callback=came.put)
        seen = [came.get(timeout=30)]
        while acknowledges and len(seen) < 5:
            seen[-1].ack()  # only then does the library pass on the next one with this key
            seen.append(came.get(timeout=30))
        assert from_bytes(seen[0].data).text == "0"
        if acknowledges:
            seen[-1].ack()
            assert [from_bytes(one.data).text for one in seen] == list("01234")
            wait_until(lambda: not pubsub.subscriptions[subscription].delivered, "acknowledged")
        stream.cancel()
        stream.result(10)
    assert not pubsub.subscriptions[subscription].waiting
    transport.close()


def test_no_pubsub_is_a_line(run):
    environment = {"PUBSUB_EMULATOR_HOST": "127.0.0.1:1"}
    words = ["--via", "pubsub", "--project", "p", "--username", "ada", "--message", "a"]
    script = run(SAYS, *words, env=environment)
    assert script.wait() == 3
    problem, hint = script.text("stderr").splitlines()
    assert problem.startswith("say.py: error: cannot reach Google Pub/Sub (")
    assert "PUBSUB_EMULATOR_HOST" in hint


def test_no_credentials_are_a_line(run, tmp_path):
    # An empty home has none, and NO_GCE_CHECK stops the search on a metadata server.
    environment = {
        "HOME": str(tmp_path),
        "CLOUDSDK_CONFIG": str(tmp_path),
        "NO_GCE_CHECK": "true",
        "PUBSUB_EMULATOR_HOST": "",
    }
    words = ["--via", "pubsub", "--project", "p", "--username", "ada", "--message", "a"]
    script = run(SAYS, *words, env=environment)
    assert script.wait() == 4
    problem, hint = script.text("stderr").splitlines()
    assert "credentials were not found" in problem
    assert hint.startswith("  try: gcloud auth application-default login")


@pytest.mark.parametrize(
    ("words", "says"),
    [([], "needs --project P"), (["--project", "p", "--host", "h"], "--host is for a broker")],
)
def test_options_of_pubsub(run, words, says):
    environment = {"GOOGLE_CLOUD_PROJECT": ""}
    script = run(LISTENS, "--via", "pubsub", *words, env=environment)
    assert script.wait() == 2
    assert says in script.text("stderr").splitlines()[0]


def test_project_without_pubsub_is_a_mistake_but_in_the_environment_is_none(run, lab):
    words = ["--username", "ada", "--message", "a"]
    script = run(SAYS, "--project", "p", *words, lab=lab)
    assert script.wait() == 2
    assert "--project is for Google Pub/Sub" in script.text("stderr").splitlines()[0]
    environment = {"GOOGLE_CLOUD_PROJECT": "p"}
    assert run(SAYS, *words, lab=lab, env=environment).wait() == 0


def test_missing_package_is_a_line(tmp_path):
    hidden = tmp_path / "google"
    hidden.mkdir()
    (hidden / "__init__.py").write_text("raise ImportError('No module named google')\n")
    done = subprocess.run(
        [sys.executable, ROOT / LISTENS, "--via", "pubsub", "--project", "p"],
        env=os.environ | {"PYTHONPATH": f"{tmp_path}:{ROOT}"},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 1
    problem, hint = done.stderr.splitlines()
    assert problem.startswith("listen.py: error: --via pubsub needs google-cloud-pubsub (")
    assert hint == f"  try: pip install -r {REQUIREMENTS}"


def test_the_page_shows_what_comes_via_pubsub(pubsub, run):
    """Play the part of the page that needs an emulator, which the panes in tmux lack."""
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    part = page.partition("\n## With Google Pub/Sub\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"```(console|text)\n(.*?)```", part, re.DOTALL)
    commands = [line for kind, text in blocks if kind == "console" for line in text.splitlines()]
    (expected,) = [text.splitlines() for kind, text in blocks if kind == "text"]
    assert "export PUBSUB_EMULATOR_HOST=localhost:8085" in commands
    assert f"pip install -r {REQUIREMENTS}" in commands and (ROOT / REQUIREMENTS).is_file()
    spoken, heard = [shlex.split(line) for line in commands if line.startswith("labs/08-chat/")]
    environment = {"PUBSUB_EMULATOR_HOST": pubsub.address}
    said = run(*spoken, env=environment)
    assert said.wait() == 0
    listener = run(*heard, env=environment)
    listener.wait_for("Listening")
    seen = [line.text for line in said.lines + listener.lines]
    assert isinstance(find(expected, seen), Found), seen


# ---- the programs


@pytest.mark.parametrize("script", [SAYS, LISTENS, CHATS])
def test_help_and_how_to_enter_the_environment(script):
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    ask = {"capture_output": True, "text": True, "timeout": 30}
    helped = subprocess.run([sys.executable, ROOT / script, "--help"], env=os.environ, **ask)
    assert helped.returncode == 0
    assert f"\n  {script} " in helped.stdout and "exit codes:" in helped.stdout
    outside = subprocess.run([sys.executable, "-ES", ROOT / script, "--help"], env=clean, **ask)
    assert outside.returncode == 1
    problem, hint = outside.stderr.splitlines()
    assert "error: No module named" in problem and hint.startswith("  try: . .venv/bin/activate")


# ---- the screen


@pytest.fixture
def stage():
    """Return a function that opens a terminal of a given size."""
    with stages() as open_stage:
        yield lambda url, size=(80, 24), **more: ChatScreen(
            open_stage(pane_environment(url, **more), size)
        )


class ChatScreen(Screen):
    """The terminal in which chat.py is typed."""

    command = CHATS

    def is_restored(self) -> bool:
        """Return True if the primary screen is back and typing is echoed."""
        self.pane.type("clear; stty -a | tr ' ' '\\n' | grep -E '^-?(echo|icanon);?$'; echo .")
        self.pane.press("Enter")
        self.wait("\n.")
        rows = self.rows()
        return not self.pane.look().full_screen and "echo" in rows and "icanon" in rows


def test_screen_shows_who_is_here_and_what_is_said_and_leaves_the_terminal_as_it_was(
    lab, enter, stage
):
    net = net_of_rabbitmq(lab)
    bob = enter(net, "bob")
    bob.room.say("before")
    wait_until(lambda: bob.texts() == ["before"])
    screen = stage(lab.url)
    screen.start("--username", "ada")
    screen.wait("lobby, 2 here: ~ada, ~bob", "~bob: before", "\n>")
    screen.pane.type("hello")
    screen.pane.press("BSpace", "BSpace", "p", "Home", "S", "End", "!", "Left", "Left", "DC")
    screen.wait("> Shel!")
    screen.pane.press("Enter")
    wait_until(lambda: bob.texts() == ["before", "Shel!"])
    screen.wait("~ada: Shel!")
    assert screen.rows()[-1].strip() == ">"
    enter(net, "carl").room.leave(10)
    screen.wait("~carl joined", "~carl left", "2 here: ~ada, ~bob")
    screen.pane.press("C-c")
    screen.wait(" [*] Left 'lobby'", "code 0")
    assert screen.is_restored()
    wait_until(lambda: [message.name for message in bob.heard(LEFT)] == ["carl", "ada"])


def test_line_that_one_types_is_never_torn_on_a_narrow_terminal(lab, enter, stage):
    net = net_of_rabbitmq(lab)
    bob, screen = enter(net, "bob"), stage(lab.url, size=(40, 12))
    screen.start("--username", "ada")
    screen.wait("2 here: ")
    typed = "half a line of 日本語 and 👍🏽 and é"
    screen.pane.type(typed)
    visible = "and 👍🏽 and é"
    wait_until(lambda: screen.rows()[-1].endswith(visible), "it is typed")
    words = "wörds 日本語 👩‍👩‍👧 🏳️‍🌈 [bold]no[/bold] "
    for number in range(10):
        bob.room.say(f"{number} " + words * 5)
        wait_until(lambda number=number: len(bob.texts()) == number + 1)
        rows = screen.rows()
        assert rows[-1].startswith("> ") and rows[-1].endswith(visible), rows
    screen.wait("9 wörds", "[bold]no[/bold]")
    rows = screen.rows()
    assert rows[0].startswith(" lobby, 2 here: ~ada, ~bob") and len(rows) == 12 - 1
    assert all(cell_len(row) <= 40 for row in rows if "👩" not in row and "🏳" not in row), rows
    bob.room.say(HOSTILE)
    # Both rows fill the width of the terminal exactly.
    screen.wait("\n      \\x1b[2J\\x1b]0;gone\\x07\\r\\x08[red]b\n      old[/red]\\u202eback\\n\n")
    assert screen.rows()[-1].endswith(visible)
    screen.pane.press("Enter")
    wait_until(lambda: bob.texts()[-1] == typed)
    screen.pane.press("C-d")  # on an empty line
    screen.wait("code 0")
    assert screen.is_restored()


def test_paste_of_many_lines_is_one_message_and_not_a_megabyte(lab, enter, stage):
    bob = enter(net_of_rabbitmq(lab), "bob")
    screen = stage(lab.url)
    screen.start("--username", "ada")
    screen.wait("2 here: ")
    screen.pane.paste("one\ntwo\x1b[31m\n" + "x" * 5000)
    screen.wait("xxx")
    assert bob.texts() == []
    screen.pane.press("Enter")
    wait_until(bob.texts)
    assert bob.texts()[0].startswith(r"one two\x1b[31m xxx")
    assert len(bob.texts()[0]) <= 2000


def test_screen_says_that_the_connection_is_lost_and_sends_what_was_typed(
    lab, enter, stage, proxied
):
    proxy, url = proxied
    bob, screen = enter(net_of_rabbitmq(lab), "bob"), stage(url)
    screen.start("--username", "ada")
    screen.wait("2 here: ")
    proxy.play_dead()
    proxy.cut()
    screen.wait("No connection, coming back", "Lost the connection")
    screen.pane.type("kept")
    screen.pane.press("Enter")
    screen.wait("; 1 to say then")
    proxy.play_dead(False)
    screen.wait("Connected again", "~ada: kept", "Enter says it")
    wait_until(lambda: bob.texts() == ["kept"])
    proxy.play_dead()
    proxy.cut()
    screen.wait("No connection, coming back")
    screen.pane.type("too late")
    screen.pane.press("Enter")
    screen.wait("; 1 to say then")
    screen.pane.press("C-c")
    screen.wait("Not said: 'too late' (the connection was lost)", "code 3")
    assert screen.is_restored()


def test_ctrl_z_and_a_new_size(lab, stage):
    screen = stage(lab.url)
    screen.start("--username", "ada")
    screen.wait("1 here: ")
    screen.pane.press("C-z")
    screen.wait("Stopped")
    screen.pane.type("clear; fg; echo code $?")
    screen.pane.press("Enter")
    screen.wait("1 here: ", "\n>")
    screen.stage.server.cmd("resize-window", "-t", "lab", "-x", "30", "-y", "8")
    wait_until(lambda: len(screen.rows()) == 7 and screen.rows()[-1].startswith(">"))
    screen.pane.press("C-c")
    screen.wait("code 0")
    assert screen.is_restored()


@pytest.mark.parametrize("how", ["signal", "closed"])
def test_screen_ends_with_its_terminal_and_when_it_is_asked_to(lab, how):
    environment = pane_environment(lab.url, TERM="xterm-256color")
    terminal = Terminal([sys.executable, ROOT / CHATS, "--username", "ada"], environment)
    try:
        terminal.wait_for("1 here: ")
        if how == "closed":
            os.close(terminal._master)
            assert terminal.process.wait(10) == 0
        else:
            terminal.process.terminate()
            assert terminal.wait(10) == 0
            assert "\x1b[?7h\x1b[?1049l" in terminal.text.replace("\x1b[?25h", "")
    finally:
        with contextlib.suppress(OSError):
            terminal.close()


def test_who_closes_the_pane_has_said_goodbye(lab, enter, stage):
    bob, screen = enter(net_of_rabbitmq(lab), "bob"), stage(lab.url)
    screen.start("--username", "ada")
    screen.wait("2 here: ")
    screen.stage.server.cmd("kill-pane", "-t", "lab")
    wait_until(lambda: [message.name for message in bob.heard(LEFT)] == ["ada"])


def test_refusal_is_a_line_and_no_screen(lab, stage):
    screen = stage(lab.url)
    screen.start("--vhost", "nowhere", "--username", "ada")
    screen.wait("vhost nowhere not found", "code 4")
    assert not screen.pane.look().full_screen


def test_without_a_terminal_it_says_what_to_use(run):
    script = run(CHATS, "--username", "ada")
    assert script.wait() == 2
    assert "listen.py in one window, labs/08-chat/say.py in another" in script.text("stderr")


def test_screen_via_pubsub(pubsub, enter, stage):
    net = net_of_pubsub(pubsub)
    bob = enter(net, "bob")
    screen = stage("", **net.environment)
    screen.start(*net.options, "--username", "ada")
    screen.wait("lobby, 2 here: ~ada, ~bob")
    screen.pane.type("hello")
    screen.pane.press("Enter")
    wait_until(lambda: bob.texts() == ["hello"])
    pubsub.stop()
    screen.wait("No connection, coming back")
    pubsub.start()
    screen.wait("Connected again", "Enter says it")
    ours = re.compile(r" lobby, .*|\d\d:\d\d .*|      .*|Enter says it.*|>|")
    assert [row for row in screen.rows() if not ours.fullmatch(row)] == []  # no output of a library
    screen.pane.press("C-c")
    screen.wait("code 0")
    assert screen.is_restored()
