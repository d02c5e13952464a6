"""The messages between the services, and the requests to them, checked by pydantic."""

from typing import Annotated

from pydantic import BaseModel, Field, StringConstraints

Email = Annotated[
    str,
    StringConstraints(
        strip_whitespace=True,
        to_lower=True,
        max_length=254,
        pattern=r"^[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*$",
    ),
]
Number = Annotated[int, Field(ge=1, lt=2**63)]  # SQLite cannot store larger ones
# One line: it goes into an e-mail's header.
Words = Annotated[
    str,
    StringConstraints(
        strip_whitespace=True,
        min_length=1,
        max_length=200,
        pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*$",
    ),
]


class AccountName(BaseModel):
    """The part of an account that may change."""

    name: Words


class NewAccount(AccountName):
    """A request to open an account."""

    email: Email


class Account(NewAccount):
    """An account after a change; every change increases its version by one."""

    active: bool
    version: Number
    changed: float  # seconds since 1970


class NewPresentation(BaseModel):
    """A proposal; its speaker must have an account."""

    title: Words
    email: Email


class Presentation(NewPresentation):
    """A presentation: proposed, approved or rejected."""

    number: Number
    status: str


class Decision(BaseModel):
    """The message about a presentation that was approved or rejected."""

    number: Number
    title: Words
    name: Words
    email: Email


class NewBadge(BaseModel):
    """A request for a badge."""

    email: Email


class Badge(NewBadge):
    """An attendee's badge; the name is that of the account."""

    number: Number
    name: str
