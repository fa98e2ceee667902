"""Makes the bytes of one generated message from the seed and its row, the same bytes at every call.

Sizes are log-normal; about one message in eight carries an attachment, which is where most bytes are. Styles cover what
mailboxes hold: plain and HTML, quoted-printable, 8-bit and base64, six charsets, related images. Headers are those of
delivered mail: some 25 for received messages, few for sent ones and drafts.
"""

from hashlib import blake2b

from mail_ingest.simulator.made import vocabulary
from mail_ingest.simulator.made.headers import correspondents, message_headers
from mail_ingest.simulator.made.plan import Kind, lognormal_table
from mail_ingest.simulator.made.pools import pool
from mail_ingest.simulator.mail.table import MessageTable

_ATTACHMENT_SHARE = 1 / 8
_TEXT_BYTES_SHARE = 0.3
_PREVIEW_LINES = 12

# style: pool, charset, transfer encoding
_STYLES: tuple[tuple[str, str, str], ...] = (
    *(("plain", "UTF-8", "7bit"),) * 12,
    *(("alternative", "UTF-8", "quoted-printable"),) * 12,
    *(("html", "UTF-8", "quoted-printable"),) * 3,
    ("german-8bit", "ISO-8859-1", "8bit"),
    ("german-utf8", "UTF-8", "8bit"),
    ("french-quoted", "windows-1252", "quoted-printable"),
    ("russian-base64", "KOI8-R", "base64"),
    ("chinese-base64", "UTF-8", "base64"),
    ("chinese-8bit", "GB2312", "8bit"),
    ("japanese-7bit", "ISO-2022-JP", "7bit"),
)
_HTML_PART_HEADERS = (
    b'\r\nContent-Type: text/html; charset="UTF-8"\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n'
)
_HTML_HEAD = b'<!DOCTYPE html>\r\n<html><head><meta charset=3D"utf-8"></head><body>\r\n'
_HTML_FOOT = b"</body></html>\r\n"


class GeneratedMail:
    """Bytes for the messages of one generated run. Small: a fleet of mailboxes has tens of thousands of runs."""

    __slots__ = (
        "_address",
        "_file_sizes",
        "_first_slot",
        "_has_files",
        "_key",
        "_kinds",
        "_seed",
        "_table",
        "_text_sizes",
    )

    def __init__(self, table: MessageTable, first_slot: int, kinds: bytes, address: str, seed: int,
                 mean_size_bytes: int) -> None:  # fmt: skip
        self._table = table
        self._first_slot = first_slot
        self._kinds = kinds
        self._key = seed.to_bytes(16, "big", signed=True)
        self._address = address
        self._seed = seed
        headers = 1_600
        body = max(400, mean_size_bytes - headers)
        text_share = _TEXT_BYTES_SHARE if mean_size_bytes > 4_000 else 1.0
        self._text_sizes = lognormal_table(body * text_share, 1.0)
        self._file_sizes = lognormal_table(body * (1 - text_share) / _ATTACHMENT_SHARE + 1, 1.2)
        self._has_files = text_share < 1

    def raw(self, slot: int) -> bytes:
        draw = self._draw(slot)
        kind = Kind(self._kinds[slot - self._first_slot])
        content_headers, body = self._body(draw, kind)
        people = correspondents(self._address, self._seed)
        return message_headers(self._table, slot, kind, people, draw) + content_headers + b"\r\n\r\n" + body

    def preview(self, slot: int) -> str:
        """The first words of the text, without building the message."""
        draw = self._draw(slot)
        name = _STYLES[draw[0] % len(_STYLES)][0]
        size = self._text_size(draw, Kind(self._kinds[slot - self._first_slot]))
        line = draw[1] << 8 | draw[2]
        if name == "alternative":
            return pool("plain").text(line, size // 3, _PREVIEW_LINES)
        return pool(name).text(line, size, _PREVIEW_LINES)

    def _draw(self, slot: int) -> bytes:
        """32 bytes of chance that belong to this message."""
        return blake2b(self._table.ids[slot].to_bytes(8, "big"), digest_size=32, key=self._key).digest()

    def _body(self, draw: bytes, kind: Kind) -> tuple[bytes, bytes]:
        name, charset, encoding = _STYLES[draw[0] % len(_STYLES)]
        line = draw[1] << 8 | draw[2]
        size = self._text_size(draw, kind)
        if name == "alternative":
            headers, body = self._alternative(line, size, draw)
        elif name == "html":
            headers = b'Content-Type: text/html; charset="UTF-8"\r\nContent-Transfer-Encoding: quoted-printable'
            body = _HTML_HEAD + pool("html").cut(line, size) + _HTML_FOOT
        else:
            headers = f'Content-Type: text/plain; charset="{charset}"\r\nContent-Transfer-Encoding: {encoding}'.encode()
            body = pool(name).cut(line, size)
        if self._has_files and draw[5] < 256 * _ATTACHMENT_SHARE and kind is not Kind.CHAT:
            return self._with_file(headers, body, draw)
        return headers, body

    def _text_size(self, draw: bytes, kind: Kind) -> int:
        size = self._text_sizes[draw[3] << 2 | draw[4] >> 6]
        return min(size, 2_000) if kind in (Kind.CHAT, Kind.DRAFT) else size

    def _alternative(self, line: int, size: int, draw: bytes) -> tuple[bytes, bytes]:
        boundary = b"000000000000" + draw[8:14].hex().encode()
        count = pool("plain").lines_in(line, size // 3)
        body = b"".join(
            (
                b"--", boundary, b'\r\nContent-Type: text/plain; charset="UTF-8"\r\n\r\n',
                pool("plain").lines(line, count),
                b"\r\n--", boundary, _HTML_PART_HEADERS, _HTML_HEAD, pool("html").lines(line, count), _HTML_FOOT,
                b"\r\n--", boundary, b"--\r\n",
            )
        )  # fmt: skip
        return b'Content-Type: multipart/alternative; boundary="' + boundary + b'"', body

    def _with_file(self, headers: bytes, body: bytes, draw: bytes) -> tuple[bytes, bytes]:
        boundary = b"000000000001" + draw[8:14].hex().encode()
        name = vocabulary.FILE_NAMES[draw[14] % len(vocabulary.FILE_NAMES)]
        mime_type = vocabulary.MIME_TYPES[name.rpartition(".")[2]]
        is_inline = mime_type.startswith("image/") and draw[15] < 128
        disposition = "inline" if is_inline else "attachment"
        content_id = f"f_{draw[16:21].hex()}"
        part = (
            f'Content-Type: {mime_type}; name="{name}"\r\nContent-Disposition: {disposition}; filename="{name}"\r\n'
            f"Content-Transfer-Encoding: base64\r\nX-Attachment-Id: {content_id}\r\nContent-ID: <{content_id}>\r\n\r\n"
        ).encode()
        size = self._file_sizes[draw[6] << 2 | draw[7] >> 6]
        whole = b"".join(
            (
                b"--", boundary, b"\r\n", headers, b"\r\n\r\n", body, b"\r\n--", boundary, b"\r\n", part,
                pool("binary").cut(int.from_bytes(draw[17:20], "big"), size), b"\r\n--", boundary, b"--\r\n",
            )
        )  # fmt: skip
        subtype = b"related" if is_inline else b"mixed"
        return b"Content-Type: multipart/" + subtype + b'; boundary="' + boundary + b'"', whole
