"""What is said between the services, and what may be asked of them: pydantic checks it all."""

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
Number = Annotated[int, Field(ge=1, lt=2**63)]  # what SQLite has room for
# One line, as it goes into the head of an e-mail.
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
    """What may be changed of an account."""

    name: Words


class NewAccount(AccountName):
    """What it takes to open an account."""

    email: Email


class Account(NewAccount):
    """An account as it is after a change; every change counts its version up."""

    active: bool
    version: Number
    changed: float  # seconds since 1970


class NewPresentation(BaseModel):
    """What it takes to propose a presentation: who gives it has an account."""

    title: Words
    email: Email


class Presentation(NewPresentation):
    """A presentation: proposed, approved or rejected."""

    number: Number
    status: str


class Decision(BaseModel):
    """What the workflow is told about a presentation that was approved or rejected."""

    number: Number
    title: Words
    name: Words
    email: Email


class NewBadge(BaseModel):
    """Who wants to come."""

    email: Email


class Badge(NewBadge):
    """An attendee's badge; the name is that of the account."""

    number: Number
    name: str
