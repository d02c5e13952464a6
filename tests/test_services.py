"""Test lab 11's services on a real broker: in any order, with outages, nothing lost."""

import contextlib
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import pika
import pytest

from conftest import (
    ROOT,
    Broker,
    Lab,
    Run,
    Script,
    UndecodableProperties,
    undecodable_is_fine,
    wait_until,
)
from kit.broker.network import free_port
from kit.exercise.proxy import Proxy
from strange import ODD

FOLDER = "labs/11-services"
ENVIRONMENT = {"PYTHONPATH": f"{ROOT}:{ROOT / FOLDER}", "PYTHONUNBUFFERED": "1"}
PERSON = {"email": "ada@example.com", "name": "Ada"}
EMAIL = PERSON["email"]
QUICK = ("--retry-delay", 0.1)
PERSISTENT = pika.BasicProperties(delivery_mode=2)


class Web:
    """A client for the address of a service."""

    def __init__(self, address: str) -> None:
        self.address = address

    def ask(self, method: str, path: str, status: int = 200, **fields) -> object:
        """Send a request; check the status of the answer, and return its content."""
        answer = httpx.request(
            method, f"{self.address}/{path}", json=fields or None, timeout=30, trust_env=False
        )
        assert answer.status_code == status, answer.text
        return answer.json()

    def name(self) -> str | None:
        """Return Ada's name according to the service."""
        known = {one["email"]: one["name"] for one in self.ask("GET", "accounts")}
        return known.get(EMAIL)


class Services:
    """Starts services of the lab, on free ports and with data for one test."""

    def __init__(self, run: Run, lab: Lab, folder: Path) -> None:
        self.run, self.lab, self.folder = run, lab, folder
        self.scripts: list[Script] = []
        self.ports: dict[str, int] = {}  # by name; restarted services keep their port

    def start(self, name: str, *arguments: object, kill_at: str = "", **more) -> Script:
        """Start a program; `kill_at` says where it dies, such as "after MODULE:CLASS.METHOD"."""
        more = {"lab": self.lab, "env": ENVIRONMENT} | more
        program = f"{FOLDER}/{name}.py"
        arguments = ("--data", self.folder / "data", *arguments)
        if kill_at:
            program, arguments = "tests/kill_at.py", (kill_at, ROOT / program, *arguments)
        self.scripts.append(self.run(program, *arguments, **more))
        return self.scripts[-1]

    def web(self, name: str, *arguments: object, **more) -> tuple[Script, Web]:
        """Start a service that answers HTTP; return it and its client."""
        port = self.ports.get(name, 0)
        script = self.start(name, "--http-port", port, *arguments, **more)
        address = re.search(r"http://[\d.:]+\d", script.wait_for("Answering").text)[0]
        self.ports[name] = httpx.URL(address).port
        return script, Web(address)

    def mail(self, *arguments: object) -> tuple[Script, Web]:
        """Start the mail server."""
        port = self.ports.get("smtp", 0)
        script, web = self.web("mail", "--smtp-port", port, *arguments)
        self.ports["smtp"] = int(re.search(r":(\d+);", script.find("Taking mails")[0].text)[1])
        return script, web

    def workflow(self, *arguments: object, **more) -> Script:
        """Start the workflow, which uses the running mail server."""
        smtp = ("--smtp", f"127.0.0.1:{self.ports['smtp']}", *QUICK)
        return self.start("workflow", *smtp, *arguments, **more)

    def dying_monolith(self, where: str) -> tuple[Script, Web]:
        """Start a monolith that will be killed at a step, and wait until it is connected."""
        monolith, web = self.web("monolith", kill_at=where)
        monolith.wait_for("Connected to the broker")
        return monolith, web


@pytest.fixture
def services(run: Run, lab: Lab, tmp_path: Path) -> Iterator[Services]:
    """Return an object that starts services; fail on tracebacks."""
    services = Services(run, lab, tmp_path)
    yield services
    for script in services.scripts:
        assert "Traceback" not in script.text()


def decide(lab: Lab, number: int, queue: str = "approved", email: str = EMAIL) -> None:
    """Tell the workflow that a presentation was approved or rejected, as the monolith does."""
    body = {"number": number, "title": f"Talk {number}", "name": "Ada", "email": email}
    send(lab, f"presentations.{queue}", json.dumps(body))


