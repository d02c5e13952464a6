"""A small Google Pub/Sub server in this process: the eight calls that lab 8 makes, over gRPC.

It implements what the lab relies on: every subscription gets each published message once, in order;
a message that is refused, or unacknowledged when a stream ends, is delivered again, as are later
messages with the same key; seek brings back the messages that the topic has kept.

It omits the rest: accounts and rights, acknowledgement deadlines that run out, expiry of
subscriptions and of kept messages, filters, snapshots and dead letters. Nothing is written to disk.
"""

import collections
import datetime
import itertools
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import grpc
from google.protobuf.empty_pb2 import Empty
from google.pubsub_v1 import types

HERE = "127.0.0.1"
SEVEN_DAYS = datetime.timedelta(days=7)
WORKERS = 200  # each stream keeps one busy


@dataclass
class Kept:
    """A message and its number in order of arrival."""

    number: int
    message: types.PubsubMessage


@dataclass
class Topic:
    """A topic, with its published messages if it keeps them."""

    keeps: bool
    log: list[Kept] = field(default_factory=list)


@dataclass
class Subscription:
    """The messages still to deliver, and those delivered but not acknowledged."""

    topic: str
    waiting: collections.deque[Kept] = field(default_factory=collections.deque)
    delivered: dict[str, Kept] = field(default_factory=dict)  # by ack id

    def put_back(self, ack_ids: set[str]) -> None:
        """Queue messages for redelivery, in their old order."""
        back = [self.delivered.pop(ack_id) for ack_id in ack_ids]
        self.waiting = collections.deque(
            sorted([*back, *self.waiting], key=lambda kept: kept.number)
        )

    def refuse(self, ack_id: str) -> None:
        """Redeliver a message, and the later ones with the same key."""
        refused = self.delivered[ack_id]
        key = refused.message.ordering_key
        later = {
            other
            for other, kept in self.delivered.items()
            if key and kept.message.ordering_key == key and kept.number > refused.number
        }
        self.put_back({ack_id, *later})


