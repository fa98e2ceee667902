"""`format=full`: a tree of MIME parts with decoded headers and bodies.

As observed: text is handed out in UTF-8 while its Content-Type header keeps the old charset; attachments never come
inline; large text comes by attachment id too; containers have size 0.
"""

from collections.abc import Callable
from typing import Any

from mail_ingest.simulator.mail import mime
from mail_ingest.simulator.wire.encoding import base64url


def full_payload(
    message: mime.Parsed,
    *,
    attachment_id: Callable[[str], str],
    large_text_bytes: int,
    padded: bool,
) -> dict[str, Any]:
    """The payload of `format=full`. `attachment_id` makes the id for a part id."""

    def build(part: mime.Parsed, part_id: str) -> dict[str, Any]:
        below = mime.children(part)
        body: dict[str, Any] = {"size": 0}
        if not below or part.get_content_type() == "message/rfc822":
            data = mime.handed_out(part)
            if mime.is_inline_text(part) and len(data) <= large_text_bytes:
                body = {"size": len(data)}
                if data:
                    body["data"] = base64url(data, padded=padded)
            else:
                body = {"attachmentId": attachment_id(part_id), "size": len(data)}
        built: dict[str, Any] = {
            "partId": part_id,
            "mimeType": part.get_content_type(),
            "filename": mime.filename(part),
            "headers": mime.header_list(part),
            "body": body,
        }
        if below:
            built["parts"] = [
                build(child, f"{part_id}.{number}" if part_id else str(number)) for number, child in enumerate(below)
            ]
        return built

    return build(message, "")
