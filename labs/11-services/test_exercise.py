"""The checks that labs/check.py 11 runs."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pika
import pytest
from pika.spec import Basic, Queue

from kit.exercise.fixture import Exercise
from kit.exercise.program import Program


def account(email: str, version: int, name: str, active: bool = True) -> dict:
    """Return an account as in a message."""
    return {"email": email, "name": name, "version": version, "active": active}


class Site:
    """An exchange of our own, and the program's copy of what is published to it."""

    def __init__(self, exercise: Exercise, folder: Path) -> None:
        self.exercise = exercise
        self.exchange, self.file = f"{exercise.queue}-accounts", folder / "copy.json"
        self.markers = 0  # sent so far

    def start(self) -> Program:
        """Start the program, and wait until it has subscribed."""
        return self.exercise.start_worker("--exchange", self.exchange, "--file", self.file)

    def tell(self, *accounts: dict) -> None:
        """Publish changes of accounts, even if nobody takes them."""
        channel = self.exercise.client.connection.channel()
        for one in accounts:
            channel.basic_publish(self.exchange, "", json.dumps(one).encode())
        channel.close()

    def tell_and_wait(self, *accounts: dict) -> None:
        """Publish changes, and wait until the program has taken all of them."""
        self.markers += 1
        marker = account(f"marker-{self.markers}@example.com", 1, "Marker")
        self.tell(*accounts, marker)
        self.exercise.wait_until(
            lambda: marker["email"] in self.copy() and self._all_acknowledged(),
            "Changes of several accounts were sent, and the last is not in your copy, or is not "
            "acknowledged.",
            within=4,
        )

    def _all_acknowledged(self) -> bool:
        return len(self.exercise.sent(Basic.Ack)) == len(self.exercise.received(Basic.Deliver))

    def copy(self) -> dict:
        """Return the copy; empty if there is none yet."""
        with contextlib.suppress(OSError, ValueError):
            return json.loads(self.file.read_text(encoding="utf-8"))
        return {}

    def delete(self) -> None:
        """Delete everything on the broker, even queues that the broker has named."""
        channel = self.exercise.client.connection.channel()
        for answer in self.exercise.received(Queue.DeclareOk):
            channel.queue_delete(answer.what.queue)
        channel.exchange_delete(self.exchange)


@pytest.fixture
def site(exercise: Exercise, tmp_path: Path) -> Iterator[Site]:
    """Return an exchange and a file for the copy, both our own."""
    site = Site(exercise, tmp_path)
    yield site
    for program in exercise.programs:
        program.end()
    with contextlib.suppress(pika.exceptions.AMQPError):
        site.delete()


@pytest.mark.task(1)
def test_hears_what_changed_meanwhile(exercise: Exercise, site: Site) -> None:
    """What changes while the service is away is in its copy when it is back.

    Read: https://www.rabbitmq.com/docs/queues#durability
    """
    service = site.start()
    site.tell_and_wait(account("ada@example.com", 1, "Ada"))
    service.end()
    site.tell(account("ada@example.com", 2, "Ada King"))
    site.start()
    declared = [one.what for one in exercise.sent(Queue.Declare)]
    exercise.wait_until(
        lambda: site.copy()["ada@example.com"]["name"] == "Ada King",
        lambda: (
            "Ada changed her name while your service was away, and it never heard of it: "
            + (
                "an exclusive queue goes with its service: durable=True in its place."
                if any(queue.exclusive for queue in declared)
                else "without a name of your own, each start makes another queue: take the name "
                "of --queue."
            )
        ),
        within=3,
    )
    assert all(queue.durable or queue.passive for queue in declared), (
        "The queue stays while you are away, but not over a restart of the broker: add "
        "durable=True."
    )
    assert {queue.queue for queue in declared} == {exercise.queue}, (
        "Your queue does not have the name that --queue gives."
    )


@pytest.mark.task(2)
def test_old_news_changes_nothing(site: Site) -> None:
    """A version that is not higher than the one in the copy changes nothing.

    Read: https://www.rabbitmq.com/docs/semantics
    """
    site.start()
    ada = "ada@example.com"
    site.tell_and_wait(account(ada, 1, "Ada"), account(ada, 3, "Ada King"))
    name = site.copy().get(ada, {}).get("name")
    assert name == "Ada King", (
        f"Version 1 of an account was sent, then version 3, and the copy has the name {name!r} of "
        "version 1: what is new has to get in."
    )
    site.tell_and_wait(account(ada, 2, "Ada Byron"))
    assert site.copy()[ada]["name"] == "Ada King", (
        "Your copy had version 3 of an account; version 2 came late, and now the copy has that."
    )
    site.tell_and_wait(account(ada, 3, "Ada Lovelace"))
    assert site.copy()[ada]["name"] == "Ada King", (
        "Version 3 was sent again, and your copy took it as news: only a higher version is."
    )


@pytest.mark.task(3)
def test_what_is_closed_stays_closed(site: Site) -> None:
    """An account that was closed is not opened again by a message that comes late.

    Read: https://en.wikipedia.org/wiki/Tombstone_(data_store)
    """
    site.start()
    ada, bob = "ada@example.com", "bob@example.com"
    site.tell_and_wait(account(bob, 3, "Bob"), account(bob, 2, "Robert"))
    assert site.copy().get(bob, {}).get("version") == 3, (
        "Task 3 cannot be judged before task 2 is done: a late version changes your copy."
    )
    site.tell_and_wait(account(ada, 1, "Ada"), account(ada, 3, "Ada", active=False))
    assert not site.copy().get(ada, {}).get("active"), (
        "An account was closed, and in your copy it is still active: take what the message says."
    )
    site.tell_and_wait(account(ada, 2, "Ada King"))
    now = site.copy().get(ada)
    assert not (now and now["active"]), (
        "An account was closed with version 3; version 2 came late, and the account is open again: "
        "your copy had forgotten that there was a version 3."
    )
    assert now and now["version"] == 3, (
        "Your copy no longer knows the closed account: keep it, as the message has it."
    )
