"""The management page's API: where it is, asking it as the same user, and the options for both."""

import argparse
import base64
import contextlib
import http.client
import json
import os
import re
import urllib.parse

import pika

from kit.amqp import Parser, number, reason
from kit.broker.lab import Broker as LabBroker
from kit.cli import UNREACHABLE, Trouble, lab_parser

LETS_IN_NOBODY = (401, 403)
NAME_THEM = "name the queues, or see --management-port"


def broker_parser(doc: str, examples: str, name: str) -> Parser:
    """Return a parser with a lab program's options for the broker and its management page."""
    parser = lab_parser(doc, examples, name)
    page = parser.add_mutually_exclusive_group()
    page.add_argument("--management-port", type=number(int, 1, 65535), metavar="PORT",
        help="(default: LAB_MANAGEMENT_PORT, or 10000 more than the other port)")  # fmt: skip
    page.add_argument("--management-url", type=page_url, metavar="URL",
        help="where its page is, such as https://broker.example:15671")  # fmt: skip
    return parser


def name_of_queue(text: str) -> str:
    """Check the name of a queue that may be there: an argparse type."""
    # RabbitMQ leaves line breaks out, and pika then waits for ever.
    if 0 < len(os.fsencode(text)) < 256 and not re.search(r"[\r\n\ud800-\udfff]", text):
        return text
    what = "the name of a queue has 1 to 255 bytes of UTF-8 and no line breaks"
    raise argparse.ArgumentTypeError(what)


def page_url(text: str) -> urllib.parse.SplitResult:
    """Parse the URL of a management page; the login is the broker's and not part of it."""
    with contextlib.suppress(ValueError):
        url = urllib.parse.urlsplit(text)
        good = url.scheme in ("http", "https") and url.hostname and "@" not in url.netloc
        if good and (url.port or True):  # .port raises for what is none
            return url
    # The text is not repeated: it may hold a password.
    raise argparse.ArgumentTypeError("a page's URL is http://host:port, without user and password")


class Page:
    """The management page's API, asked as the same user and for the same vhost.

    Its connection is kept; one thread at a time may ask.
    """

    def __init__(
        self,
        where: pika.URLParameters,
        port: int | None = None,
        url: urllib.parse.SplitResult | None = None,
        timeout: float = 5,
    ) -> None:
        self.vhost = urllib.parse.quote(where.virtual_host, safe="")
        self.prefix = url.path.rstrip("/") if url else ""
        host = url.hostname if url else where.host
        tls = url.scheme == "https" if url else bool(where.ssl_options)
        port = (url.port or (443 if tls else 80)) if url else port or default_port(where)
        self.place = f"{host}:{port}"
        # Nothing is said to a proxy of HTTP_PROXY: it could not reach a broker of this machine.
        if tls:
            context = where.ssl_options.context if where.ssl_options else None
            self.line = http.client.HTTPSConnection(host, port, timeout=timeout, context=context)
        else:
            self.line = http.client.HTTPConnection(host, port, timeout=timeout)
        login = where.credentials
        secret = base64.b64encode(f"{login.username}:{login.password}".encode()).decode()
        self.headers = {"Authorization": f"Basic {secret}"}

    def get(self, path: str) -> list | dict:
        """Return what the API has under a path, {vhost} standing for ours. Raises Trouble."""
        path = f"{self.prefix}/api/{path.replace('{vhost}', self.vhost)}"
        kept = self.line.sock is not None
        try:
            try:
                status, body = self._ask(path)
            except (ConnectionError, http.client.BadStatusLine):
                if not kept:
                    raise
                status, body = self._ask(path)  # it had hung up, as it does after some idle time
            if status == 200:
                return json.loads(body)
            why = "does not let you in" if status in LETS_IN_NOBODY else f"says {status}"
        except (OSError, OverflowError, ValueError, http.client.HTTPException) as error:
            why = f"does not answer ({reason(error)})"
        self.line.close()
        raise Trouble(
            f"the management page on {self.place} {why}",
            NAME_THEM,
            UNREACHABLE,
        )

    def queues(self, columns: str = "") -> dict[str, dict]:
        """Return the queues of the vhost by name, as they are now. Raises Trouble."""
        # Other addresses of this API, and this one without its options, are up to 10 s late.
        options = "disable_stats=true&enable_queue_totals=true"
        wanted = f"&columns={columns}" if columns else ""
        every = self.get(f"queues/{{vhost}}?{options}{wanted}")
        return {queue["name"]: queue for queue in every}

    def _ask(self, path: str) -> tuple[int, bytes]:
        try:
            self.line.request("GET", path, headers=self.headers)
            answer = self.line.getresponse()
            return answer.status, answer.read()
        except BaseException:
            self.line.close()  # half an answer would be the next one's beginning
            raise


def default_port(where: pika.URLParameters) -> int:
    """Return the page's port: of the environment, of our own broker, or as 15672 goes with 5672."""
    if port := int(os.environ.get("LAB_MANAGEMENT_PORT") or 0):
        return port
    ours = LabBroker("lab")
    return ours.page if ours.port == where.port else where.port + 10_000
