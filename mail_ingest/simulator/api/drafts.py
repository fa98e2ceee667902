"""`users.drafts`."""

from collections.abc import Mapping
from typing import Any

from mail_ingest.simulator.api.changes import short_with_labels
from mail_ingest.simulator.api.context import Context, Json
from mail_ingest.simulator.api.incoming import incoming_message, own_recipient, stamped, thread_wish
from mail_ingest.simulator.api.messages import listing_key, make_listing, message_resource, short
from mail_ingest.simulator.wire import errors


def list_drafts(ctx: Context) -> Json:
    """Pages by place in the list; drafts are few."""
    query_key = (ctx.box.address, "drafts", listing_key(ctx))
    begin = ctx.tokens.position(ctx.params.text("pageToken"), query_key) or 0
    listing = make_listing(ctx)
    found = [(draft, slot) for draft, slot in ctx.box.drafts.newest_first() if listing.matches(slot)]
    page = found[begin : begin + ctx.page_size()]
    answer: Json = {}
    if page:
        answer["drafts"] = [{"id": draft, "message": short(ctx, slot)} for draft, slot in page]
    if begin + len(page) < len(found):
        answer["nextPageToken"] = ctx.tokens.next_page(query_key, begin + len(page))
    answer["resultSizeEstimate"] = min(len(found), 201)
    return answer


def get_draft(ctx: Context) -> Json:
    slot = _slot(ctx, ctx.path[0])
    return {"id": ctx.path[0], "message": message_resource(ctx, slot, ctx.params.text("format") or "full")}


def create_draft(ctx: Context) -> Json:
    resource = _message(ctx)
    raw = stamped(ctx, incoming_message(ctx, resource))
    draft = ctx.box.drafts.create(raw, int(ctx.clock() * 1000), thread_wish(ctx, resource))
    return {"id": draft, "message": short_with_labels(ctx, ctx.box.drafts.slot(draft))}


def update_draft(ctx: Context) -> Json:
    draft = ctx.path[0]
    _slot(ctx, draft)
    ctx.box.drafts.save(draft, stamped(ctx, incoming_message(ctx, _message(ctx))), int(ctx.clock() * 1000))
    return {"id": draft, "message": short_with_labels(ctx, ctx.box.drafts.slot(draft))}


def delete_draft(ctx: Context) -> None:
    _slot(ctx, ctx.path[0])
    ctx.box.drafts.delete(ctx.path[0])


def send_draft(ctx: Context) -> Json:
    """Sends a saved draft, with new content if the request brings any."""
    draft = ctx.text("id") or ""
    slot = _slot(ctx, draft)
    resource = _message(ctx)
    brings = ctx.media is not None or resource.get("raw")
    raw = stamped(ctx, incoming_message(ctx, resource)) if brings else ctx.state.contents.raw(slot)
    labels = ("SENT", "INBOX", "UNREAD") if own_recipient(ctx, raw) else ("SENT",)
    return short_with_labels(ctx, ctx.box.drafts.send(draft, int(ctx.clock() * 1000), stamped(ctx, raw), labels))


def _message(ctx: Context) -> Mapping[str, Any]:
    message = ctx.body.get("message")
    return message if isinstance(message, dict) else {}


def _slot(ctx: Context, draft: str) -> int:
    try:
        return ctx.box.drafts.slot(draft)
    except KeyError:
        raise errors.not_found() from None
