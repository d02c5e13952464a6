"""The shop's messages: an order, and the outcome of one of its steps."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

MOST_PRODUCTS = 100
LARGEST = 2**53 - 1  # JavaScript, and so the page, rounds larger numbers
PLAIN = {  # pydantic's names for the two most common mistakes, and words for people
    "string_too_short": "a name is needed",
    "too_short": "at least one product is needed",
}
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100)]
Number = Annotated[int, Field(strict=True, ge=1, le=LARGEST)]


class NewOrder(BaseModel):
    """An order as a customer sends it."""

    model_config = ConfigDict(extra="forbid")

    customer_name: Name
    product_ids: Annotated[list[Number], Field(min_length=1, max_length=MOST_PRODUCTS)]


class Order(NewOrder):
    """An order as it is stored, and as the services get it."""

    number: Number
    placed: str  # when, in UTC


class Event(BaseModel):
    """The outcome of a step; `note` is for people."""

    number: Number
    step: str
    state: Literal["done", "retrying", "parked", "failed"]  # failed: with --inline
    note: str = ""


class TryLater(Exception):
    """Raised by a service's work if another try may succeed."""


class Hopeless(Exception):
    """Raised by a service's work if no other try can succeed."""


def what_is_wrong(error: ValidationError) -> list[dict[str, str]]:
    """Return the field and the problem of each mistake, without the input.

    The input may be anything, even something that JSON cannot represent.
    """
    return [
        {"field": ".".join(map(str, one["loc"])), "problem": PLAIN.get(one["type"], one["msg"])}
        for one in error.errors()
    ]
