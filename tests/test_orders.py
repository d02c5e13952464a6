"""Test the order service of lab 9: each accepted order is done once, whatever process dies."""

import contextlib
import json
import os
import socket
import sqlite3
import statistics
from collections.abc import Iterator
from pathlib import Path

import httpx
import pika
import pytest

from conftest import ROOT, Lab, Run, UndecodableProperties, undecodable_is_fine, wait_until
from kit.broker.network import free_port
from kit.cli.program import Script
from kit.exercise.proxy import Proxy
from shop import topology
from shop.figures import Figures, table
from shop.order import Event, NewOrder, Order
from shop.pick_list import render
from shop.store import Store
from strange import ODD

FOLDER = "labs/09-orders"
ORDER = {"customer_name": "Daníel 😀 李", "product_ids": [2, 4, 42, 2]}
QUICK = ("--retries", "0.1,0.2")
NOBODY = "amqp://guest:guest@127.0.0.1:9"  # a port on which nobody answers


class Shop:
    """The programs of the lab on a vhost and in a folder for one test."""

    def __init__(self, run: Run, lab: Lab | None, data: Path) -> None:
        self._run, self.lab, self.data = run, lab, data
        self.erp_address = f"http://127.0.0.1:{free_port()}"
        self._runners: list[Script] = []

    def start(self, program: str, *options: object, kill_at: str = "", **more) -> Script:
        """Start a program; `kill_at` says where it dies: "before MODULE:CLASS.METHOD"."""
        name = f"{FOLDER}/{program}.py"
        if program not in ("booking", "parked", "compare"):
            options = ("--data", self.data, *options)
        if program == "booking":
            options = ("--erp", self.erp_address, *options)
        if kill_at:
            name, options = "tests/kill_at.py", (kill_at, ROOT / name, *options)
        if "url" not in more:
            more["lab"] = self.lab
        script = self._run(name, *options, **more)
        self._runners += [script] if program == "run" else []
        return script

    def close(self) -> None:
        """Stop the processes of run.py, which cannot stop them itself if it is killed."""
        for runner in self._runners:
            runner.terminate()
            runner.wait()

    def service(self, name: str, **more) -> Script:
        """Start a service, and wait until it is ready for orders."""
        service = self.start(name, *QUICK, **more)
        service.wait_for("Waiting for orders")
        return service

    def relay(self) -> Script:
        """Start the relay, and wait until it is connected."""
        relay = self.start("relay")
        relay.wait_for("Handing orders on")
        return relay

    def api(self, *options: object, **more) -> tuple[Script, httpx.Client]:
        """Start the API; return it and a client of it."""
        api = self.start("api", "--http-port", 0, *options, **more)
        return api, client_of(api.wait_for("Answering at").text.split()[-1])

    def erp(self, *options: object) -> tuple[Script, httpx.Client]:
        """Start a quick ERP at the address that booking.py uses."""
        port = self.erp_address.rpartition(":")[2]
        erp = self.start("erp", "--http-port", port, "--seconds", 0, "--fail-every", 0, *options)
        return erp, client_of(erp.wait_for("Answering at").text.split()[-1])

    def printed(self) -> list[int]:
        """Return the numbers of the orders that have complete pick lists."""
        lists = list((self.data / "pick-lists").glob("*.pdf"))
        for one in lists:
            paper = one.read_bytes()
            assert paper.startswith(b"%PDF-") and paper.rstrip().endswith(b"%%EOF")
        return sorted(int(one.stem) for one in lists)

    def counted(self) -> tuple[list[int], dict[int, int]]:
        """Return the numbers of the counted orders, and the counts of the products."""
        with contextlib.closing(sqlite3.connect(self.data / "marketing.db")) as database:
            numbers = database.execute("SELECT number FROM processed ORDER BY number").fetchall()
            return [n for (n,) in numbers], dict(database.execute("SELECT * FROM counts"))

    def queued(self, queue: str) -> list[dict]:
        """Take all messages from a queue; return their bodies."""
        return [json.loads(body) for body in self.lab.take(queue)]


def send(lab: Lab, queue: str, body: str, properties: pika.BasicProperties | None = None) -> None:
    """Publish to an existing queue, as a foreign program would."""
    channel = lab.connection.channel()
    channel.confirm_delivery()
    channel.basic_publish("", queue, body, properties, mandatory=True)
    channel.close()


