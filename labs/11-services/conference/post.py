"""Writes e-mails and hands them to the mail server, and remembers which ones it has taken.

A mail's Message-ID is made of the presentation's number and the decision: if it is sent twice, a
mail server can see that it is the same mail.
"""

import smtplib
import time
from email.message import EmailMessage
from email.utils import formatdate

from conference.database import Database
from conference.messages import Decision

TABLES = "CREATE TABLE IF NOT EXISTS sent (message_id TEXT PRIMARY KEY, at REAL)"
PATIENCE = 10  # seconds for each answer of the mail server
SENDER = "Conference <programme@conference.example>"
TEXTS = {
    "approved": "good news: we would like to hear your presentation {title!r}. See you there!",
    "rejected": "we are sorry: there is no room in the programme for your presentation {title!r}.",
}


class NoMailServer(Exception):
    """Raised when the mail server does not answer, or is unavailable."""


class Refused(Exception):
    """Raised when the mail server refuses this mail: for now, or for good (`final`)."""

    def __init__(self, code: int, text: bytes) -> None:
        super().__init__(answer(code, text))
        self.final = code >= 500


def answer(code: int, text: bytes) -> str:
    return f"{code} {text.decode(errors='backslashreplace')}"


class Post:
    """Sends the mails about decisions through the mail server at a host and port."""

    def __init__(self, database: Database, host: str, port: int) -> None:
        self.database, self.host, self.port = database, host, port

    def write(self, decision: Decision, status: str) -> EmailMessage:
        """Return the mail that tells of a decision."""
        mail = EmailMessage()
        mail["From"], mail["To"] = SENDER, decision.email
        mail["Subject"] = f"{decision.title}: {status}"
        mail["Date"] = formatdate()
        mail["Message-ID"] = f"<presentation-{decision.number}-{status}@conference.example>"
        text = TEXTS[status].format(title=decision.title)
        mail.set_content(f"Dear {decision.name},\n\n{text}\n")
        return mail

    def is_sent(self, mail: EmailMessage) -> bool:
        """Return True if the mail server has taken this mail before."""
        with self.database.reading() as db:
            found = db.execute("SELECT 1 FROM sent WHERE message_id = ?", [mail["Message-ID"]])
            return found.fetchone() is not None

    def send(self, mail: EmailMessage) -> None:
        """Hand a mail over, and remember it. Raises NoMailServer or Refused."""
        try:
            with smtplib.SMTP(self.host, self.port, "localhost", PATIENCE) as server:
                server.send_message(mail)
                self.remember(mail)  # before QUIT, whose errors do not matter
        except smtplib.SMTPRecipientsRefused as error:
            raise Refused(*next(iter(error.recipients.values()))) from error
        except (smtplib.SMTPSenderRefused, smtplib.SMTPDataError) as error:
            raise Refused(error.smtp_code, error.smtp_error) from error
        except smtplib.SMTPResponseException as error:  # to our greeting, such as 421
            raise NoMailServer(answer(error.smtp_code, error.smtp_error)) from error
        except OSError as error:  # smtplib's own errors too: they concern every mail
            raise NoMailServer(str(error.strerror or error)) from error

    def remember(self, mail: EmailMessage) -> None:
        with self.database.transaction() as db:
            db.execute(
                "INSERT OR IGNORE INTO sent VALUES (?, ?)", [mail["Message-ID"], time.time()]
            )