def send(lab: Lab, queue: str, body: str, properties: pika.BasicProperties = PERSISTENT) -> None:
    channel = lab.connection.channel()
    channel.queue_declare(queue, durable=True)
    channel.confirm_delivery()
    channel.basic_publish("", queue, body.encode(), properties, mandatory=True)
    channel.close()


def ready(lab: Lab, queue: str) -> int:
    channel = lab.connection.channel()
    count = channel.queue_declare(queue, durable=True).method.message_count
    channel.close()
    return count


def subjects(mail: Web) -> list[str]:
    return sorted(one["subject"] for one in mail.ask("GET", "mails"))


def leave(script: Script) -> None:
    """Stop a program; it must exit with 0."""
    script.terminate()
    assert script.wait() == 0, script.text()


# ---- all of it


def test_started_in_the_worst_order_and_the_broker_restarted(
    services: Services, own_broker: Broker
):
    """Consumers start first and the broker last; then the broker goes away and comes back."""
    first, prefix = free_port(4), f"t-{uuid.uuid4().hex[:8]}."
    port = free_port()  # where the broker seems to start: a proxy
    url = f"amqp://guest:guest@127.0.0.1:{port}/%2F"
    everything = services.start(
        "run", "workflow", "attendees", "mail", "monolith", "--prefix", prefix,
        url=url, env=ENVIRONMENT | {"LAB_HTTP_PORT": str(first)},
    )  # fmt: skip
    for service in ("workflow", "attendees", "monolith"):
        wait_until(
            lambda name=service: re.search(rf"{name} +\| +\[!\] Cannot reach", everything.text()),
            f"{service} waits for the broker",
        )
    monolith, attendees, mail = (Web(f"http://127.0.0.1:{first + place}") for place in range(3))
    everything.wait_for("Taking mails")
    monolith.ask("POST", "accounts", 201, **PERSON)
    monolith.ask("POST", "presentations", 201, title="Engines", email=EMAIL)
    monolith.ask("PUT", "presentations/1/approval")
    assert monolith.ask("GET", "health") == {"status": "ok", "broker": "away", "outbox": 2}
    assert attendees.ask("GET", "accounts") == subjects(mail) == []

    proxy = Proxy(own_broker.port, port)
    wait_until(lambda: subjects(mail) == ["Engines: approved"], "the first mail", within=60)
    wait_until(lambda: attendees.name() == "Ada", "the account is known", within=60)

    own_broker.node.stop()
    wait_until(lambda: monolith.ask("GET", "health")["broker"] == "away", "the broker is away")
    monolith.ask("PATCH", f"accounts/{EMAIL}", name="Ada King")
    monolith.ask("POST", "presentations", 201, title="Poetry", email=EMAIL)
    monolith.ask("PUT", "presentations/2/rejection")
    own_broker.node.start()
    both = ["Engines: approved", "Poetry: rejected"]
    wait_until(lambda: subjects(mail) == both, "the second mail", within=60)
    wait_until(lambda: attendees.name() == "Ada King", "the change is known", within=60)
    assert mail.ask("GET", "health") == {"status": "ok", "mails": 2, "repeated": 0}
    assert attendees.ask("GET", "health")["requests to the monolith"] == 1
    leave(everything)
    assert not still_running(prefix)
    proxy.close()


