#!/usr/bin/env python3
"""Tell speakers by e-mail that their presentation was approved, or rejected.

    ./workflow.py

A message is acknowledged when the mail server has taken its mail. Without a mail server all wait in
their queues; a mail that it will never take is parked in presentations.failed, with the reason.
"""

import argparse
import signal

try:
    import pika
    import pydantic

    from conference.consumer import Consumer, Message, TryLater
    from conference.database import Database
    from conference.messages import Decision
    from conference.names import Names
    from conference.options import FIRST_PORT, SMTP, host_and_port, parse, service_parser
    from conference.post import TABLES, NoMailServer, Post, Refused
    from kit.amqp import Broker, number, show
    from kit.cli import LOCALHOST, OK, clean, run_lab, say
    from kit.web.address import port_of
except ImportError as missing:
    hint = ". ../../.venv/bin/activate    (in the lab's folder; pip install -r requirements.txt)"
    raise SystemExit(f"workflow.py: error: {missing}\n  try: {hint}") from None

EXAMPLES = """examples:
  ./workflow.py --smtp mail.example:25        # another mail server
  ./workflow.py --parked                      # what is parked, and why
  ./workflow.py --parked --again              # and back into the queues with it"""
LONGEST = 30  # seconds between two tries


class Workflow:
    """Sends one mail after the other."""

    def __init__(
        self, post: Post, names: Names, options: argparse.Namespace, broker: Broker
    ) -> None:
        self.post, self.names = post, names
        self.first_delay, self.most_tries = options.retry_delay, options.tries
        self.delay, self.sent = self.first_delay, 0
        self.tries: dict[str, int] = {}  # by Message-ID
        queues = [names.approved, names.rejected]
        self.consumer = Consumer(broker, queues, self._prepare, self._handle)

    def run(self) -> int:
        """Send mails until SIGTERM or Ctrl-C; return the exit code."""
        for number_ in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number_, self._stop)
        try:
            self.consumer.run()
        except KeyboardInterrupt:
            pass
        say("*", f"Stopped; mails sent: {self.sent}")
        return OK

    def _stop(self, *_: object) -> None:
        """Stop after the mail in hand: half of it may be with the mail server."""
        if self.consumer.stopping or not self.consumer.connected:
            raise KeyboardInterrupt  # who waits for the broker has no mail in hand
        # No exception here: in the middle of pika it would leave half a frame behind.
        self.consumer.stopping = True

    def _prepare(self, connection: pika.BlockingConnection) -> None:
        channel = connection.channel()
        self.names.declare_presentations(channel)
        channel.close()

    def _handle(self, message: Message) -> None:
        """Send the mail of one message, unless it is sent. Raises TryLater."""
        try:
            decision = Decision.model_validate_json(message.body)
        except pydantic.ValidationError:
            return self._park(message, "this is no decision")
        status = "approved" if message.queue == self.names.approved else "rejected"
        mail = self.post.write(decision, status)
        what = f"presentation {decision.number}, {status}, to {decision.email}"
        if self.post.is_sent(mail):
            return say("*", f"Sent before, and not again: {what}")
        try:
            self.post.send(mail)
        except NoMailServer as error:
            raise self._later(
                f"No mail server at {self.post.host}:{self.post.port} ({error})"
            ) from error
        except Refused as error:
            tries = self.tries.pop(mail["Message-ID"], 0) + 1
            if not error.final and tries < self.most_tries:
                self.tries[mail["Message-ID"]] = tries
                raise self._later(f"Not now: {what} ({error})") from error
            return self._park(message, str(error), what)
        self.tries.pop(mail["Message-ID"], None)
        self.delay = self.first_delay
        self.sent += 1
        say("x", f"Sent: {what}")

    def _later(self, why: str) -> TryLater:
        """Return what says that the mail server wants to be left alone, each time for longer."""
        delay, self.delay = self.delay, min(2 * self.delay, LONGEST)
        return TryLater(why, delay)

    def _park(self, message: Message, why: str, what: str = "") -> None:
        self.delay = self.first_delay
        self.names.declare_presentations(message.channel)  # it may be deleted since
        properties = pika.BasicProperties(
            delivery_mode=2, headers={"reason": why, "queue": message.queue}
        )
        message.channel.basic_publish(
            "", self.names.failed, message.body, properties, mandatory=True
        )
        say("!", f"Parked: {what or show(message.body)} ({why})")


def show_parked(names: Names, broker: Broker, again: bool) -> int:
    """Print what is parked, and why; put it back if wanted; return the exit code."""
    connection = broker.connect()
    channel = connection.channel()
    channel.confirm_delivery()
    names.declare_presentations(channel)
    count = channel.queue_declare(names.failed, passive=True).method.message_count
    for _ in range(count):  # and no more: a workflow that runs may park one again
        method, properties, body = channel.basic_get(names.failed)
        if method is None:
            break  # somebody else was here
        headers = properties.headers or {}
        say("x", f"{show(body)}: {clean(str(headers.get('reason')))}")
        if again:
            ours, queue = (names.approved, names.rejected), headers.get("queue")
            queue = queue if queue in ours else names.approved
            kept = pika.BasicProperties(delivery_mode=2)
            channel.basic_publish("", queue, body, kept, mandatory=True)
            channel.basic_ack(method.delivery_tag)
    connection.close()  # what is not acknowledged goes back
    say("*", f"{count} parked{', and back in the queues' if again and count else ''}")
    return OK


def main(options: argparse.Namespace, broker: Broker) -> int:
    """Send mails, or show what is parked; return the exit code."""
    names = Names(options.prefix)
    if options.parked:
        return show_parked(names, broker, options.again)
    post = Post(Database(options.data, "workflow.sqlite3", TABLES), *options.smtp)
    return Workflow(post, names, options, broker).run()


def options() -> argparse.Namespace:
    """Return the options."""
    parser = service_parser(__doc__, EXAMPLES, "workflow.py", None)
    add = parser.add_argument_group("mail").add_argument
    add("--smtp", type=host_and_port, metavar="HOST:PORT",
        default=f"{LOCALHOST}:{port_of(SMTP, FIRST_PORT)}",
        help="the mail server (default: %(default)s)")  # fmt: skip
    add("--retry-delay", type=number(float, 0.01, LONGEST), default=1, metavar="SECONDS",
        help="wait so long after a failure, then longer (default: %(default)s)")  # fmt: skip
    add("--tries", type=number(int, 1), default=8, metavar="N",
        help="park a mail that was put off so often (default: %(default)s)")  # fmt: skip
    add("--parked", action="store_true", help="show what is parked, and why, and end")
    add("--again", action="store_true", help="with --parked: back into the queues with it")
    options = parse(parser)
    if options.again and not options.parked:
        parser.error("--again goes with --parked")
    return options


if __name__ == "__main__":
    run_lab(main, options())
