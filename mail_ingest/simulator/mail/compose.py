"""Builds the bytes of a message from the few things a caller wants to say about it."""

from collections.abc import Sequence
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

DEFAULT_SENDER = "Grace Hopper <grace@example.org>"


def compose(
    *,
    sender: str,
    to: str | Sequence[str],
    subject: str,
    body: str,
    html: str | None = None,
    cc: str | None = None,
    attachments: Sequence[tuple[str, str, bytes]] = (),
    date_ms: int,
    message_id: str,
    in_reply_to: str | None = None,
) -> bytes:
    """A message with CRLF line ends; attachments are (file name, MIME type, bytes)."""
    message = EmailMessage(policy=SMTP.clone(max_line_length=78, cte_type="7bit"))
    message["From"] = sender
    message["To"] = to if isinstance(to, str) else ", ".join(to)
    if cc:
        message["Cc"] = cc
    message["Subject"] = subject
    message["Date"] = format_datetime(datetime.fromtimestamp(date_ms // 1000, UTC))
    message["Message-ID"] = message_id
    if in_reply_to:
        message["In-Reply-To"] = in_reply_to
        message["References"] = in_reply_to
    message.set_content(body)
    if html is not None:
        message.add_alternative(html, subtype="html")
    for name, mime_type, data in attachments:
        main, _, sub = mime_type.partition("/")
        message.add_attachment(data, maintype=main, subtype=sub, filename=name)
    return message.as_bytes()