def still_running(sign: str) -> list[str]:
    """Return the lab's commands that still run and bear the test's mark."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            command = (folder / "cmdline").read_text(errors="replace").replace("\0", " ")
            if sign in command + (folder / "environ").read_text(errors="replace"):
                found.append(command)
    return [command for command in found if FOLDER in command]


@pytest.mark.parametrize("how", ["early", "the terminal closes", "a child dies"])
def test_run_leaves_nothing_behind(services: Services, lab: Lab, how: str):
    env = ENVIRONMENT | {"LAB_HTTP_PORT": str(free_port(4))}
    everything = services.start("run", env=env)
    if how == "early":
        everything.wait_for("monolith started")
        everything.terminate()
    else:
        everything.wait_for("Answering", 3)
        everything.wait_for("Waiting for messages", 2)
        assert len(still_running(lab.vhost)) >= 5
    if how == "the terminal closes":
        everything.signal(signal.SIGHUP)
    if how == "a child dies":
        os.kill(int(re.search(r"workflow started \(pid=(\d+)", everything.text())[1]), 9)
    assert (everything.wait() == 0) == (how != "a child dies"), everything.text()
    wait_until(lambda: not still_running(lab.vhost), "all are gone")


@pytest.mark.parametrize("way", ["fork", "spawn"])
def test_run_leaves_nothing_behind_when_its_pane_is_closed(lab: Lab, tmp_path: Path, way: str):
    """The whole terminal goes: all its processes get SIGHUP and have nowhere to print.

    Whether honcho forks or spawns its processes depends on the system and on Python's version.
    """
    set_way = f"import multiprocessing; multiprocessing.set_start_method({way!r})"
    (tmp_path / "sitecustomize.py").write_text(set_way)
    ours, theirs = os.openpty()
    env = os.environ | {"LAB_HTTP_PORT": str(free_port(4)), "AMQP_URL": lab.url}
    env |= ENVIRONMENT | {"PYTHONPATH": f"{tmp_path}:{ENVIRONMENT['PYTHONPATH']}"}
    command = ["setsid", "--ctty", sys.executable, ROOT / FOLDER / "run.py", "--data", tmp_path]
    pane = subprocess.Popen(command, env=env, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    while shown.count(b"Waiting for messages") < 2:
        shown += os.read(ours, 4096)
    assert len(still_running(lab.vhost)) >= 5
    os.close(ours)
    os.killpg(pane.pid, signal.SIGHUP)  # as a pane's shell does to its jobs
    pane.wait(30)
    wait_until(lambda: not still_running(lab.vhost), "all are gone")


def test_run_leaves_nothing_behind_when_nobody_reads_on(services: Services, lab: Lab):
    env = ENVIRONMENT | {"LAB_HTTP_PORT": str(free_port(4))}
    services.start("run", "monolith", "mail", env=env, shell="| head -3").wait()
    wait_until(lambda: not still_running(lab.vhost), "all are gone")


# ---- the monolith


def test_what_may_be_asked_and_what_not(services: Services):
    _, monolith = services.web("monolith")
    ask = monolith.ask
    account = ask("POST", "accounts", 201, **PERSON)
    assert (account["active"], account["version"]) == (True, 1)
    for wrong in ({"email": EMAIL}, {"email": "ada", "name": "Ada"}, PERSON | {"name": "a\nb: c"}):
        fields = [one["loc"][-1] for one in ask("POST", "accounts", 422, **wrong)["detail"]]
        assert fields == ["name" if "@" in wrong["email"] else "email"]
    ask("POST", "accounts", 409, **PERSON | {"email": EMAIL.upper()})
    ask("GET", "accounts/bob@example.com", 404)
    assert ask("PATCH", f"accounts/{EMAIL}", name="Ada")["version"] == 1  # this changes nothing
    ask("POST", "presentations", 404, title="x", email="bob@example.com")
    ask("GET", "presentations/1", 404)
    ask("GET", f"presentations/{10**20}", 422)
    ask("PUT", "presentations/1/approval", 404)
    for number in (1, 2):
        assert ask("POST", "presentations", 201, title="x", email=EMAIL)["number"] == number
    for _ in range(2):
        assert ask("PUT", "presentations/1/approval")["status"] == "approved"
    ask("PUT", "presentations/1/rejection", 409)
    ask("PUT", "presentations/2/rejection")
    ask("PUT", "presentations/2/approval", 409)
    assert [one["status"] for one in ask("GET", "presentations")] == ["approved", "rejected"]
    for _ in range(2):
        assert ask("DELETE", f"accounts/{EMAIL}")["version"] == 2
    ask("POST", "presentations", 409, title="x", email=EMAIL)
    assert "is not active" in ask("POST", "accounts", 409, **PERSON)["detail"]
    assert "/docs" in httpx.get(monolith.address, trust_env=False).headers["location"]
    wait_until(lambda: ask("GET", "health")["outbox"] == 0, "all is published")
    assert [ready(services.lab, f"presentations.{one}") for one in ("approved", "rejected")] == [
        1,
        1,
    ]


def test_all_that_waits_is_counted(services: Services):
    monolith, _ = services.web("monolith")
    leave(monolith)
    with contextlib.closing(sqlite3.connect(services.folder / "data/monolith.sqlite3")) as db, db:
        rows = [(uuid.uuid4().hex,) for _ in range(501)]
        db.executemany("INSERT INTO outbox (exchange, message_id) VALUES ('x', ?)", rows)
    _, web = services.web("monolith", url=f"amqp://guest:guest@127.0.0.1:{free_port()}/")
    assert web.ask("GET", "health") == {"status": "ok", "broker": "away", "outbox": 501}


@pytest.mark.parametrize("name", ["monolith", "attendees", "workflow", "mail"])
def test_a_folder_is_for_one_of_each(services: Services, lab: Lab, name: str):
    more = {"env": ENVIRONMENT | {"LAB_HTTP_PORT": str(free_port(4))}}
    first = services.start(name, **more)
    first.wait_for("Waiting for" if name == "workflow" else "Answering")
    second = services.start(name, **more)
    assert second.wait() == 1
    assert f"another {name} uses the folder {services.folder}/data" in second.text()
    delete = services.start("run", "--delete")
    assert (delete.wait(), delete.text("stdout")) == (1, "")
    assert f"another {name} uses the folder" in delete.text()
    leave(first)


def test_what_was_left_is_deleted_unless_somebody_uses_it(services: Services, lab: Lab):
    services.ports["smtp"] = free_port()
    reader = services.workflow("--data", services.folder / "elsewhere", "--prefix", "mine.")
    reader.wait_for("Waiting for")
    refused = services.start("run", "--delete", "--prefix", "mine.")
    assert refused.wait() == 1
    assert "somebody reads 'mine.presentations.approved'" in refused.text()
    leave(reader)
    script, _ = services.mail()
    leave(script)
    for prefix in ("mine.", ""):
        done = services.start("run", "--delete", "--prefix", prefix)
        assert done.wait() == 0, done.text()
    assert lab.broker.api("GET", f"queues/{lab.vhost}") == []
    exchanges = [one["name"] for one in lab.broker.api("GET", f"exchanges/{lab.vhost}")]
    assert not [name for name in exchanges if name.endswith("accounts")]
    assert not (services.folder / "data").exists()


def test_the_monolith_is_killed_between_storing_and_publishing(services: Services, lab: Lab):
    _, mail = services.mail()
    services.workflow()
    monolith, web = services.web("monolith")
    web.ask("POST", "accounts", 201, **PERSON)
    web.ask("POST", "presentations", 201, title="Engines", email=EMAIL)
    leave(monolith)
    monolith, web = services.dying_monolith("before kit.web.relay:Relay.publish")
    with contextlib.suppress(httpx.TransportError):  # it may die before it has answered
        web.ask("PUT", "presentations/1/approval")
    assert monolith.wait() == -signal.SIGKILL
    assert ready(lab, "presentations.approved") == 0
    assert subjects(mail) == []
    monolith, web = services.web("monolith")
    assert "1 waiting in the outbox" in monolith.wait_for("Connected to the broker").text
    wait_until(lambda: subjects(mail) == ["Engines: approved"], "the mail")
    assert web.ask("GET", "presentations/1")["status"] == "approved"


def test_the_monolith_is_killed_between_publishing_and_forgetting(services: Services):
    monolith, web = services.web("monolith")
    script, attendees = services.web("attendees", "--monolith", web.address)
    script.wait_for("Waiting for messages")
    leave(monolith)
    monolith, web = services.dying_monolith("before conference.site:Site.mark_published")
    with contextlib.suppress(httpx.TransportError):
        web.ask("POST", "accounts", 201, **PERSON)
    assert monolith.wait() == -signal.SIGKILL
    wait_until(lambda: attendees.name() == "Ada", "the account is known")
    monolith, web = services.web("monolith")
    assert "1 waiting in the outbox" in monolith.wait_for("Connected to the broker").text
    web.ask("PATCH", f"accounts/{EMAIL}", name="Ada King")
    script.wait_for("version 2")
    assert re.findall(r"version (\d)", script.text()) == ["1", "2"]  # the repetition had no effect


def test_what_was_deleted_meanwhile_is_declared_again(services: Services, lab: Lab):
    monolith, web = services.web("monolith")
    monolith.wait_for("Connected to the broker")
    channel = lab.connection.channel()
    channel.queue_delete("presentations.approved")
    web.ask("POST", "accounts", 201, **PERSON)
    web.ask("POST", "presentations", 201, title="Engines", email=EMAIL)
    web.ask("PUT", "presentations/1/approval")
    monolith.wait_for("No queue takes 'presentations.approved'")
    wait_until(lambda: web.ask("GET", "health")["outbox"] == 0, "all is published")
    assert ready(lab, "presentations.approved") == 1
    channel.exchange_delete("accounts")
    web.ask("PATCH", f"accounts/{EMAIL}", name="Ada King")
    monolith.wait_for("Connected to the broker", 2)
    wait_until(lambda: web.ask("GET", "health")["outbox"] == 0, "all is published")


# ---- the attendees


def account(version: int, name: str, active: bool = True) -> dict:
    return PERSON | {"name": name, "active": active, "version": version, "changed": 0}


def test_the_copy_begins_with_all_and_goes_on_by_version(services: Services, lab: Lab):
    """The monolith starts last; messages come out of order, twice, and incomplete."""
    services.ports["monolith"] = free_port()
    address = f"http://127.0.0.1:{services.ports['monolith']}"
    script, attendees = services.web("attendees", "--monolith", address)
    script.wait_for("No accounts from")
    attendees.ask("POST", "attendees", 404, email=EMAIL)
    _, monolith = services.web("monolith", "--data", services.folder / "monolith")
    monolith.ask("POST", "accounts", 201, **PERSON)
    script.wait_for("Waiting for messages")
    wait_until(lambda: attendees.name() == "Ada", "the account is known")
    badge = attendees.ask("POST", "attendees", 201, email=EMAIL)
    assert attendees.ask("POST", "attendees", 201, email=EMAIL) == badge

    channel = lab.connection.channel()

    def tell(what: object) -> None:
        channel.basic_publish("accounts", "", what if type(what) is bytes else json.dumps(what))

    huge = account(10**20, "more than a database has room for")
    for what in (account(5, "Ada 5"), account(4, "Ada 4"), b"{", huge, account(5, "Ada 5 again")):
        tell(what)
    tell(account(6, "Ada 6", active=False))
    tell(account(3, "Ada 3"))
    bob = {"email": "bob@example.com", "name": "Bob"}
    tell(account(1, "Bob") | bob)
    wait_until(lambda: len(attendees.ask("GET", "accounts")) == 2, "Bob is known")
    assert re.findall(r"version (\d)", script.text()) in (["5", "6", "1"], ["1", "5", "6", "1"])
    assert len(script.find("This is no account")) == 2
    attendees.ask("POST", "attendees", 409, email=EMAIL)
    assert attendees.ask("GET", "attendees") == []

    # It may have missed messages while it had no queue, so it asks for all accounts again.
    requests = attendees.ask("GET", "health")["requests to the monolith"]
    monolith.ask("POST", "accounts", 201, email="carl@example.com", name="Carl")
    wait_until(lambda: len(attendees.ask("GET", "accounts")) == 3, "Carl is known")
    lab.connection.channel().queue_delete("attendees.accounts")
    script.wait_for("was deleted")
    wait_until(
        lambda: attendees.ask("GET", "health")["requests to the monolith"] > requests, "it asks"
    )
    script.wait_for("Waiting for messages", 2)
    monolith.ask("DELETE", "accounts/carl@example.com")
    script.wait_for("carl@example.com, version 2: not active any more")
    leave(script)
    assert "requests to the monolith" in script.text()


def test_polling_is_late_and_goes_on_without_the_monolith(services: Services):
    monolith, web = services.web("monolith")
    polling = ("--via", "polling", "--monolith", web.address)
    script, attendees = services.web("attendees", *polling, "--every", 3600)
    script.wait_for("Copied all accounts")
    web.ask("POST", "accounts", 201, **PERSON)
    attendees.ask("GET", f"accounts/{EMAIL}", 404)
    leave(script)
    script, attendees = services.web("attendees", *polling, "--every", 0.1)
    script.wait_for("version 1")
    leave(monolith)
    script.wait_for("No accounts from")
    assert attendees.name() == "Ada"
    monolith, web = services.web("monolith")
    web.ask("PATCH", f"accounts/{EMAIL}", name="Ada King")
    script.wait_for('"Ada King"')
    leave(script)
    assert int(script.text().rpartition(": ")[2]) >= 3


def test_the_ways_are_compared(services: Services, lab: Lab):
    arguments = ("--changes", 3, "--every", 0.1, 0.4)
    done = services.run(f"{FOLDER}/compare.py", *arguments, lab=lab, env=ENVIRONMENT)
    assert done.wait(60) == 0, done.text()
    rows = [re.split(r"  +", line) for line in done.text("stdout").splitlines()[-3:]]
    assert [row[0] for row in rows] == ["polling, every 0.1 s", "polling, every 0.4 s", "messages"]
    requests = [int(row[1]) for row in rows]
    assert requests[0] > requests[1] > requests[2] == 1
    assert all(int(row[3]) >= int(row[2]) >= 0 for row in rows)
    assert all(int(row[5]) >= 1000 for row in rows if row[4] == "not known")
    assert rows[2][4] == "known"
    assert lab.broker.api("GET", f"queues/{lab.vhost}") == []


@pytest.mark.skipif(undecodable_is_fine(), reason="this pika decodes it")
def test_what_pika_cannot_decode_ends_a_service_and_loses_nothing(services: Services, lab: Lab):
    _, mail = services.mail()
    workflow = services.workflow()
    workflow.wait_for("Waiting for messages")
    decide(lab, 1)
    workflow.wait_for("Sent: ")
    send(lab, "presentations.approved", "{}", UndecodableProperties())
    decide(lab, 2)
    assert workflow.wait() == 1
    assert "workflow.py: error: pika cannot decode the next message" in workflow.text()
    assert 1 <= len(workflow.find("connecting again")) <= 5
    wait_until(lambda: ready(lab, "presentations.approved") == 2, "both are there")

    _, web = services.web("monolith")
    web.ask("POST", "accounts", 201, **PERSON)
    attendees, _ = services.web("attendees", "--monolith", web.address)
    attendees.wait_for("Waiting for messages")
    send(lab, "attendees.accounts", "{}", UndecodableProperties())
    assert attendees.wait() == 1
    assert "attendees.py: error: pika cannot decode the next message" in attendees.text()


def test_properties_that_are_no_text_do_no_harm(services: Services, lab: Lab):
    _, mail = services.mail()
    workflow = services.workflow()
    workflow.wait_for("Waiting for messages")
    body = {"number": 1, "title": "Talk 1", "name": "Ada", "email": EMAIL}
    send(lab, "presentations.approved", json.dumps(body), pika.BasicProperties(**ODD))
    send(lab, "presentations.approved", "nonsense", pika.BasicProperties(**ODD))
    workflow.wait_for("Sent: presentation 1")
    workflow.wait_for("Parked: 'nonsense'")
    assert len(workflow.find("Waiting for messages")) == 1

    headers = {"reason": "\x1b[2Jgone", "queue": b"\xff"}
    send(lab, "presentations.failed", "{}", pika.BasicProperties(headers=headers))
    parked = services.workflow("--parked", "--again")
    assert parked.wait() == 0
    assert "'{}': \\x1b[2Jgone" in parked.text() and "\x1b" not in parked.text()
    workflow.wait_for("Parked: '{}'")


# ---- the mails


def test_the_mail_server_is_down_for_a_while(services: Services, lab: Lab):
    script, mail = services.mail()
    leave(script)
    workflow = services.workflow()
    for number in (1, 2, 3):
        decide(lab, number)
    decide(lab, 4, "rejected")
    workflow.wait_for("No mail server")
    workflow.wait_for("trying again in 0.4 s")
    script, mail = services.mail()
    workflow.wait_for("Sent: ", 4)
    leave(script)
    in_vain = len(workflow.find("No mail server"))
    decide(lab, 5)
    workflow.wait_for("No mail server", in_vain + 1)
    _, mail = services.mail()
    talks = [f"Talk {number}: approved" for number in (1, 2, 3, 5)]
    wait_until(lambda: subjects(mail) == sorted([*talks, "Talk 4: rejected"]), "all mails")
    workflow.wait_for("Sent: ", 5)
    leave(workflow)
    assert len(workflow.find("Sent: ")) == 5
    assert ready(lab, "presentations.approved") == ready(lab, "presentations.failed") == 0
    assert mail.ask("GET", "health") == {"status": "ok", "mails": 5, "repeated": 0}


@pytest.mark.parametrize(
    ("where", "repeated", "said"),
    [
        ("before conference.post:Post.send", 0, "Sent: presentation 1"),  # before sending
        ("before conference.post:Post.remember", 1, "Sent: presentation 1"),  # not recorded yet
        ("after conference.post:Post.send", 0, "Sent before, and not again: presentation 1"),
    ],
)
def test_the_workflow_is_killed_around_sending(
    services: Services, lab: Lab, where: str, repeated: int, said: str
):
    _, mail = services.mail()
    decide(lab, 1)
    dying = services.workflow(kill_at=where)
    assert dying.wait() == -signal.SIGKILL
    workflow = services.workflow()
    workflow.wait_for(said)
    leave(workflow)
    assert ready(lab, "presentations.approved") == 0
    assert mail.ask("GET", "health") == {"status": "ok", "mails": 1, "repeated": repeated}


def test_what_no_mail_server_takes_is_parked_with_the_reason(services: Services, lab: Lab):
    script, mail = services.mail("--refuse", "nobody@example.com", "--busy", "busy@example.com")
    workflow = services.workflow("--tries", 3)
    decide(lab, 1, email="nobody@example.com")
    workflow.wait_for("Parked: presentation 1")
    decide(lab, 2, email="busy@example.com")
    workflow.wait_for("Not now: presentation 2", 2)
    workflow.wait_for("Parked: presentation 2")
    send(lab, "presentations.rejected", "nonsense")
    workflow.wait_for("Parked: 'nonsense' (this is no decision)")
    decide(lab, 3)
    workflow.wait_for("Sent: presentation 3")
    assert len(workflow.find("Not now")) == 2

    assert services.start("workflow", "--parked", "--again").wait() == 0
    workflow.wait_for("Parked: presentation 2", 2)
    assert len(workflow.find("Not now")) == 4  # the first round of attempts is forgotten
    workflow.wait_for("Parked: 'nonsense'", 2)
    leave(workflow)

    parked = services.start("workflow", "--parked")
    assert parked.wait() == 0
    reasons = re.findall(r": (\d+ .*|this is .*)", parked.text())
    assert sorted(reasons) == [
        "450 mailbox busy, try again later",
        "550 no such mailbox here",
        "this is no decision",
    ]
    assert ready(lab, "presentations.failed") == 3
    leave(script)
    script, mail = services.mail()
    again = services.start("workflow", "--parked", "--again")
    assert (again.wait(), again.find("3 parked, and back")[0].stream) == (0, "stdout")
    workflow = services.workflow()
    for said in ("Sent: presentation 1", "Sent: presentation 2", "Parked: 'nonsense'"):
        workflow.wait_for(said)
    leave(workflow)
    assert len(mail.ask("GET", "mails")) == 3
    assert ready(lab, "presentations.failed") == 1


def test_the_queue_to_park_in_was_deleted(services: Services, lab: Lab):
    services.mail("--refuse", EMAIL)
    workflow = services.workflow()
    workflow.wait_for("Waiting for messages")
    lab.connection.channel().queue_delete("presentations.failed")
    decide(lab, 1)
    workflow.wait_for("Parked: presentation 1")
    assert not workflow.find("Lost")
    assert ready(lab, "presentations.failed") == 1


def test_a_mail_server_that_serves_nobody_now(services: Services, lab: Lab):
    with socket.create_server(("127.0.0.1", 0)) as server:
        services.ports["smtp"] = server.getsockname()[1]
        workflow = services.workflow()
        decide(lab, 1)
        server.settimeout(30)
        caller, _ = server.accept()
        with caller:
            caller.sendall(b"421 closed for lunch\r\n")
            said = workflow.wait_for("No mail server").text
    assert "(421 closed for lunch); trying again" in said


def test_a_second_signal_does_not_wait_for_the_mail_in_hand(services: Services, lab: Lab):
    with socket.create_server(("127.0.0.1", 0)) as server:
        services.ports["smtp"] = server.getsockname()[1]
        workflow = services.workflow()
        decide(lab, 1)
        server.settimeout(30)
        caller, _ = server.accept()
        with caller:  # the client sends nothing
            workflow.terminate()
            workflow.interrupt()
            assert workflow.wait() == 0
    assert not workflow.find("No mail server")
    wait_until(lambda: ready(lab, "presentations.approved") == 1, "the message is back")


def test_a_mail_server_without_its_folder_wants_the_mail_later(services: Services, lab: Lab):
    script, mail = services.mail()
    folder = services.folder / "data" / "mail"
    folder.rename(folder.with_name("away"))
    workflow = services.workflow()
    decide(lab, 1)
    workflow.wait_for("Not now: presentation 1, approved, to ada@example.com (451 ")
    script.wait_for("Cannot keep a mail to ada@example.com")
    folder.with_name("away").rename(folder)
    workflow.wait_for("Sent: presentation 1")
    assert len(mail.ask("GET", "mails")) == 1


def test_mails_are_kept_and_shown(services: Services, lab: Lab):
    script, mail = services.mail()
    workflow = services.workflow()
    body = {"number": 1, "title": "<b>&", "name": "Adé", "email": EMAIL}
    send(lab, "presentations.approved", json.dumps(body))
    workflow.wait_for("Sent: ")
    leave(script)
    script, mail = services.mail()
    script.wait_for("1 are here")
    page = httpx.get(mail.address, trust_env=False).text
    assert "&lt;b&gt;&amp;: approved" in page and "<b>&" not in page and "Dear Adé" in page


# ---- errors


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        (("monolith",), 4, "Login was refused"),
        (("attendees",), 4, "Login was refused"),
        (("workflow",), 4, "Login was refused"),
        (("monolith", "--data", "/proc/none"), 1, "cannot keep data in /proc/none"),
        (("mail", "--data", "/proc/none"), 1, "cannot keep data in /proc/none"),
        (("monolith", "--http-port", "PORT"), 1, "or --http-port 0, any free one"),
        (("mail", "--forget", "--smtp-port", "PORT"), 1, "or --smtp-port 0, any free one"),
        (("attendees", "--monolith", "ftp://x"), 2, "an address is http://HOST:PORT"),
        (("workflow", "--smtp", "x"), 2, "a mail server's address is HOST:PORT"),
        (("mail",), 2, "LAB_HTTP_PORT is 'x'"),
        (("workflow", "--again"), 2, "--again goes with --parked"),
        (("run", "nosuch"), 2, "there is no service 'nosuch': monolith, attendees, workflow"),
        (("run", "mail", "mail"), 2, "each service once"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_one_line_and_what_to_try(
    services: Services, lab: Lab, command: tuple, code: int, said: str
):
    name, *arguments = command
    with contextlib.ExitStack() as stack:
        if "PORT" in arguments:
            taken = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            arguments = [str(taken.getsockname()[1]) if a == "PORT" else a for a in arguments]
        url = lab.url.replace("guest:guest", "nosuch:p-w") if code == 4 else lab.url
        port = "x" if "LAB_HTTP_PORT" in said else str(free_port(4))
        env = ENVIRONMENT | {"LAB_HTTP_PORT": port}
        done = services.start(name, *arguments, url=url, env=env)
        assert done.wait() == code, done.text()
    error, hint = done.text("stderr").splitlines()
    assert error.startswith(f"{name}.py: error: ") and hint.startswith("  try: ")
    assert said in done.text("stderr")
    assert "p-w" not in done.text()


def test_ask_shows_answers_and_refusals(services: Services, run: Run):
    port = free_port(4)
    services.ports["monolith"] = port
    services.web("monolith")
    env = ENVIRONMENT | {"LAB_HTTP_PORT": str(port)}

    def ask(*arguments: str) -> tuple[int, str]:
        done = run(f"{FOLDER}/ask.py", *arguments, env=env)
        return done.wait(), done.text()

    code, said = ask("monolith", "POST", "accounts", f"email={EMAIL}", "name=Ada")
    assert (code, said.splitlines()[0]) == (0, "201 Created")
    assert 'name "Ada", email "ada@example.com", active true, version 1' in said
    assert ask("monolith", "GET", "accounts/x") == (4, "404 Not Found\n  there is no account 'x'")
    code, said = ask("monolith", "POST", "accounts", "email=x", "name=Ada")
    assert code == 4 and "email: String should match" in said
    code, said = ask("mail", "GET", "mails")
    assert code == 3 and said.endswith("(Connection refused)\n  try: ./mail.py, in another pane")
    assert ask("monolith", "POST", "accounts", "x")[0] == 2
    assert ask("monolith", "get", "presentations") == (0, "200 OK\n  (none)")
    code, said = ask("monolith", "GET", "docs")
    assert code == 4 and "/docs is 200 OK, and no JSON\n  try: look into its pane" in said