def client_of(address: str) -> httpx.Client:
    return httpx.Client(base_url=address, timeout=30, trust_env=False)


def place(client: httpx.Client, order: dict = ORDER) -> int:
    answer = client.post("/orders", json=order)
    assert answer.status_code == 201, answer.text
    return answer.json()["number"]


def wait_for(client: httpx.Client, number: int, status: str = "done") -> dict:
    """Wait until an order has a status; return the order."""
    wait_until(
        lambda: client.get(f"/orders/{number}").json()["status"] == status,
        f"order {number} is {status}",
    )
    return client.get(f"/orders/{number}").json()


@pytest.fixture
def shop(run: Run, lab: Lab, tmp_path: Path) -> Iterator[Shop]:
    shop = Shop(run, lab, tmp_path / "data")
    yield shop
    shop.close()


# ---- all of it


def test_all_of_it_in_one_command(shop: Shop, run: Run) -> None:
    port = free_port()
    erp = ("--erp-port", shop.erp_address.rpartition(":")[2], "--erp-seconds", 0)
    runner = shop.start("run", *QUICK, "--http-port", port, *erp, "--erp-fail-every", 4)
    for ready, count in (("Answering at", 2), ("Waiting for orders on", 3), ("Handing orders", 1)):
        runner.wait_for(ready, count)
    client = client_of(f"http://127.0.0.1:{port}")

    answer = client.post("/orders", json=ORDER)
    assert (answer.status_code, answer.headers["Location"]) == (201, "/orders/1")
    numbers = [1, *(place(client) for _ in range(5))]
    for number in numbers:
        order = wait_for(client, number)
        assert order["customer_name"] == ORDER["customer_name"]
        assert order["steps"] == dict.fromkeys(("printed", "booked", "counted"), "done")

    # Duplicates, as if a relay had died at the wrong moment.
    for _ in range(2):
        again = shop.start("relay", "--again", 1)
        assert again.wait() == 0, again.text()
    runner.wait_for("Order 1: printed once more", 2)
    runner.wait_for("Order 1: was booked before", 2)
    runner.wait_for("Order 1: was counted before", 2)
    assert shop.printed() == numbers
    assert client_of(shop.erp_address).get("/entries").json() == numbers
    assert shop.counted() == (numbers, {2: 12, 4: 6, 42: 6})

    pids = [int(line.text.rpartition("=")[2][:-1]) for line in runner.find(" started (pid=")]
    assert len(pids) == 6
    runner.interrupt()
    assert runner.wait() == 0, runner.text()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    assert "Traceback" not in runner.text()
    assert len(runner.find("stopped (rc=0)")) == 6

    deleted = shop.start("run", "--delete", *QUICK, "--http-port", port, *erp)
    assert deleted.wait() == 0, deleted.text()
    assert shop.lab.broker.api("GET", f"queues/{shop.lab.vhost}") == []
    assert not shop.data.exists()


def test_run_ends_all_when_one_program_ends(shop: Shop) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        runner = shop.start("run", "api", "marketing", "--http-port", port)
        assert runner.wait() == 1, runner.text()
    assert "cannot answer on 127.0.0.1" in runner.text()
    assert "marketing stopped" in runner.text()


# ---- the API


BAD = [
    ({"product_ids": [1]}, "body.customer_name"),
    ({"customer_name": "  ", "product_ids": [1]}, "body.customer_name"),
    ({"customer_name": "a" * 101, "product_ids": [1]}, "body.customer_name"),
    ({"customer_name": 7, "product_ids": [1]}, "body.customer_name"),
    ({"customer_name": "\ud800", "product_ids": [1]}, "body.customer_name"),
    ({"customer_name": "a"}, "body.product_ids"),
    ({"customer_name": "a", "product_ids": []}, "body.product_ids"),
    ({"customer_name": "a", "product_ids": [1] * 101}, "body.product_ids"),
    ({"customer_name": "a", "product_ids": [1, 0]}, "body.product_ids.1"),
    ({"customer_name": "a", "product_ids": ["1"]}, "body.product_ids.0"),
    ({"customer_name": "a", "product_ids": [True]}, "body.product_ids.0"),
    ({"customer_name": "a", "product_ids": [float("nan")]}, "body.product_ids.0"),
    ({"customer_name": "a", "product_ids": [2**70]}, "body.product_ids.0"),
    ({"customer_name": "a", "product_ids": [1], "price": 0}, "body.price"),
    ([], "body"),
]


