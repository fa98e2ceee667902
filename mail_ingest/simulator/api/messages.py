"""`users.messages`: reading. Shapes and key order follow recorded answers."""

from typing import Any

from mail_ingest.simulator.api.context import Context, Json
from mail_ingest.simulator.api.labels import check_label
from mail_ingest.simulator.api.payload import full_payload
from mail_ingest.simulator.mail import ids, mime
from mail_ingest.simulator.mail.listing import Listing, Position
from mail_ingest.simulator.mail.search import Query, compile_query
from mail_ingest.simulator.mail.search_terms import Terms
from mail_ingest.simulator.mail.state import HIDDEN_BY_DEFAULT
from mail_ingest.simulator.wire import errors
from mail_ingest.simulator.wire.encoding import base64url


def list_messages(ctx: Context) -> Json:
    query_key = (ctx.box.address, "messages", listing_key(ctx))
    position = ctx.tokens.position(ctx.params.text("pageToken"), query_key) or Position()
    page = make_listing(ctx).page(position, ctx.page_size(), by_offset=ctx.switches.page_by_offset)
    slots = _inverted(page.slots) if ctx.switches.list_inversions else page.slots
    answer: Json = {}
    if slots:
        table, to_hex = ctx.state.table, ids.to_hex
        answer["messages"] = [
            {"id": to_hex(table.ids[slot]), "threadId": to_hex(table.thread_id(slot))} for slot in slots
        ]
    if page.next is not None:
        answer["nextPageToken"] = ctx.tokens.next_page(query_key, page.next)
    answer["resultSizeEstimate"] = page.estimate
    return answer


def get_message(ctx: Context) -> Json:
    slot = live_slot(ctx, ctx.path[0])
    return message_resource(ctx, slot, ctx.params.text("format") or "full")


def get_attachment(ctx: Context) -> Json:
    slot = live_slot(ctx, ctx.path[0])
    found = ctx.tokens.attachments.get(ctx.path[1])
    if found is None or found[:2] != (ctx.box.address, slot):
        raise errors.invalid("Invalid attachment token")
    message = mime.parse(ctx.state.contents.as_received(slot))
    data = mime.handed_out(next(part for part_id, part in mime.walk(message) if part_id == found[2]))
    return {"size": len(data), "data": base64url(data, padded=ctx.switches.base64_padding)}


def live_slot(ctx: Context, message_id: str) -> int:
    number = ids.parse_hex(message_id)
    if number is None:
        raise errors.invalid("Invalid id value")
    slot = ctx.state.table.live_slot(number)
    if slot is None:
        raise errors.not_found()
    return slot


def short(ctx: Context, slot: int) -> Json:
    table = ctx.state.table
    return {"id": ids.to_hex(table.ids[slot]), "threadId": ids.to_hex(table.thread_id(slot))}


def message_resource(ctx: Context, slot: int, form: str) -> Json:
    """A message in one of the four formats."""
    if form in ("full", "raw") and ctx.is_metadata_only():
        raise errors.ApiError(403, "forbidden", f"Metadata scope doesn't allow format {form.upper()}")
    state = ctx.state
    table = state.table
    answer: Json = short(ctx, slot)
    label_ids = state.sets.listed(table.label_sets[slot])
    if label_ids:
        answer["labelIds"] = label_ids
    raw = state.contents.raw(slot)
    if form == "minimal":
        if ctx.switches.minimal_has_snippet:
            answer["snippet"] = ctx.box.snippets.of(slot)
        answer["payload"] = {"partId": ""}
    else:
        answer["snippet"] = ctx.box.snippets.of(slot)
    if form == "metadata":
        answer["payload"] = _metadata_payload(state.contents.as_received(slot), ctx.params.texts("metadataHeaders"))
    elif form == "full":
        answer["payload"] = full_payload(
            mime.parse(state.contents.as_received(slot)),
            attachment_id=lambda part_id: ctx.tokens.attachments.put((ctx.box.address, slot, part_id)),
            large_text_bytes=ctx.switches.large_text_bytes,
            padded=ctx.switches.base64_padding,
        )
    answer["sizeEstimate"] = len(raw)
    if form == "raw":
        answer["raw"] = base64url(raw, padded=ctx.switches.base64_padding)
    answer["historyId"] = str(table.history[slot])
    answer["internalDate"] = str(table.dates[slot])
    return answer


def _metadata_payload(raw: bytes, wanted: list[str]) -> dict[str, Any]:
    message = mime.parse_headers(raw)
    headers = mime.header_list(message)
    if wanted:
        names = {name.lower() for name in wanted}
        headers = [header for header in headers if header["name"].lower() in names]
    answer: dict[str, Any] = {"mimeType": message.get_content_type()}
    if headers:
        answer["headers"] = headers
    return answer


def listing_key(ctx: Context) -> tuple[Any, ...]:
    """What a page token is bound to."""
    labels = tuple(sorted(ctx.params.texts("labelIds")))
    return ctx.params.text("q") or "", labels, ctx.params.flag("includeSpamTrash")


def make_listing(ctx: Context) -> Listing:
    """The listing that `q`, `labelIds` and `includeSpamTrash` ask for."""
    label_ids = ctx.params.texts("labelIds")
    for label_id in label_ids:
        check_label(ctx, label_id)
    query = _query(ctx)
    shows_bins = ctx.params.flag("includeSpamTrash")
    if not ctx.switches.spam_trash_needs_flag:
        shows_bins = shows_bins or not HIDDEN_BY_DEFAULT.isdisjoint(label_ids)
        shows_bins = shows_bins or (query is not None and query.names_spam_or_trash)
    return Listing(ctx.state, label_ids, query, shows_bins=shows_bins)


def _query(ctx: Context) -> Query | None:
    text = ctx.params.text("q")
    if not text or not text.strip():
        return None
    if ctx.is_metadata_only():
        raise errors.ApiError(403, "forbidden", "Metadata scope does not support 'q' parameter")
    return compile_query(text, Terms(ctx.state, ctx.clock(), ctx.switches.date_bounds))


def _inverted(slots: list[int]) -> list[int]:
    """Some neighbours change places; the same ones whenever the page is read."""
    turned = list(slots)
    for at in range(0, len(turned) - 1, 2):
        if turned[at] % 3 == 0:
            turned[at], turned[at + 1] = turned[at + 1], turned[at]
    return turned
