#!/usr/bin/env python3
"""Tell speakers by e-mail that their presentation was approved, or rejected.

    ./workflow.py

A message is acknowledged when the mail server has taken its mail. Without a mail server messages
wait in their queues; a mail that it refuses for good is parked in presentations.failed.
"""

import argparse
import contextlib
import signal

try:
    import pika
    import pydantic

    from conference.database import Database
    from conference.messages import Decision
    from conference.names import Names
    from conference.options import FIRST_PORT, SMTP, host_and_port, parse, service_parser
    from conference.post import TABLES, NoMailServer, Post, Refused
    from kit.amqp import Broker, number, show
    from kit.cli import LOCALHOST, OK, clean, run_lab, say
    from kit.web.address import port_of
    from kit.web.connection import Pause
    from kit.web.consumer import Consumer, Message
except ImportError as missing:
    hint = ". ../../.venv/bin/activate    (in the lab's folder; pip install -r requirements.txt)"
    raise SystemExit(f"workflow.py: error: {missing}\n  try: {hint}") from None

EXAMPLES = """examples:
  ./workflow.py --smtp mail.example:25        # another mail server
  ./workflow.py --parked                      # show what is parked, and why
  ./workflow.py --parked --again              # and put it back into the queues"""
LONGEST_DELAY = 30  # seconds between two tries
DELAY = number(float, 0.01, LONGEST_DELAY)


class Workflow(Consumer):
    """Sends the mails, one at a time."""

    def __init__(
        self, post: Post, names: Names, options: argparse.Namespace, broker: Broker
    ) -> None:
        super().__init__(broker)
        self.post, self.names = post, names
        self.first_delay, self.most_tries = options.retry_delay, options.tries
        self.delay, self.sent = self.first_delay, 0
        self.tries: dict[str, int] = {}  # by Message-ID

    def send_mails(self) -> int:
        """Send mails until SIGTERM or Ctrl-C; return the exit code."""
        # Finish the current mail first: the mail server may have half of it.
        self.stop_at(signal.SIGTERM, signal.SIGINT)
        with contextlib.suppress(KeyboardInterrupt):
            self.run()
        say("*", f"Stopped; mails sent: {self.sent}")
        return OK

    def declare(self, channel) -> list[str]:
        self.names.declare_presentations(channel)
        return [self.names.approved, self.names.rejected]

    def handle(self, message: Message) -> None:
        """Send the mail of one message, or park it, then acknowledge. Raises Pause."""
        try:
            decision = Decision.model_validate_json(message.body)
        except pydantic.ValidationError:
            self._park(message, "this is no decision")
        else:
            self._send(message, decision)
        message.acknowledge()

    def _send(self, message: Message, decision: Decision) -> None:
        """Send the mail of a decision, unless it was sent before. Raises Pause."""
        status = "approved" if message.queue == self.names.approved else "rejected"
        mail = self.post.write(decision, status)
        what = f"presentation {decision.number}, {status}, to {decision.email}"
        if self.post.is_sent(mail):
            return say("*", f"Sent before, and not again: {what}")
        try:
            self.post.send(mail)
        except NoMailServer as error:
            server = f"{self.post.host}:{self.post.port}"
            raise self._later(f"No mail server at {server} ({error})") from error
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

    def _later(self, why: str) -> Pause:
        """Return a pause, longer each time."""
        delay, self.delay = self.delay, min(2 * self.delay, LONGEST_DELAY)
        return Pause(why, delay)

    def _park(self, message: Message, why: str, what: str = "") -> None:
        self.delay = self.first_delay
        self.names.declare_presentations(message.channel)  # somebody may have deleted the queue
        headers = {"reason": why, "queue": message.queue}
        properties = pika.BasicProperties(delivery_mode=2, headers=headers)
        message.channel.basic_publish(
            "", self.names.failed, message.body, properties, mandatory=True
        )
        say("!", f"Parked: {what or show(message.body)} ({why})")


def show_parked(names: Names, broker: Broker, again: bool) -> int:
    """Print what is parked, and why; with `again` put it back; return the exit code."""
    connection = broker.connect()
    channel = connection.channel()
    channel.confirm_delivery()
    names.declare_presentations(channel)
    count = channel.queue_declare(names.failed, passive=True).method.message_count
    for _ in range(count):  # not more: a running workflow may park them again
        method, properties, body = channel.basic_get(names.failed)
        if method is None:
            break  # somebody else has taken it
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
    names = Names(options.prefix)
    if options.parked:
        return show_parked(names, broker, options.again)
    post = Post(Database(options.data, "workflow.sqlite3", TABLES), *options.smtp)
    return Workflow(post, names, options, broker).send_mails()


def options() -> argparse.Namespace:
    parser = service_parser(__doc__, EXAMPLES, "workflow.py", None)
    add = parser.add_argument_group("mail").add_argument
    server = f"{LOCALHOST}:{port_of(SMTP, FIRST_PORT)}"
    server_help = "the mail server (default: %(default)s)"
    add("--smtp", type=host_and_port, metavar="HOST:PORT", default=server, help=server_help)
    delay_help = "first pause after a failure; it grows (default: %(default)s)"
    add("--retry-delay", type=DELAY, default=1, metavar="SECONDS", help=delay_help)
    tries_help = "park a mail that was deferred this often (default: %(default)s)"
    add("--tries", type=number(int, 1), default=8, metavar="N", help=tries_help)
    add("--parked", action="store_true", help="show what is parked, and why, and exit")
    add("--again", action="store_true", help="with --parked: put it back into the queues")
    options = parse(parser)
    if options.again and not options.parked:
        parser.error("--again goes with --parked")
    return options


if __name__ == "__main__":
    run_lab(main, options())