def test_the_api_says_what_is_wrong(shop: Shop) -> None:
    """The API needs no broker to check or accept orders; only the page says that it is away."""
    api, client = shop.api(url=NOBODY)
    for order, field in BAD:
        answer = client.post(
            "/orders", content=json.dumps(order), headers={"Content-Type": "application/json"}
        )
        told = [one["field"] for one in answer.json()["detail"]]
        assert (answer.status_code, told) == (422, [field]), order
    assert client.post("/orders", content="{").status_code == 422
    assert client.get("/orders/1").json() == {"detail": "there is no order 1"}
    assert client.get("/orders/1").status_code == 404
    assert client.get("/orders/0").status_code == client.get("/orders/x").status_code == 422
    assert place(client) == 1
    health = client.get("/health").json()
    assert (health["status"], health["in_outbox"], health["broker"]) == ("ok", 1, False)
    api.terminate()
    assert api.wait() == 0
    assert "Traceback" not in api.text()


def test_inline_the_customer_waits_for_all_of_it(shop: Shop) -> None:
    shop.erp("--fail-every", 2)
    _, client = shop.api("--inline", "--erp", shop.erp_address, url=NOBODY)
    order = client.post("/orders", json=ORDER).json()
    assert order["status"] == "done"
    refused = client.post("/orders", json=ORDER)
    assert (refused.status_code, refused.json()["detail"]) == (
        502,
        "order 2 is stored and printed, but not booked: the ERP says 503",
    )
    half = client.get("/orders/2").json()["steps"]
    assert half == {"printed": "done", "booked": "failed", "counted": "waiting"}
    assert client.get("/orders/2").json()["status"] == "failed"
    assert (shop.printed(), shop.counted()[0]) == ([1, 2], [1])


def test_pages_hear_of_every_change_and_of_all_when_they_come_back(shop: Shop) -> None:
    api, client = shop.api()

    def next_state(lines: Iterator[str]) -> dict:
        return json.loads(next(line for line in lines if line.startswith("data:"))[5:])

    with client.stream("GET", "/events") as stream:
        lines = stream.iter_lines()
        assert next_state(lines)["orders"] == []
        place(client_of(str(client.base_url)))
        while not (orders := next_state(lines)["orders"]):
            pass
        assert orders[0]["steps"]["counted"] == "waiting"
        shop.relay()
        shop.service("marketing")
        while next_state(lines)["orders"][0]["steps"]["counted"] != "done":
            pass
    with client.stream("GET", "/events") as stream:
        lines = stream.iter_lines()
        state = next_state(lines)
        assert state["orders"][0]["steps"]["counted"] == "done"
        while state["services"].get("booking") != {"here": 0, "wait": 1}:  # asked once a second
            state = next_state(lines)
        api.terminate()  # an open page does not keep it
        assert api.wait() == 0


# ---- no order is lost or done twice


def test_201_means_stored_whoever_dies_then(shop: Shop) -> None:
    api, client = shop.api()
    place(client)
    api.kill()
    api.wait()
    api, client = shop.api(kill_at="before shop.store:Store.get")  # stored, but not answered
    key = {"Idempotency-Key": "ada-2"}
    with pytest.raises(httpx.HTTPError):
        client.post("/orders", json=ORDER, headers=key)
    assert api.wait() == -9
    # The relay dies when the first order is published but not marked, and another takes over.
    assert shop.start("relay", kill_at="before shop.store:Store.mark_sent").wait() == -9
    shop.relay().wait_for("Order 2 is with the broker")
    for queue in ("orders.printer", "orders.booking", "orders.marketing"):
        assert [order["number"] for order in shop.queued(queue)] == [1, 1, 2]
    _, client = shop.api()
    again = client.post("/orders", json=ORDER, headers=key)
    assert (again.status_code, again.headers["Location"]) == (200, "/orders/2")
    assert again.json()["customer_name"] == ORDER["customer_name"]
    new = client.post("/orders", json=ORDER, headers={"Idempotency-Key": "ada-3"})
    assert (new.status_code, new.json()["number"]) == (201, 3)
    wait_until(lambda: not client.get("/health").json()["in_outbox"])


