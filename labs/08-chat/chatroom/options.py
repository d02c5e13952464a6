"""The options of the three programs, and the transport that they ask for."""

import argparse
import logging
import os
from collections.abc import Callable

from chatroom.message import checked_name, checked_room
from chatroom.transport import Transport
from kit.amqp import Parser
from kit.cli import UNEXPECTED, Trouble, lab_parser

ASK = ""  # --password without WORD
HEARTBEAT = 10  # seconds: people are less patient with a silent broker than machines
NOT_FOR_PUBSUB = ("host", "port", "vhost", "password", "url")


def chat_parser(doc: str, examples: str, program: str, *, speaks: bool) -> Parser:
    """Return a parser with the common options; programs that speak also have a name."""
    parser = lab_parser(doc, examples, program)
    parser.set_defaults(heartbeat=HEARTBEAT, speaks=speaks)
    parser.conflict_handler = "resolve"  # --username and --password mean more here than elsewhere
    add = parser.add_argument_group("room").add_argument
    add("--room", type=_argument(checked_room), default="lobby", help="(default: %(default)s)")
    add("--via", choices=["rabbitmq", "pubsub"], default="rabbitmq", help="(default: %(default)s)")
    add(
        "--project",
        metavar="P",
        help="with --via pubsub: the project (default: GOOGLE_CLOUD_PROJECT)",
    )
    if speaks:
        add(
            "--username",
            type=_argument(checked_name),
            metavar="NAME",
            help="your name in the room (default: the user of AMQP_URL)",
        )
        add(
            "--password",
            nargs="?",
            const=ASK,
            metavar="WORD",
            help="log in under that name too; without WORD you are asked for it",
        )
    return parser


def transport_and_name(options: argparse.Namespace) -> tuple[Transport, str]:
    """Return the transport that the options ask for, and the name of the speaker."""
    parser: Parser = options.parser
    name = options.username or ""
    if options.via == "pubsub":
        transport = _pubsub_transport(parser, options)
    else:
        transport = _rabbitmq_transport(parser, options)
        name = name or ("" if transport.login == "guest" else transport.login)
    if options.speaks and not name:
        parser.error("who are you? --username NAME")
    return transport, name


def _rabbitmq_transport(parser: Parser, options: argparse.Namespace) -> Transport:
    from chatroom.rabbitmq import RabbitMQTransport

    if options.project is not None:
        parser.error("--project is for Google Pub/Sub: leave it out, or add --via pubsub")
    if options.speaks and options.password is None:
        options.username = None  # only a name in the room: the login is that of the URL
    elif options.speaks and options.password == ASK:
        options.password = None  # then parser.broker asks
    return RabbitMQTransport(options.room, parser.broker(options))


def _pubsub_transport(parser: Parser, options: argparse.Namespace) -> Transport:
    excluded = NOT_FOR_PUBSUB if options.speaks else (*NOT_FOR_PUBSUB, "username")
    for name in excluded:
        if getattr(options, name) is not None:
            parser.error(f"--{name} is for a broker: leave it out, or --via pubsub")
    project = options.project or os.environ.get("GOOGLE_CLOUD_PROJECT")
    if not project:
        parser.error("--via pubsub needs --project P, the name of a Google Cloud project")
    # Their log lines about a lost connection would garble the screen of chat.py.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    logging.getLogger("google").addHandler(logging.NullHandler())
    try:
        from chatroom.pubsub import PubSubTransport
    except ImportError as missing:
        what = f"--via pubsub needs google-cloud-pubsub ({missing})"
        hint = "pip install -r labs/08-chat/requirements-pubsub.txt"
        raise Trouble(what, hint, UNEXPECTED) from None
    return PubSubTransport(options.room, project)


def _argument(check: Callable[[str], str]) -> Callable[[str], str]:
    """Make an argparse type from a function that raises ValueError with the reason."""

    def parse(text: str) -> str:
        try:
            return check(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return parse