class FakePubSub:
    """The server; its state and port survive `stop` and `start`."""

    def __init__(self) -> None:
        self.topics: dict[str, Topic] = {}
        self.subscriptions: dict[str, Subscription] = {}
        self._changed = threading.Condition()
        self._numbers = itertools.count(1)
        self.port = 0
        self.start()

    @property
    def address(self) -> str:
        """The value for PUBSUB_EMULATOR_HOST."""
        return f"{HERE}:{self.port}"

    def start(self) -> None:
        # By default gRPC lets two servers share a port, and nobody would notice the mistake.
        self._server = grpc.server(ThreadPoolExecutor(WORKERS), options=[("grpc.so_reuseport", 0)])
        self._server.add_generic_rpc_handlers((self._publisher(), self._subscriber()))
        self.port = self._server.add_insecure_port(f"{HERE}:{self.port}")
        self._server.start()

    def stop(self) -> None:
        """Close all connections and stop listening."""
        self._server.stop(None).wait()

    # ---- the calls of a publisher

    def create_topic(self, request: types.Topic, context) -> types.Topic:
        """Create a topic; it keeps its messages if the request says for how long."""
        with self._changed:
            if request.name in self.topics:
                context.abort(grpc.StatusCode.ALREADY_EXISTS, "Resource already exists")
            self.topics[request.name] = Topic(bool(request.message_retention_duration))
        return request

    def publish(self, request: types.PublishRequest, context) -> types.PublishResponse:
        """Give a copy to each subscription of the topic."""
        with self._changed:
            topic = self._find(self.topics, request.topic, context)
            copies = []
            for message in request.messages:
                number = next(self._numbers)
                message.message_id, message.publish_time = str(number), _now()
                copies.append(Kept(number, message))
            if topic.keeps:
                topic.log += copies
            for subscription in self.subscriptions.values():
                if subscription.topic == request.topic:
                    subscription.waiting += copies
            self._changed.notify_all()
        return types.PublishResponse(message_ids=[str(copy.number) for copy in copies])

    # ---- the calls of a subscriber

    def create_subscription(self, request: types.Subscription, context) -> types.Subscription:
        """Create a subscription; it gets the messages published from now on."""
        with self._changed:
            self._find(self.topics, request.topic, context)
            if request.name in self.subscriptions:
                context.abort(grpc.StatusCode.ALREADY_EXISTS, "Resource already exists")
            keeps = request.message_retention_duration or SEVEN_DAYS
            if request.expiration_policy.ttl and request.expiration_policy.ttl <= keeps:
                why = "The expiration_policy.ttl must be longer than the message retention."
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, why)
            self.subscriptions[request.name] = Subscription(request.topic)
        return request

    def delete_subscription(self, request: types.DeleteSubscriptionRequest, context) -> Empty:
        """Delete a subscription, which ends its streams."""
        with self._changed:
            self._find(self.subscriptions, request.subscription, context)
            del self.subscriptions[request.subscription]
            self._changed.notify_all()
        return Empty()

    def seek(self, request: types.SeekRequest, context) -> types.SeekResponse:
        """Go back to a time: deliver again all messages that the topic has kept since then."""
        with self._changed:
            subscription = self._find(self.subscriptions, request.subscription, context)
            log = self.topics[subscription.topic].log
            since = request.time.timestamp()
            subscription.delivered.clear()
            subscription.waiting = collections.deque(
                kept for kept in log if kept.message.publish_time.timestamp() >= since
            )
            self._changed.notify_all()
        return types.SeekResponse()

    def acknowledge(self, request: types.AcknowledgeRequest, context) -> Empty:
        """Acknowledge deliveries; ids that are no longer known are ignored."""
        with self._changed:
            subscription = self._find(self.subscriptions, request.subscription, context)
            for ack_id in request.ack_ids:
                subscription.delivered.pop(ack_id, None)
        return Empty()

    def modify_ack_deadline(self, request: types.ModifyAckDeadlineRequest, context) -> Empty:
        """Redeliver if the deadline is 0; other deadlines are ignored."""
        with self._changed:
            subscription = self._find(self.subscriptions, request.subscription, context)
            for ack_id in request.ack_ids if request.ack_deadline_seconds == 0 else []:
                if ack_id in subscription.delivered:
                    subscription.refuse(ack_id)
            self._changed.notify_all()
        return Empty()

    def streaming_pull(self, requests, context):
        """Deliver messages as they come; put back unacknowledged ones when the stream ends."""
        name = next(requests).subscription
        mine: set[str] = set()
        context.add_callback(self._wake)
        try:
            while context.is_active():
                with self._changed:
                    subscription = self._find(self.subscriptions, name, context)
                    if not subscription.waiting:
                        self._changed.wait(0.5)  # the stream may have ended a moment ago
                        continue
                    if not context.is_active():
                        break
                    received = self._deliver(subscription)
                    mine |= {one.ack_id for one in received}
                yield types.StreamingPullResponse(received_messages=received)
        finally:
            with self._changed:
                if subscription := self.subscriptions.get(name):
                    subscription.put_back(mine & set(subscription.delivered))
                    self._changed.notify_all()

    def _deliver(self, subscription: Subscription) -> list[types.ReceivedMessage]:
        received = []
        while subscription.waiting and len(received) < 100:
            kept = subscription.waiting.popleft()
            ack_id = f"{kept.number}-{time.monotonic_ns()}"
            subscription.delivered[ack_id] = kept
            received.append(types.ReceivedMessage(ack_id=ack_id, message=kept.message))
        return received

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _find(self, things: dict, name: str, context):
        if name not in things:
            context.abort(grpc.StatusCode.NOT_FOUND, f"Resource not found (resource={name})")
        return things[name]

    # ---- registration with gRPC

    def _publisher(self) -> grpc.GenericRpcHandler:
        calls = {
            "CreateTopic": _call(self.create_topic, types.Topic, types.Topic),
            "Publish": _call(self.publish, types.PublishRequest, types.PublishResponse),
        }
        return grpc.method_handlers_generic_handler("google.pubsub.v1.Publisher", calls)

    def _subscriber(self) -> grpc.GenericRpcHandler:
        calls = {
            "CreateSubscription": _call(
                self.create_subscription, types.Subscription, types.Subscription
            ),
            "DeleteSubscription": _call(
                self.delete_subscription, types.DeleteSubscriptionRequest, Empty
            ),
            "Seek": _call(self.seek, types.SeekRequest, types.SeekResponse),
            "Acknowledge": _call(self.acknowledge, types.AcknowledgeRequest, Empty),
            "ModifyAckDeadline": _call(
                self.modify_ack_deadline, types.ModifyAckDeadlineRequest, Empty
            ),
            "StreamingPull": grpc.stream_stream_rpc_method_handler(
                self.streaming_pull,
                types.StreamingPullRequest.deserialize,
                types.StreamingPullResponse.serialize,
            ),
        }
        return grpc.method_handlers_generic_handler("google.pubsub.v1.Subscriber", calls)


def _call(function, request, response) -> grpc.RpcMethodHandler:
    """Wrap a method for gRPC: a request's bytes in, a response's bytes out."""
    as_bytes = Empty.SerializeToString if response is Empty else response.serialize
    return grpc.unary_unary_rpc_method_handler(function, request.deserialize, as_bytes)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc)
