"""The shop as a web service: orders in, their state out, and a page that shows it live."""

import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Annotated

from fastapi import FastAPI, Header, HTTPException, Request, Response
from fastapi import Path as InPath
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent

from kit.cli import say
from kit.web.events import EventStream
from shop.order import LARGEST, NewOrder, Order, TryLater, what_is_wrong
from shop.store import Store

PAGE = Path(__file__).with_name("page.html")
NEWEST = 20  # orders on the page
Number = Annotated[int, InPath(ge=1, le=LARGEST)]
Key = Annotated[str | None, Header(min_length=1, max_length=100)]


def make_app(
    store: Store,
    stream: EventStream,
    services: Callable[[], dict],
    do_it_all: Callable[[Order], None] | None,
) -> FastAPI:
    """Return the web service.

    `services` returns the state of the services; `do_it_all`, if it is not None, does the steps of
    an order inside the request.
    """
    app = FastAPI(title="Orders", docs_url=None, redoc_url=None)  # these load from the internet

    @app.post("/orders", status_code=201)
    def place(new: NewOrder, response: Response, idempotency_key: Key = None) -> dict:
        """Store an order: 201; or 200 and the first order, if one came with that key before."""
        try:
            order = store.place(new, key=idempotency_key, outbox=do_it_all is None)
        except sqlite3.IntegrityError:
            if (number := store.known(idempotency_key)) is None:
                raise
            response.status_code = 200
            say("x", f"Order {number} was stored before")
        else:
            number = order.number
            say("x", f"Order {number} is stored")
            if do_it_all:
                do_it_all(order)
            stream.changed()
        response.headers["Location"] = f"/orders/{number}"
        return store.get(number)

    @app.get("/orders/{number}")
    def look(number: Number) -> dict:
        if order := store.get(number):
            return order
        raise HTTPException(404, f"there is no order {number}")

    @app.get("/orders")
    def newest() -> list[dict]:
        return store.newest(NEWEST)

    @app.get("/health")
    def health() -> dict:
        return {"status": "ok", "in_outbox": store.in_outbox(), **services()}

    @app.get("/events", response_class=EventSourceResponse)
    async def events() -> AsyncIterator[ServerSentEvent]:
        """Send all that the page shows, now and whenever it changes."""
        async for event in stream.events(lambda: {"orders": store.newest(NEWEST), **services()}):
            yield event

    @app.get("/")
    def page() -> FileResponse:
        return FileResponse(PAGE)

    @app.exception_handler(RequestValidationError)
    def refuse(request: Request, error: RequestValidationError) -> JSONResponse:
        return JSONResponse({"detail": what_is_wrong(error)}, 422)

    @app.exception_handler(TryLater)
    def give_up(request: Request, error: TryLater) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, 502)

    @app.exception_handler(sqlite3.Error)
    def no_room(request: Request, error: sqlite3.Error) -> JSONResponse:
        say("!", f"The database fails: {error}")
        return JSONResponse({"detail": f"the shop's database fails: {error}"}, 503)

    return app