MIDDLE = {
    "printer": "pathlib:Path.replace",  # the pick list is written, but not renamed yet
    "booking": "httpx:Client.put",
    "marketing": "shop.counts:Counts.add",  # in the middle of the transaction
}


@pytest.mark.parametrize("name", MIDDLE)
def test_a_service_killed_at_every_step_does_its_work_once(name: str, shop: Shop) -> None:
    _, erp = shop.erp()
    order = Order(number=7, placed="2026-11-21T12:00:00+00:00", **ORDER)
    queue = f"orders.{name}"
    shop.lab.declare(queue)
    shop.lab.publish(order.model_dump_json(), queue=queue, persistent=True)
    service = "shop.service:Service"
    acknowledge = "kit.web.consumer:Message.acknowledge"
    for step in (f"{service}.try_order", MIDDLE[name], f"{service}.report", acknowledge):
        killed = shop.start(name, *QUICK, kill_at=f"before {step}")
        assert killed.wait() == -9, killed.text()
    done = shop.service(name)
    done.wait_for("[x] Order 7: ")
    wait_until(lambda: shop.lab.remains("orders.status"), "an event")
    done.terminate()
    assert done.wait() == 0
    assert shop.lab.remains(queue) == []
    if name == "printer":
        assert shop.printed() == [7]
    elif name == "booking":
        assert erp.get("/entries").json() == [7]
    else:
        assert shop.counted() == ([7], {2: 2, 4: 1, 42: 1})


def test_orders_come_in_while_the_broker_is_down(
    lab: Lab, run: Run, proxied: tuple[Proxy, str], tmp_path: Path
) -> None:
    proxy, lab.url = proxied
    shop = Shop(run, lab, tmp_path / "data")
    shop.erp()
    names = ("printer", "booking", "marketing")
    programs = [shop.relay(), *(shop.service(name) for name in names)]
    api, client = shop.api()
    api.wait_for("Connected to the broker")
    place(client)
    wait_for(client, 1)

    proxy.play_dead()
    proxy.cut()
    assert [place(client) for _ in range(5)] == list(range(2, 7))
    late, _ = shop.api()  # one started during the outage waits for the broker too
    late.wait_for("Cannot reach")
    proxy.play_dead(False)

    for number in range(2, 7):
        wait_for(client, number)
    assert shop.printed() == shop.counted()[0] == list(range(1, 7))
    assert client_of(shop.erp_address).get("/entries").json() == list(range(1, 7))
    for program in (*programs, api, late):
        program.terminate()
        assert program.wait() == 0
        assert "Traceback" not in program.text()


@contextlib.contextmanager
def failing(file: Path, verb: str) -> Iterator[None]:
    """Make a database refuse an operation on a table."""
    with contextlib.closing(sqlite3.connect(file)) as database:
        what = "SELECT RAISE(ABORT, 'the disk is full')"
        database.execute(f"CREATE TRIGGER broken BEFORE {verb} BEGIN {what}; END")
        yield
        database.execute("DROP TRIGGER broken")


def test_a_database_that_fails_is_tried_again(shop: Shop) -> None:
    api, client = shop.api()
    api.wait_for("Connected to the broker")
    relay, marketing = shop.relay(), shop.service("marketing")
    says = "The database fails: the disk is full; trying again in 1 s"
    with failing(shop.data / "shop.db", "DELETE ON outbox"):
        place(client)
        relay.wait_for(says)
    marketing.wait_for("Order 1: counted")
    with failing(shop.data / "shop.db", "UPDATE ON steps"):
        place(client)
        api.wait_for(says)
    wait_until(lambda: client.get("/orders/2").json()["steps"]["counted"] == "done")
    api.wait_for("Order 1: counted was done before")  # the relay had sent it twice
    assert "Traceback" not in api.text() + relay.text()


def test_a_second_api_leaves_the_events_to_the_first(shop: Shop, run: Run, tmp_path: Path) -> None:
    first, client = shop.api()
    first.wait_for("Connected to the broker")
    place(client)
    other = Shop(run, shop.lab, tmp_path / "other")
    second, other_client = other.api()
    second.wait_for("Another API has the events of 'orders'")
    place(other_client)
    event = Event(number=1, step="counted", state="done")
    shop.lab.publish(event.model_dump_json(), queue="orders.status")
    first.wait_for("Order 1: counted done")
    first.kill()
    second.wait_for("Connected to the broker")
    shop.lab.publish(event.model_dump_json(), queue="orders.status")
    second.wait_for("Order 1: counted done")
    assert len(second.find("Another API")) == 1


