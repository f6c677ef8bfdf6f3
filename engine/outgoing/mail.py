"""E-mail: one message to one person by the server that `TASKER_SMTP_URL` names."""

from __future__ import annotations

import os
import re
import smtplib
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.utils import formatdate
from typing import Self
from urllib.parse import parse_qs, unquote, urlsplit

from engine.errors import PermanentError, RetryableError, TaskerError

SECONDS = 10.0
MAX_ADDRESS = 254
FORM = "TASKER_SMTP_URL must read like smtp://user:password@host:587 or smtps://host"
_ADDRESS = re.compile(r"[^\s@<>,;:\"()\[\]\\]+@[^\s@<>,;:\"()\[\]\\]+", re.ASCII)


def address_problem(address: str) -> str | None:
    """What is wrong with one e-mail address; None when a message can be sent there."""
    fits = len(address) <= MAX_ADDRESS and address.isascii() and address.isprintable() and _ADDRESS.fullmatch(address)
    return None if fits else "must be one address such as ops@example.com"


@dataclass(frozen=True, slots=True)
class MailServer:
    """Where messages are handed in: `smtps://` speaks TLS at once, `smtp://` begins it, unless `?tls=no` says that it must not."""

    host: str
    port: int
    tls: str
    sender: str
    user: str | None = None
    password: str | None = field(default=None, repr=False)

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] = os.environ) -> Self | None:
        """The server of TASKER_SMTP_URL, writing as TASKER_MAIL_FROM; None without one. Raises `TaskerError` for what is no such address."""
        url = environ.get("TASKER_SMTP_URL", "").strip()
        if not url:
            return None
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise TaskerError(FORM) from None
        if parts.scheme not in ("smtp", "smtps") or not parts.hostname:
            raise TaskerError(FORM)
        tls = "at once" if parts.scheme == "smtps" else "no" if parse_qs(parts.query).get("tls") == ["no"] else "begun"
        sender = environ.get("TASKER_MAIL_FROM", "").strip() or f"tasker@{socket.gethostname()}"
        user, password = (unquote(each) if each else None for each in (parts.username, parts.password))
        return cls(parts.hostname, port or (465 if tls == "at once" else 587), tls, sender, user, password)

    def send(self, to: str, subject: str, text: str, *, name: str) -> None:
        """The server has taken the message; `name` stands in its id, the same each time it is tried. Raises RetryableError, or PermanentError when it never will."""
        try:
            with self._connected() as server:
                server.send_message(self._message(to, subject, text, name))
        except (smtplib.SMTPRecipientsRefused, smtplib.SMTPSenderRefused) as error:
            raise (PermanentError if _is_final(error) else RetryableError)(f"the mail server refused it: {_codes(error)}") from error
        except (smtplib.SMTPException, OSError) as error:
            raise RetryableError(f"the mail server did not take it: {type(error).__name__}") from error

    def _connected(self) -> smtplib.SMTP:
        context = ssl.create_default_context()
        server = smtplib.SMTP_SSL(self.host, self.port, timeout=SECONDS, context=context) if self.tls == "at once" else smtplib.SMTP(self.host, self.port, timeout=SECONDS)
        if self.tls == "begun":
            server.starttls(context=context)
        if self.user:
            server.login(self.user, self.password or "")
        return server

    def _message(self, to: str, subject: str, text: str, name: str) -> EmailMessage:
        message = EmailMessage()
        message["From"], message["To"], message["Subject"] = self.sender, to, " ".join(subject.split())
        message["Date"], message["Message-ID"] = formatdate(), f"<{name}@{self.sender.rpartition('@')[2]}>"
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(text)
        return message


def _is_final(error: smtplib.SMTPException) -> bool:
    return bool(_codes_of(error)) and all(code >= 500 for code in _codes_of(error))


def _codes(error: smtplib.SMTPException) -> str:
    return ", ".join(str(code) for code in _codes_of(error))


def _codes_of(error: smtplib.SMTPException) -> list[int]:
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return [code for code, _ in error.recipients.values()]
    return [error.smtp_code] if isinstance(error, smtplib.SMTPSenderRefused) else []
