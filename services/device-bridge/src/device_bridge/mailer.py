"""The edge to the mail server: one message a connection, with a limit on every wait."""

import asyncio
import smtplib
import ssl
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import format_datetime, parseaddr
from urllib.parse import unquote, urlsplit

from copeck.kernel.clock import Clock, SystemClock

_PERMANENT = range(500, 600)
_PORTS = {"smtp": 25, "smtps": 465, "submission": 587}


class MailFailed(Exception):
    """The message was not taken this time; another try may work."""


class MailRefused(Exception):
    """The server will never take this message: the address does not exist, say."""


@dataclass(frozen=True, slots=True)
class Mail:
    """One message. `message_id` is the same at each try, so that a doubled one can be told."""

    to: str
    subject: str
    text: str
    message_id: str
    language: str


class Mailer:
    """Sends mail through `smtp://user:password@host:port` (plain), `submission://…` (STARTTLS) or `smtps://…` (TLS)."""

    def __init__(self, url: str, sender: str, timeout_s: float, clock: Clock | None = None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in _PORTS or not parts.hostname:
            raise ValueError("the mail server's URL is smtp://, submission:// or smtps:// with a host")
        self._scheme, self._host, self._port = parts.scheme, parts.hostname, parts.port or _PORTS[parts.scheme]
        self._user, self._password = unquote(parts.username or ""), unquote(parts.password or "")
        self._sender = sender
        self._timeout_s = timeout_s
        self._clock = clock or SystemClock()

    async def send(self, mail: Mail) -> None:
        """Hand a message to the server; MailFailed when it may be tried again, MailRefused when not."""
        await asyncio.to_thread(self._send, self.message(mail))

    def message(self, mail: Mail) -> EmailMessage:
        """Return the message as it is sent."""
        message = EmailMessage()
        message["From"] = self._sender
        message["To"] = mail.to
        # A header is one line, whatever the drink's name holds.
        message["Subject"] = " ".join(mail.subject.split())
        message["Date"] = format_datetime(self._clock.now())
        message["Message-ID"] = f"<{mail.message_id}@{parseaddr(self._sender)[1].partition('@')[2] or 'localhost'}>"
        message["Content-Language"] = mail.language
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(mail.text)
        return message

    def _send(self, message: EmailMessage) -> None:
        try:
            with self._connection() as server:
                server.send_message(message)
        except smtplib.SMTPRecipientsRefused as error:
            codes = [code for code, _ in error.recipients.values()]
            raise _failure(codes[0] if codes else 0) from None
        except smtplib.SMTPResponseException as error:
            # A 5xx to our greeting, login or sender is our own fault, to be mended: the message is not refused.
            raise _failure(error.smtp_code if isinstance(error, smtplib.SMTPDataError) else 0) from None
        except (smtplib.SMTPException, OSError) as error:
            raise MailFailed(type(error).__name__) from None

    def _connection(self) -> smtplib.SMTP:
        context = ssl.create_default_context()
        if self._scheme == "smtps":
            server: smtplib.SMTP = smtplib.SMTP_SSL(self._host, self._port, timeout=self._timeout_s, context=context)
        else:
            server = smtplib.SMTP(self._host, self._port, timeout=self._timeout_s)
        try:
            if self._scheme == "submission":
                server.starttls(context=context)
            if self._user:
                server.login(self._user, self._password)
        except BaseException:
            server.close()
            raise
        return server


def _failure(code: int) -> Exception:
    # The server's text may quote the address: only its code is kept.
    return MailRefused(f"smtp {code}") if code in _PERMANENT else MailFailed(f"smtp {code}")
