"""The shop's mail: each message becomes an `.eml` file in the outbox folder, which any mail program opens."""

import hashlib
import re
from email.message import EmailMessage
from email.utils import format_datetime, formataddr
from pathlib import Path

from engine.examples import storage
from engine.examples.clock import moment
from engine.examples.ecommerce.shop import fail_if_down, open_shop

SENDER = ("The Widget Shop", "orders@shop.example")
_ADDRESS = re.compile(r"[^@\s\r\n]+@[^@\s\r\n]+\.[^@\s\r\n]+")


def is_address(text: str) -> bool:
    """Whether `text` looks like one mail address (plain ASCII, as most mail servers still want it)."""
    return text.isascii() and bool(_ADDRESS.fullmatch(text))


def send(key: str, *, to: str, name: str, subject: str, body: str, sent_at: str) -> tuple[str, Path]:
    """Put one message into the outbox, once per `key`; returns its message id and file.

    Raises `ServiceDown` while the mail service refuses.
    """
    fail_if_down("mail")
    message_id = f"<{hashlib.sha256(key.encode()).hexdigest()[:24]}@shop.example>"
    file = storage.folder("outbox") / f"{message_id.strip('<>').partition('@')[0]}.eml"
    with open_shop() as shop:
        if not shop.execute("select 1 from mails where key = ?", (key,)).fetchone():
            storage.write_file(file, _message(message_id, to=to, name=name, subject=subject, body=body, sent_at=sent_at))
            shop.execute("insert into mails (key, message_id, file) values (?, ?, ?)", (key, message_id, str(file)))
    return message_id, file


def _message(message_id: str, *, to: str, name: str, subject: str, body: str, sent_at: str) -> str:
    message = EmailMessage()
    message["From"] = formataddr(SENDER)
    message["To"] = formataddr((" ".join(name.split()), to))
    message["Subject"] = " ".join(subject.split())
    message["Date"] = format_datetime(moment(sent_at))
    message["Message-ID"] = message_id
    message.set_content(body)
    return message.as_string()
