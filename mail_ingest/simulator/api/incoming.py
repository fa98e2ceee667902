"""Messages that a request brings: as base64url in the body, or uploaded as they are."""

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import format_datetime, getaddresses, parsedate_to_datetime
from typing import Any

from mail_ingest.simulator.api.context import Context
from mail_ingest.simulator.mail import ids, mime
from mail_ingest.simulator.wire import errors
from mail_ingest.simulator.wire.encoding import from_base64url


def incoming_message(ctx: Context, resource: Mapping[str, Any]) -> bytes:
    """The bytes of the message."""
    if ctx.media is not None:
        return ctx.media
    raw = resource.get("raw")
    if not isinstance(raw, str) or not raw:
        raise errors.invalid("'raw' RFC822 payload message string or uploading message via /upload/* URL required")
    try:
        return from_base64url(raw)
    except ValueError:
        raise errors.bad_value("message.raw", "TYPE_BYTES", "Base64 decoding failed") from None


def thread_wish(ctx: Context, resource: Mapping[str, Any]) -> int | None:
    """The thread a request wants its message in; 404 for one that does not exist."""
    text = resource.get("threadId")
    if not text:
        return None
    number = ids.parse_hex(str(text))
    if number is None:
        raise errors.invalid("Invalid thread_id value")
    thread = ctx.state.table.thread_of(number)
    if thread is None or not ctx.state.table.thread_slots(thread):
        raise errors.not_found()
    return number


def header_date_ms(raw: bytes) -> int | None:
    """Epoch milliseconds of the Date header, None when it cannot be read."""
    value = mime.parse_headers(raw).get("Date")
    try:
        date = parsedate_to_datetime(str(value)) if value else None
    except (ValueError, IndexError):
        return None
    if date is None:
        return None
    return int((date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() * 1000)


def own_recipient(ctx: Context, raw: bytes) -> bool:
    """Whether the message goes to the account itself; 400 when it goes to nobody."""
    headers = mime.parse_headers(raw)
    values = [str(value) for name in ("To", "Cc", "Bcc") for value in headers.get_all(name, [])]
    addresses = [address.lower() for _, address in getaddresses(values) if address]
    if not addresses:
        raise errors.invalid("Recipient address required")
    return ctx.box.address.lower() in addresses


def stamped(ctx: Context, raw: bytes) -> bytes:
    """What Gmail puts before a message at every step on its own side: a Received line, and what is missing.

    Recorded drafts carry one such line, sent messages two.
    """
    headers = mime.parse_headers(raw)
    date = format_datetime(datetime.fromtimestamp(int(ctx.clock()), UTC))
    added = [f"Received: from {ctx.project} named unknown by gmailapi.google.com with HTTPREST; {date}"]
    if "From" not in headers:
        added.append(f"From: {ctx.box.address}")
    if "Date" not in headers:
        added.append(f"Date: {date}")
    if "Message-ID" not in headers:
        added.append(f"Message-Id: <CA{ctx.state.rng.getrandbits(160):040x}@mail.gmail.com>")
    return "".join(f"{line}\r\n" for line in added).encode() + raw