def test_nothing_is_deleted_while_it_is_in_use(shop: Shop) -> None:
    api, client = shop.api()
    api.wait_for("Connected to the broker")
    place(client)
    _, erp = shop.erp()
    ports = ("--http-port", client.base_url.port, "--erp-port", erp.base_url.port)
    marketing = shop.service("marketing")
    refused = shop.start("run", "--delete", *ports)
    assert refused.wait() == 4
    assert "nothing is deleted: still running: erp, api, marketing" in refused.text("stderr")
    assert len(refused.text("stderr").splitlines()) == 2
    marketing.kill()
    api.kill()
    wait_until(lambda: not shop.lab.connections("marketing.py"))
    assert shop.start("run", "--delete", *ports).wait() == 4  # 4: the ERP has no queue
    assert client_of(shop.erp_address).get("/entries").json() == []
    assert (shop.data / "shop.db").exists() and shop.lab.ready("orders.status") == 0


# ---- failures


@pytest.mark.parametrize(("delays", "step"), [(QUICK, "retry"), (("--retries", "9"), "park")])
def test_the_api_is_told_before_the_message_goes_on(delays, step: str, shop: Shop) -> None:
    """Otherwise another booking.py could fail too, and its report could arrive first."""
    order = Order(number=7, placed="2026-11-21T12:00:00+00:00", **ORDER)
    shop.lab.declare("orders.booking")
    tried = pika.BasicProperties(headers={"attempts": 1 if step == "park" else 0})
    channel = shop.lab.connection.channel()
    channel.basic_publish("", "orders.booking", order.model_dump_json(), tried)
    booking = shop.start("booking", *delays, kill_at=f"before shop.service:Service.{step}")
    assert booking.wait() == -9, booking.text()
    [event] = shop.queued("orders.status")
    assert event["state"] == {"retry": "retrying", "park": "parked"}[step]


def test_what_fails_is_tried_again_then_parked_and_can_be_replayed(shop: Shop) -> None:
    _, client = shop.api()
    shop.relay()
    booking = shop.service("booking")  # and no ERP
    place(client)
    order = wait_for(client, 1, "parked")
    assert order["steps"]["booked"] == "parked"
    assert order["notes"]["booked"] == "the ERP does not answer"
    for said in ("again in 0.1 s", "again in 0.2 s", "parked after attempt 3"):
        booking.wait_for(said)
        assert len(booking.find(said)) == 1

    parked = shop.start("parked")
    assert parked.wait() == 0
    assert """Parked by booking: '{"customer_name":"Daníel""" in parked.text()
    assert "attempts: 3   reason: the ERP does not answer" in parked.text()
    assert shop.lab.ready("orders.booking.parked") == 1

    shop.erp()
    replay = shop.start("parked", "booking", "--replay")
    assert replay.wait() == 0 and "Given back to booking" in replay.text()
    wait_until(lambda: client.get("/orders/1").json()["steps"]["booked"] == "done")
    assert client.get("/orders/1").json()["notes"] == {}
    assert shop.lab.ready("orders.booking.parked") == 0


def test_what_is_no_order_is_parked_at_once(shop: Shop) -> None:
    _, erp = shop.erp()
    booking = shop.service("booking")
    right = Order(number=1, placed="2026-11-21T12:00:00+00:00", **ORDER)
    other = right.model_copy(update={"customer_name": "Ada"})
    bodies = ["nonsense", b"\xff\xfe", "{}", '{"number": "one"}']
    bodies += [right.model_dump_json(), other.model_dump_json()]
    channel = shop.lab.connection.channel()
    channel.confirm_delivery()
    for body in bodies:
        strange = pika.BasicProperties(headers={"attempts": "many"})
        channel.basic_publish("", "orders.booking", body, strange, mandatory=True)
    booking.wait_for("Order 1: booked")
    booking.wait_for("Order 1: the ERP says 409; parked after attempt 1")
    assert len(booking.find("Parked ")) == 4
    parked = shop.start("parked", "booking")
    assert parked.wait() == 0
    assert "Parked by booking: 'nonsense'" in parked.text()
    assert len(parked.find("reason: no order: ")) == 4
    dropped = shop.start("parked", "--drop")
    assert dropped.wait() == 0 and len(dropped.find("Dropped, from booking")) == 5
    empty = shop.start("parked")
    assert empty.wait() == 0 and "Nothing is parked" in empty.text()
    assert erp.get("/entries").json() == [1]


