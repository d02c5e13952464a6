"""A room on Google Pub/Sub: a topic, and on it a subscription for each person.

chat.lobby       what is said; this topic keeps messages for a day, for those who come later
chat.lobby.here  "I am still here"; this topic keeps nothing

A subscription is created on joining and deleted on leaving; one that is left behind by a crash
expires. PUBSUB_EMULATOR_HOST=localhost:8085 uses an emulator instead.
"""

import contextlib
import datetime
import queue
from collections.abc import Callable, Iterator

from google.api_core import exceptions as api
from google.auth import exceptions as auth
from google.cloud import pubsub_v1
from google.cloud.pubsub_v1.subscriber.message import Message as Delivery

from chatroom.message import HERE, Message, from_bytes, new_id
from chatroom.transport import Transport
from kit.amqp import BrokerError
from kit.cli import REFUSED, UNREACHABLE

DAY = datetime.timedelta(days=1)
HALF_A_DAY = datetime.timedelta(hours=12)  # how long a subscription keeps messages
KEY = "room"  # messages with one ordering key are delivered in the order of their publishing
PATIENCE = 5  # seconds for an answer
REFUSALS = {
    api.PermissionDenied: "ask the owner of the project for the role Pub/Sub Editor",
    api.Unauthenticated: "gcloud auth application-default login",
    api.NotFound: "check --project",
    api.InvalidArgument: "check --project",
    auth.DefaultCredentialsError: "gcloud auth application-default login; with an emulator: "
    "export PUBSUB_EMULATOR_HOST=localhost:8085",
    auth.RefreshError: "gcloud auth application-default login",
}


class PubSubTransport(Transport):
    """Carries a room's messages through a project of Google Cloud, or through an emulator."""

    def __init__(self, room: str, project: str) -> None:
        me = new_id()[:12]
        self.topic = f"projects/{project}/topics/chat.{room}"
        self.here = f"{self.topic}.here"
        name = f"projects/{project}/subscriptions/chat.{room}"
        self.subscriptions = {self.topic: f"{name}.{me}", self.here: f"{name}.here.{me}"}
        self._publisher: pubsub_v1.PublisherClient | None = None
        self._subscriber: pubsub_v1.SubscriberClient | None = None
        self._subscribed = False
        self._streams: list[pubsub_v1.subscriber.futures.StreamingPullFuture] = []
        self._inbox: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()

    def open(self) -> None:
        """Create the topics, if there are none."""
        with self._explained():
            if self._publisher is None:
                self._publisher = pubsub_v1.PublisherClient(
                    pubsub_v1.types.BatchSettings(max_messages=1),  # people say one thing at a time
                    pubsub_v1.types.PublisherOptions(enable_message_ordering=True),
                )
            kept = {"name": self.topic, "message_retention_duration": DAY}
            for topic in (kept, {"name": self.here}):
                with contextlib.suppress(api.AlreadyExists):
                    self._publisher.create_topic(request=topic, retry=None, timeout=PATIENCE)

    def listen(self, on_message: Callable[[Message], None]) -> None:
        """Subscribe, or resume: our subscription has kept what we missed."""
        self.open()
        self._on_message = on_message
        with self._explained():
            if self._subscriber is None:
                self._subscriber = pubsub_v1.SubscriberClient()
            if not self._subscribed:
                self._subscribe()
            self._streams = [
                self._subscriber.subscribe(subscription, callback=self._take)
                for subscription in self.subscriptions.values()
            ]

    def publish(self, message: Message) -> None:
        """Publish a message and wait until Pub/Sub has it."""
        kept = message.kind != HERE
        topic, key = (self.topic, KEY) if kept else (self.here, "")
        with self._explained():
            # The library would retry for ever in silence. Room retries, and says so.
            result = self._publisher.publish(
                topic, message.to_bytes(), ordering_key=key, retry=None, timeout=PATIENCE
            )
            try:
                result.result(2 * PATIENCE)
            except Exception:
                if kept:  # a failure blocks this key, to keep the order
                    self._publisher.resume_publish(topic, KEY)
                raise

    def wait(self, seconds: float) -> None:
        """Pass on what the library's threads have received."""
        with contextlib.suppress(queue.Empty):
            body = self._inbox.get(timeout=seconds)
            while body is not None:
                self._on_message(from_bytes(body))
                body = self._inbox.get_nowait()
        with self._explained():
            for stream in self._streams:
                if stream.done():  # it ends only with an error that a retry does not help
                    self._subscribed = False
                    stream.result()

    def wake(self) -> None:
        """End a wait."""
        self._inbox.put(None)

    def hang_up(self) -> None:
        """Stop the streams; the subscriptions stay and keep what is said meanwhile."""
        for stream in self._streams:
            stream.cancel()
        for stream in self._streams:
            with contextlib.suppress(Exception):  # re-raises the stream's error
                stream.result(PATIENCE)
        self._streams = []

    def close(self) -> None:
        """Delete the subscriptions: they would keep messages that nobody fetches."""
        self.hang_up()
        if self._subscribed:
            with self._explained():
                for subscription in self.subscriptions.values():
                    self._subscriber.delete_subscription(
                        request={"subscription": subscription}, retry=None, timeout=PATIENCE
                    )
        self._publisher.stop()

    def _subscribe(self) -> None:
        for topic, subscription in self.subscriptions.items():
            request = {
                "name": subscription,
                "topic": topic,
                "enable_message_ordering": True,
                "message_retention_duration": HALF_A_DAY,
                "expiration_policy": {"ttl": DAY},  # the minimum, and longer than the retention
            }
            with contextlib.suppress(api.AlreadyExists):
                self._subscriber.create_subscription(request, retry=None, timeout=PATIENCE)
        # A new subscription begins with new messages: go back to those that the topic has kept.
        back = datetime.datetime.now(datetime.timezone.utc) - DAY
        request = {"subscription": self.subscriptions[self.topic], "time": back}
        with contextlib.suppress(api.MethodNotImplemented):  # some emulators have no history
            self._subscriber.seek(request=request, retry=None, timeout=PATIENCE)
        self._subscribed = True

    def _take(self, delivery: Delivery) -> None:
        """Take a message, in a thread of the library, and acknowledge it."""
        self._inbox.put(delivery.data)
        delivery.ack()

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn the errors of Google's library into BrokerError, which explains them."""
        try:
            yield
        except (api.GoogleAPIError, auth.GoogleAuthError, TimeoutError) as error:
            why = getattr(error, "message", None) or str(error) or "no answer"
            for kind, hint in REFUSALS.items():
                if isinstance(error, kind):
                    what = f"Google Pub/Sub refuses: {why.splitlines()[0]}"
                    raise BrokerError(what, hint, REFUSED) from error
            hint = "check PUBSUB_EMULATOR_HOST, or without an emulator the network"
            what = f"cannot reach Google Pub/Sub ({why.splitlines()[0]})"
            raise BrokerError(what, hint, UNREACHABLE) from error
