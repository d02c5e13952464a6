"""Draw exchanges, bindings and queues as a Mermaid graph: https://mermaid.js.org."""

import base64
import http.client
import json
import string
import urllib.error
import urllib.parse
import urllib.request

import pika

from kit.amqp import reason
from kit.cli import REFUSED, UNREACHABLE, Trouble, say

# All other characters are written as Mermaid's numeric entities: it reads * and _ as Markdown, and
# quotes, <> and {} have a meaning of their own.
PLAIN = frozenset(string.ascii_letters + string.digits + " .-/@,=+")


def fetch(where: pika.URLParameters, port: int, what: str) -> list[dict]:
    """Return what the management API lists for our user and vhost. Raises Trouble."""
    host = f"[{where.host}]" if ":" in where.host else where.host
    vhost = urllib.parse.quote(where.virtual_host, safe="")
    tls = where.ssl_options and where.ssl_options.context
    # Without statistics the list of queues is current.
    url = f"{'https' if tls else 'http'}://{host}:{port}/api/{what}/{vhost}?disable_stats=true"
    login = f"{where.credentials.username}:{where.credentials.password}"
    header = f"Basic {base64.b64encode(login.encode()).decode()}"
    request = urllib.request.Request(url)
    request.add_unredirected_header("Authorization", header)  # not passed on by a redirect
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}),  # a proxy could not reach a broker of this machine
        urllib.request.HTTPSHandler(context=tls),
    )
    try:
        with opener.open(request, timeout=5) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        why = "does not let you in" if error.code in (401, 403) else f"says {error.code}"
    except (OSError, OverflowError, ValueError, http.client.HTTPException) as error:
        why = f"does not answer ({reason(getattr(error, 'reason', error))})"
    problem = f"the bindings are not known: the management page on {host}:{port} {why}"
    raise Trouble(problem, "--management-port, if the page is elsewhere", UNREACHABLE)


def graph(where: pika.URLParameters, port: int, exchange: str | None) -> str:
    """Return the graph of one exchange's current bindings, or of all. Raises Trouble.

    `port` is that of the management page. The default exchange, "", to which every queue is bound,
    is left out unless it is named.
    """
    types = {one["name"]: one["type"] for one in fetch(where, port, "exchanges")}
    durable = {queue["name"] for queue in fetch(where, port, "queues") if queue["durable"]}
    bindings = fetch(where, port, "bindings")
    if exchange is None:
        bindings = [binding for binding in bindings if binding["source"]]
    elif exchange in types:
        bindings = reachable(bindings, exchange)
    else:
        hint = "--draw without --exchange draws all that is bound"
        raise Trouble(f"there is no exchange {exchange!r} in this vhost", hint, REFUSED)
    if not bindings:
        say("!", "Nothing is bound here")
    drawn = [] if exchange is None else [exchange]
    for binding in bindings:
        drawn.append(binding["source"])
        if binding["destination_type"] == "exchange":
            drawn.append(binding["destination"])
    return mermaid({name: types[name] for name in drawn}, durable, bindings)


def reachable(bindings: list[dict], exchange: str) -> list[dict]:
    """Return the bindings of an exchange, and of the exchanges bound to it at any depth."""
    found, pending, seen = [], [exchange], {exchange}
    while pending:
        source = pending.pop()
        for binding in bindings:
            if binding["source"] == source:
                found.append(binding)
                end = binding["destination"]
                if binding["destination_type"] == "exchange" and end not in seen:
                    seen.add(end)
                    pending.append(end)
    return found


def mermaid(types: dict[str, str], durable: set[str], bindings: list[dict]) -> str:
    """Return a graph of exchanges (name to type) and of bindings as the management API lists them.

    Queues in `durable` are drawn as cylinders, the others as boxes.
    """
    exchanges = {name: f"x{number}" for number, name in enumerate(types)}
    queues: dict[str, str] = {}
    lines = ["flowchart LR"]
    for name, node in exchanges.items():
        text = f"{label(name or 'default exchange')}<br/>{label(types[name])}"
        lines.append(f'    {node}(("{text}"))')
    for binding in bindings:
        end = binding["destination"]
        if binding["destination_type"] == "queue" and end not in queues:
            node = queues[end] = f"q{len(queues)}"
            left, right = ("[(", ")]") if end in durable else ("[[", "]]")
            lines.append(f'    {node}{left}"{label(end)}"{right}')
    for binding in bindings:
        ends = exchanges if binding["destination_type"] == "exchange" else queues
        key = label(key_of(binding))
        arrow = f'-->|"{key}"|' if key else "-->"
        lines.append(f"    {exchanges[binding['source']]} {arrow} {ends[binding['destination']]}")
    return "\n".join(lines)


def key_of(binding: dict) -> str:
    """Return the label of a binding: its key, or the arguments for a headers exchange."""
    if arguments := binding["arguments"]:
        return ", ".join(f"{name}={value}" for name, value in arguments.items())
    return binding["routing_key"]


def label(text: str) -> str:
    """Return a name, escaped so that Mermaid shows it unchanged."""
    printable = text if text.isprintable() else repr(text)[1:-1]
    return "".join(c if c in PLAIN or c.isalpha() else f"#{ord(c)};" for c in printable)
