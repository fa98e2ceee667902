"""What one message says: the frozen values that parsing gives.

Every string here is clean Unicode: no lone surrogates, no NUL (dropped, and recorded as the defect "nul-character").
No `repr` shows a subject, a body, an address or a file name, because objects reach logs by accident.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from mail_ingest.mime.words import decode_words


@dataclass(frozen=True, slots=True, repr=False)
class Address:
    """One mailbox out of an address header.

    `name` is decoded; `address` is the addr-spec as written, so its domain may be an IDN in Unicode or in
    punycode, and it may lack an "@" where the sender left it out. `group` is the decoded name of the RFC 5322
    group the mailbox stands in; an empty group ("undisclosed-recipients:;") gives one Address with `group` alone.
    """

    name: str
    address: str
    group: str = ""

    def __repr__(self) -> str:
        return "Address(...)"


@dataclass(frozen=True, slots=True, repr=False)
class Attachment:
    """One leaf of the message that is not shown as its body, or one attached message.

    An attached message (`message/rfc822`) is one Attachment with all its bytes and its own decoded `subject`;
    the attachments inside it follow it, with `in_message` set to its `part_id`, so that they can be found and
    need not be counted twice. The body texts inside it are not listed.
    """

    part_id: str
    """Place in the MIME tree as the Gmail API numbers it: "" is the root, its children "0", "1", then "0.1"."""
    filename: str
    content_type: str
    charset: str
    """As declared, lower case; "" when not declared."""
    disposition: str
    """"attachment", "inline" or "" (none, or neither of the two)."""
    content_id: str
    """Without the angle brackets, as `cid:` URLs name it."""
    is_inline: bool
    """It says inline, or the HTML body shows it by its content id."""
    size_bytes: int
    """Of the decoded content."""
    sha256: str
    """Hexadecimal, of the decoded content."""
    content: bytes
    subject: str | None = None
    in_message: str | None = None

    def __repr__(self) -> str:
        return f"Attachment(part_id={self.part_id!r}, size_bytes={self.size_bytes})"


@dataclass(frozen=True, slots=True, repr=False)
class ParsedMessage:
    """One message, parsed. `None` means the message does not say; an empty string that it says nothing."""

    subject: str | None
    rfc822_message_id: str | None
    """With its angle brackets, as `in_reply_to` and `references` have them."""
    in_reply_to: str | None
    references: tuple[str, ...]
    date: datetime | None
    """Aware, UTC."""
    date_header: str | None
    from_: tuple[Address, ...]
    sender: tuple[Address, ...]
    reply_to: tuple[Address, ...]
    to: tuple[Address, ...]
    cc: tuple[Address, ...]
    bcc: tuple[Address, ...]
    headers: tuple[tuple[str, str], ...]
    """All of them in order: name as written, value unfolded, encoded words left as they are."""
    body_text: str | None
    """The text parts, when they tell the whole message; lines end in "\\n"."""
    body_html: str | None
    text_from_html: str | None
    """Readable text of the whole message when part of it is in HTML alone; never set together with `body_text`."""
    attachments: tuple[Attachment, ...]
    charsets: tuple[str, ...]
    """Declared by the text parts: lower case, in order, each once."""
    defects: tuple[str, ...]
    """Words of `mail_ingest.mime.DEFECTS`, sorted."""

    def __repr__(self) -> str:
        return f"ParsedMessage({len(self.headers)} headers, {len(self.attachments)} attachments, {self.defects})"

    @property
    def text(self) -> str | None:
        """The readable text of the message, wherever it came from."""
        return self.body_text if self.body_text is not None else self.text_from_html

    def header(self, name: str) -> str | None:
        """First value of a header, encoded words decoded; the name in any case."""
        wanted = name.lower()
        for key, value in self.headers:
            if key.lower() == wanted:
                return decode_words(value)
        return None

    def header_all(self, name: str) -> tuple[str, ...]:
        """Every value of a header in order, encoded words decoded."""
        wanted = name.lower()
        return tuple(decode_words(value) for key, value in self.headers if key.lower() == wanted)

    @property
    def importance(self) -> str | None:
        return self.header("Importance")

    @property
    def list_id(self) -> str | None:
        return self.header("List-Id")

    @property
    def list_unsubscribe(self) -> str | None:
        return self.header("List-Unsubscribe")

    @property
    def list_unsubscribe_post(self) -> str | None:
        return self.header("List-Unsubscribe-Post")

    @property
    def precedence(self) -> str | None:
        return self.header("Precedence")

    @property
    def auto_submitted(self) -> str | None:
        return self.header("Auto-Submitted")

    @property
    def return_path(self) -> str | None:
        return self.header("Return-Path")

    @property
    def delivered_to(self) -> str | None:
        return self.header("Delivered-To")

    @property
    def authentication_results(self) -> str | None:
        return self.header("Authentication-Results")
