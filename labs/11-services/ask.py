#!/usr/bin/env python3
"""Send a request to a service, and print its answer.

    ./ask.py monolith POST accounts email=ada@example.com name="Ada Lovelace"
    ./ask.py attendees GET accounts/ada@example.com

A browser can do the same: each service shows its requests at /docs.
"""

import argparse
import json

try:
    import httpx

    from conference.options import ATTENDEES, MAIL, MONOLITH, address_of
    from kit.cli import OK, REFUSED, UNREACHABLE, Trouble, plain_parser, run
except ImportError as missing:
    hint = ". ../../.venv/bin/activate    (in the lab's folder; pip install -r requirements.txt)"
    raise SystemExit(f"ask.py: error: {missing}\n  try: {hint}") from None

SERVICES = {"monolith": MONOLITH, "attendees": ATTENDEES, "mail": MAIL}
EXAMPLES = """examples:
  ./ask.py monolith PATCH accounts/ada@example.com name="Ada King"
  ./ask.py monolith DELETE accounts/ada@example.com
  ./ask.py monolith POST presentations title="On engines" email=ada@example.com
  ./ask.py monolith PUT presentations/1/approval
  ./ask.py mail GET mails

exit codes: 0 done, 2 usage, 3 nobody answers, 4 the service refuses"""
METHODS = ["GET", "POST", "PATCH", "PUT", "DELETE"]
PATIENCE = 10  # seconds for an answer


def field(text: str) -> tuple[str, str]:
    """Return the two sides of NAME=VALUE: an argparse type."""
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


def parse() -> argparse.Namespace:
    parser = plain_parser(__doc__, EXAMPLES)
    add = parser.add_argument
    add("service", choices=SERVICES, help="the service to ask")
    method_help = "what to do: read, add, change, set, close"
    add("method", type=str.upper, choices=METHODS, help=method_help)
    add("path", help="the path after the address, such as accounts")
    add("fields", nargs="*", type=field, metavar="NAME=VALUE", help="fields to send, as JSON")
    return parser.parse_args()


def main(options: argparse.Namespace) -> int:
    address = f"{address_of(SERVICES[options.service])}/{options.path.lstrip('/')}"
    try:
        answer = httpx.request(
            options.method,
            address,
            json=dict(options.fields) if options.fields else None,
            timeout=PATIENCE,
            trust_env=False,  # a proxy could not reach a service on this machine
        )
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        why = str(error).partition("] ")[2] or str(error) or type(error).__name__
        what = f"no answer from {address} ({why})"
        raise Trouble(what, f"./{options.service}.py, in another pane", UNREACHABLE) from None
    status = f"{answer.status_code} {answer.reason_phrase}"
    try:
        said = answer.json()
    except ValueError:
        what = f"the answer from {address} is {status}, and no JSON"
        raise Trouble(what, "look into its pane", REFUSED) from None
    print(status)
    if answer.is_error:
        print("  " + explain(said["detail"]))
        return REFUSED
    if said == []:
        print("  (none)")
    for item in said if isinstance(said, list) else [said]:
        print("  " + ", ".join(f"{name} {show(value)}" for name, value in item.items()))
    return OK


def show(value: object) -> str:
    """Return a value as JSON has it; times are cut to tenths of a second."""
    rounded = round(value, 1) if isinstance(value, float) else value
    return json.dumps(rounded, ensure_ascii=False)


def explain(detail: object) -> str:
    """Return why a request was refused; FastAPI names each field that is wrong."""
    if isinstance(detail, str):
        return detail
    return "; ".join(f"{one['loc'][-1]}: {one['msg']}" for one in detail)


if __name__ == "__main__":
    run(main, parse())