def test_what_pika_cannot_decode_stops_a_service_and_loses_nothing(shop: Shop) -> None:
    if undecodable_is_fine():
        pytest.skip("this pika decodes it")
    marketing = shop.service("marketing")
    order = Order(number=1, placed="2026-11-21T12:00:00+00:00", **ORDER)
    for properties in (pika.BasicProperties(delivery_mode=2), UndecodableProperties()):
        send(shop.lab, "orders.marketing", order.model_dump_json(), properties)
    send(shop.lab, "orders.marketing", order.model_copy(update={"number": 2}).model_dump_json())
    assert marketing.wait() == 1
    assert "marketing.py: error: pika cannot decode the next message" in marketing.text()
    assert 1 <= len(marketing.find("connecting again")) <= 5
    assert shop.counted()[0] == [1]
    wait_until(lambda: shop.lab.ready("orders.marketing") == 2)


def test_an_event_that_pika_cannot_decode_leaves_the_api_taking_orders(shop: Shop) -> None:
    if undecodable_is_fine():
        pytest.skip("this pika decodes it")
    api, client = shop.api()
    api.wait_for("Connected to the broker")
    send(shop.lab, "orders.status", "{}", UndecodableProperties())
    api.wait_for("their steps are not ticked off: pika cannot decode the next message")
    assert len(api.find("connecting again")) <= 5
    assert place(client) == 1


def test_properties_that_are_no_text_do_no_harm(shop: Shop) -> None:
    marketing = shop.service("marketing")
    order = Order(number=1, placed="2026-11-21T12:00:00+00:00", **ORDER)
    send(shop.lab, "orders.marketing", order.model_dump_json(), pika.BasicProperties(**ODD))
    headers = {"attempts": b"\xff", "reason": b"\xff"}
    send(shop.lab, "orders.marketing", "nonsense", pika.BasicProperties(headers=headers))
    marketing.wait_for("Order 1: counted")
    marketing.wait_for("Parked 'nonsense'")
    assert len(marketing.find("Waiting for orders")) == 1

    headers = {"attempts": b"\xff", "reason": "\x1b[2Jgone"}
    send(shop.lab, "orders.marketing.parked", "{}", pika.BasicProperties(headers=headers))
    parked = shop.start("parked")
    assert parked.wait() == 0
    assert "reason: \\x1b[2Jgone" in parked.text() and "\x1b" not in parked.text()


def test_what_is_deleted_meanwhile_is_made_anew(shop: Shop) -> None:
    api, client = shop.api()
    api.wait_for("Connected to the broker")
    relay, marketing = shop.relay(), shop.service("marketing")
    channel = shop.lab.connection.channel()
    topology.delete(channel, "orders", [])
    # An order that is sent while the bindings are made one by one reaches only some queues.
    api.wait_for("Connected to the broker", 2)
    marketing.wait_for("Waiting for orders", 2)
    place(client)
    relay.wait_for("Order 1 is with the broker")
    marketing.wait_for("Order 1: counted")
    wait_until(lambda: client.get("/orders/1").json()["steps"]["counted"] == "done")


@pytest.mark.parametrize(("signal", "code", "left"), [("terminate", 0, 0), ("interrupt", 130, 1)])
def test_a_service_is_stopped(signal: str, code: int, left: int, shop: Shop) -> None:
    """SIGTERM lets it finish the order in hand; with Ctrl-C the order goes back."""
    order = Order(number=1, placed="2026-11-21T12:00:00+00:00", **ORDER)
    shop.erp("--seconds", 1)
    booking = shop.service("booking")
    shop.lab.publish(order.model_dump_json(), queue="orders.booking")
    booking.wait_for("[*] Order 1")
    getattr(booking, signal)()
    assert booking.wait() == code, booking.text()
    assert len(shop.lab.remains("orders.booking")) == left
    assert "Traceback" not in booking.text()


