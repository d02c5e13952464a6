#!/usr/bin/env python3
"""The conference site's accounts and presentations, and the messages about them.

    ./monolith.py

A change and its message are stored together; the message is published once the broker is reachable.
"""

try:
    from fastapi import FastAPI

    from conference.database import Database
    from conference.messages import (
        Account,
        AccountName,
        NewAccount,
        NewPresentation,
        Number,
        Presentation,
    )
    from conference.names import Names
    from conference.options import MONOLITH, parse, service_parser
    from conference.relay import SiteRelay
    from conference.site import TABLES, Site
    from conference.web import new_application
    from kit.amqp import Broker
    from kit.cli import run_lab, say
    from kit.web.serving import listen, serve
except ImportError as missing:
    hint = ". ../../.venv/bin/activate    (in the lab's folder; pip install -r requirements.txt)"
    raise SystemExit(f"monolith.py: error: {missing}\n  try: {hint}") from None

EXAMPLES = """examples:
  ./monolith.py --http-port 0 --data /tmp/site      # any free port; the data elsewhere

http://127.0.0.1:8011/docs shows the requests that it takes."""


def application(site: Site, relay: SiteRelay) -> FastAPI:
    app = new_application("Conference: accounts and presentations")

    @app.middleware("http")
    async def publish(request, call_next):
        """Wake the relay after a request that may have changed something."""
        answer = await call_next(request)
        if request.method != "GET":
            relay.wake()
        return answer

    @app.get("/health")
    def health() -> dict:
        return {
            "status": "ok",
            "broker": "connected" if relay.connected else "away",
            "outbox": site.waiting(),
        }

    @app.get("/accounts")
    def accounts() -> list[Account]:
        return site.accounts()

    @app.post("/accounts", status_code=201)
    def open_account(new: NewAccount) -> Account:
        return site.open_account(new)

    @app.get("/accounts/{email}")
    def account(email: str) -> Account:
        return site.account(email)

    @app.patch("/accounts/{email}")
    def change_account(email: str, change: AccountName) -> Account:
        return site.change_account(email, name=change.name)

    @app.delete("/accounts/{email}")
    def deactivate_account(email: str) -> Account:
        return site.change_account(email, active=False)

    @app.get("/presentations")
    def presentations() -> list[Presentation]:
        return site.presentations()

    @app.post("/presentations", status_code=201)
    def propose(new: NewPresentation) -> Presentation:
        return site.propose(new)

    @app.get("/presentations/{number}")
    def presentation(number: Number) -> Presentation:
        return site.presentation(number)

    @app.put("/presentations/{number}/approval")
    def approve(number: Number) -> Presentation:
        return site.decide(number, "approved")

    @app.put("/presentations/{number}/rejection")
    def reject(number: Number) -> Presentation:
        return site.decide(number, "rejected")

    return app


def main(options, broker: Broker) -> int:
    names = Names(options.prefix)
    site = Site(Database(options.data, "monolith.sqlite3", TABLES), names)
    relay = SiteRelay(site, names, broker)
    listener = listen(options.http_bind, options.http_port)
    code = serve(application(site, relay), listener, relay)
    say("*", f"Stopped; waiting in the outbox: {site.waiting()}")
    return code


if __name__ == "__main__":
    run_lab(main, parse(service_parser(__doc__, EXAMPLES, "monolith.py", MONOLITH)))
