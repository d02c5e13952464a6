"""Booking an order in the ERP, a web service that is slow and fails now and then."""

import httpx

from shop.order import Hopeless, NewOrder, Order, TryLater

PATIENCE = 20  # seconds for an answer: less than the broker waits for a heartbeat
NOT_NOW = (408, 425, 429)  # refusals that may be temporary


class Ledger:
    """The ERP at an address."""

    def __init__(self, address: str) -> None:
        # No proxy: the ERP is in our own network.
        self._client = httpx.Client(base_url=address, timeout=PATIENCE, trust_env=False)

    def book(self, order: Order) -> str:
        """Book an order; return a line about it. Raises TryLater or Hopeless.

        It is a PUT under the order's number: sent twice, it still makes one entry.
        """
        entry = NewOrder(**order.model_dump(include=set(NewOrder.model_fields)))
        try:
            answer = self._client.put(f"/entries/{order.number}", json=entry.model_dump())
        except httpx.TimeoutException:
            raise TryLater(f"no answer from the ERP in {PATIENCE} s") from None
        except httpx.HTTPError:
            raise TryLater("the ERP does not answer") from None
        if answer.status_code >= 500 or answer.status_code in NOT_NOW:
            raise TryLater(f"the ERP says {answer.status_code}")
        if answer.is_error:
            raise Hopeless(f"the ERP says {answer.status_code}")
        return "booked" if answer.status_code == httpx.codes.CREATED else "was booked before"