def test_a_broker_that_refuses_stops_the_services_and_not_the_api(shop: Shop) -> None:
    url = shop.lab.url.replace("guest:guest", "guest:wrong")
    service = shop.start("marketing", url=url)
    assert service.wait() == 4
    assert "try: check --username and --password" in service.text()
    api, client = shop.api(url=url)
    api.wait_for("Orders are taken, but their steps are not ticked off")
    assert place(client) == 1
    assert "wrong" not in service.text() + api.text()


@pytest.mark.parametrize(
    ("program", "options", "says"),
    [
        ("booking", ["--retries", "1,x"], "'x' is not a number from 0.01 to 86400"),
        ("booking", ["--erp", "ftp://erp"], "an address is http://HOST:PORT"),
        ("marketing", ["--exchange", "amq.topic"], "does not begin with amq."),
        ("parked", ["warehouse"], "there is no service 'warehouse'"),
        ("run", ["warehouse"], "there is no program 'warehouse'"),
        ("run", ["api", "--inline"], "--inline goes alone"),
    ],
)
def test_a_slip_in_the_options_is_one_line(program, options, says, shop: Shop) -> None:
    script = shop.start(program, *options)
    assert script.wait() == 2
    assert says in script.text("stderr") and len(script.text("stderr").splitlines()) == 2


def test_what_cannot_be_used_is_one_line(shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    script = shop.start("api")
    assert script.wait() == 1
    assert script.text("stderr").splitlines() == [
        f"api.py: error: cannot use the folder {tmp_path / 'data'} (File exists)",
        "  try: another one: --data DIR",
    ]
    unknown = Shop(shop._run, shop.lab, tmp_path / "other").start("relay", "--again", 5)
    assert unknown.wait() == 4 and "there is no order 5" in unknown.text()


# ---- measuring


def test_compare_measures_both_ways_and_leaves_nothing(shop: Shop) -> None:
    sizes = ("--orders", 6, "--clients", 2, "--seconds", 0, "--fail-every", 6, *QUICK)
    compare = shop.start("compare", *sizes)
    assert compare.wait(60) == 0, compare.text()
    rows = [line.text for line in compare.lines[-2:]]
    assert rows[0].startswith("inside the request   5 of 6 ")
    assert rows[1].startswith("through queues       6 of 6 ")
    assert shop.lab.broker.api("GET", f"queues/{shop.lab.vhost}") == []


def test_the_figures_are_what_they_say() -> None:
    took = [0.001 * n for n in range(1, 102)]
    row = Figures("so", [(n % 2 == 0, seconds) for n, seconds in enumerate(took)], 2, 3.25).row()
    assert row == ["so", "51 of 101", "50.5", "51", "96", "3.2"]
    assert statistics.fmean(took) == pytest.approx(0.051)
    lines = table([Figures("so", [(True, 1.0), (True, 3.0)], 4, 5)])
    assert lines[-1].split() == ["so", "2", "of", "2", "0.5", "2000", "2900", "5.0"]
    assert len(set(map(len, lines))) == 1


@pytest.mark.parametrize("name", ["Daníel", "李明", "👩‍🚀", "مريم", "a\tb\nc", "x" * 100, "\x00"])
def test_a_pick_list_takes_any_name_and_is_always_the_same(name: str) -> None:
    products = list(range(1, 101))  # more than one page
    order = Order(
        number=1, placed="2026-11-21T12:00:00.000+00:00", customer_name=name, product_ids=products
    )
    paper = render(order)
    assert paper.startswith(b"%PDF-") and paper == render(order)


def test_done_stays_done(tmp_path: Path) -> None:
    store = Store(tmp_path)
    order = store.place(NewOrder(**ORDER))
    event = Event(number=order.number, step="booked", state="retrying", note="moody")
    assert store.mark(event) == "waiting" and store.get(1)["notes"] == {"booked": "moody"}
    assert store.mark(event.model_copy(update={"state": "done", "note": ""})) == "retrying"
    assert store.mark(event) == "done"  # for a duplicate
    assert store.get(1)["steps"]["booked"] == "done" and store.get(1)["notes"] == {}
    assert store.mark(event.model_copy(update={"number": 2})) is None


def test_the_newest_orders_are_each_as_get_has_them(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for _ in range(3):
        store.place(NewOrder(**ORDER))
    store.mark(Event(number=2, step="booked", state="parked", note="moody"))
    assert store.newest(2) == [store.get(3), store.get(2)]
    assert (store.get(2)["status"], store.get(4)) == ("parked", None)
