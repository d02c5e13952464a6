"""The API of the management page: its address, its requests, and the options for both."""

import argparse
import base64
import collections
import contextlib
import http.client
import json
import os
import re
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass

import pika

from kit.amqp import Parser, number, reason
from kit.broker.lab import Broker as LabBroker
from kit.cli import UNREACHABLE, Trouble, lab_parser

NAME_THEM = "name the queues, or see --management-port"


def queues_parser(doc: str, examples: str, name: str) -> Parser:
    """Return a parser with the options for the broker, its management page and some queues."""
    parser = lab_parser(doc, examples, name)
    parser.add_argument(
        "queues", nargs="*", type=name_of_queue, metavar="QUEUE", help="default: all in the vhost"
    )
    page = parser.add_mutually_exclusive_group()
    page.add_argument("--management-port", type=number(int, 1, 65535), metavar="PORT",
        help="(default: LAB_MANAGEMENT_PORT, or 10000 more than --port)")  # fmt: skip
    page.add_argument("--management-url", type=page_url, metavar="URL",
        help="where the management page is, such as https://broker.example:15671")  # fmt: skip
    return parser


def name_of_queue(text: str) -> str:
    """Check a queue's name (an argparse type); unlike amqp.queue_name, allow any that can exist."""
    # RabbitMQ drops line breaks from a name, and pika then waits for ever.
    if 0 < len(os.fsencode(text)) < 256 and not re.search(r"[\r\n\ud800-\udfff]", text):
        return text
    what = "the name of a queue has 1 to 255 bytes of UTF-8 and no line breaks"
    raise argparse.ArgumentTypeError(what)


def page_url(text: str) -> urllib.parse.SplitResult:
    """Parse the URL of a management page; it holds no login, as the broker's login is used."""
    with contextlib.suppress(ValueError):
        url = urllib.parse.urlsplit(text)
        good = url.scheme in ("http", "https") and url.hostname and "@" not in url.netloc
        if good and (url.port or True):  # .port raises ValueError if it is not a number
            return url
    # Do not repeat the text: it may hold a password.
    raise argparse.ArgumentTypeError("a page's URL is http://host:port, without user and password")


@dataclass(frozen=True)
class Consumer:
    """A consumer; `unacknowledged` is None on a shared channel, as the page counts by channel."""

    queue: str
    tag: str
    connection: str
    prefetch: int
    unacknowledged: int | None


class Page:
    """The management page's API, used with the broker's login and vhost."""

    def __init__(
        self,
        where: pika.URLParameters,
        port: int | None = None,
        url: urllib.parse.SplitResult | None = None,
        timeout: float = 5,
    ) -> None:
        host = f"[{where.host}]" if ":" in where.host else where.host
        scheme = "https" if where.ssl_options else "http"
        base = url.geturl() if url else f"{scheme}://{host}:{port or default_port(where)}"
        self.place = urllib.parse.urlsplit(base).netloc
        self.api = f"{base.rstrip('/')}/api"
        self.vhost = urllib.parse.quote(where.virtual_host, safe="")
        self.timeout = timeout
        login = f"{where.credentials.username}:{where.credentials.password}"
        self.login = f"Basic {base64.b64encode(login.encode()).decode()}"
        self.opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}),  # a proxy could not reach a broker on this machine
            urllib.request.HTTPSHandler(
                context=where.ssl_options.context if where.ssl_options else None
            ),
        )

    def get(self, path: str) -> list | dict:
        """Return the API's answer for a path; {vhost} stands for ours. Raises Trouble."""
        try:
            request = urllib.request.Request(f"{self.api}/{path.replace('{vhost}', self.vhost)}")
            request.add_unredirected_header("Authorization", self.login)  # not sent on redirects
            with self.opener.open(request, timeout=self.timeout) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            why = "does not let you in" if error.code in (401, 403) else f"says {error.code}"
        except (OSError, OverflowError, ValueError, http.client.HTTPException) as error:
            why = f"does not answer ({reason(getattr(error, 'reason', error))})"
        raise Trouble(f"the management page on {self.place} {why}", NAME_THEM, UNREACHABLE)

    def queues(self) -> dict[str, dict]:
        """Return the queues of the vhost by name, as they are now. Raises Trouble."""
        # Without these options, or at another path, the API's figures are up to 10 s old.
        listed = self.get("queues/{vhost}?disable_stats=true&enable_queue_totals=true")
        return {queue["name"]: queue for queue in listed}

    def rates(self) -> dict[str, dict]:
        """Return rates and consumers of the queues by name, up to 5 s old. Raises Trouble."""
        columns = "name,consumers,messages_unacknowledged,message_stats"
        found = {}
        for queue in self.get(f"queues/{{vhost}}?columns={columns}"):
            # Once it has measured a queue, the API omits events that never happened.
            never = 0.0 if "messages_unacknowledged" in queue else None
            measured = queue.get("message_stats", {})
            found[queue["name"]] = {
                "consumers": queue.get("consumers"),
                "in_per_second": measured.get("publish_details", {}).get("rate", never),
                "out_per_second": measured.get("deliver_get_details", {}).get("rate", never),
            }
        return found

    def consumers(self) -> list[Consumer]:
        """Return the consumers that this user may see, up to 5 s old. Raises Trouble."""
        columns = "queue.name,consumer_tag,prefetch_count,ack_required,channel_details"
        listed = self.get(f"consumers/{{vhost}}?columns={columns}")
        # A new consumer has no channel at first.
        listed = [one for one in listed if isinstance(one.get("channel_details"), dict)]
        if not listed:
            return []
        rows = self.get("vhosts/{vhost}/channels?columns=name,messages_unacknowledged")
        held = {row["name"]: row.get("messages_unacknowledged") for row in rows}
        rows = self.get("vhosts/{vhost}/connections?columns=name,user_provided_name")
        names = {row["name"]: row.get("user_provided_name") for row in rows}
        sharing = collections.Counter(one["channel_details"].get("name") for one in listed)
        consumers = []
        for one in listed:
            channel = one["channel_details"].get("name")
            address = one["channel_details"].get("connection_name", "")
            is_known = one["ack_required"] and sharing[channel] == 1
            consumer = Consumer(
                queue=one["queue"]["name"],
                tag=one["consumer_tag"],
                connection=str(names.get(address) or address),
                prefetch=one["prefetch_count"],
                unacknowledged=held.get(channel) if is_known else None,
            )
            consumers.append(consumer)
        return sorted(consumers, key=lambda one: (one.queue, one.connection, one.tag))


def default_port(where: pika.URLParameters) -> int:
    """Return the page's port: LAB_MANAGEMENT_PORT, our own broker's, or AMQP's plus 10000."""
    if port := int(os.environ.get("LAB_MANAGEMENT_PORT") or 0):
        return port
    ours = LabBroker("lab")
    return ours.page if ours.port == where.port else where.port + 10_000
