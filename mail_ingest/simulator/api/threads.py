"""`users.threads`. Keys follow recorded answers: list items have a snippet, `threads.get` has none of its own."""

from collections.abc import Callable, Sequence

from mail_ingest.simulator.api.changes import requested_labels, short_with_labels
from mail_ingest.simulator.api.context import Context, Json
from mail_ingest.simulator.api.messages import listing_key, make_listing, message_resource
from mail_ingest.simulator.mail import bulk, ids
from mail_ingest.simulator.mail.listing import Position
from mail_ingest.simulator.mail.state import MailboxState
from mail_ingest.simulator.wire import errors


def list_threads(ctx: Context) -> Json:
    query_key = (ctx.box.address, "threads", listing_key(ctx))
    position = ctx.tokens.position(ctx.params.text("pageToken"), query_key) or Position()
    page = make_listing(ctx).thread_page(position, ctx.page_size())
    answer: Json = {}
    if page.slots:
        answer["threads"] = [_list_item(ctx, slot) for slot in page.slots]
    if page.next is not None:
        answer["nextPageToken"] = ctx.tokens.next_page(query_key, page.next)
    answer["resultSizeEstimate"] = page.estimate
    return answer


def get_thread(ctx: Context) -> Json:
    slots = _thread_slots(ctx)
    form = ctx.params.text("format") or "full"
    return {
        "id": ids.to_hex(ctx.state.table.thread_id(slots[0])),
        "historyId": _history_id(ctx, slots),
        "messages": [message_resource(ctx, slot, form) for slot in slots],
    }


def modify_thread(ctx: Context) -> Json:
    add, remove = requested_labels(ctx)
    return _changed(ctx, lambda state, slots: bulk.relabel(state, slots, add, remove))


def trash_thread(ctx: Context) -> Json:
    return _changed(ctx, bulk.trash)


def untrash_thread(ctx: Context) -> Json:
    return _changed(ctx, bulk.untrash)


def delete_thread(ctx: Context) -> None:
    bulk.delete(ctx.state, _thread_slots(ctx))


def _changed(ctx: Context, change: Callable[[MailboxState, Sequence[int]], None]) -> Json:
    slots = _thread_slots(ctx)
    change(ctx.state, slots)
    return {
        "id": ids.to_hex(ctx.state.table.thread_id(slots[0])),
        "messages": [short_with_labels(ctx, slot) for slot in slots],
    }


def _list_item(ctx: Context, slot: int) -> Json:
    """A thread by its newest matching message; the snippet is that of its newest message."""
    table = ctx.state.table
    slots = table.thread_slots(table.threads[slot])
    return {
        "id": ids.to_hex(table.thread_id(slot)),
        "snippet": ctx.box.snippets.of(slots[-1]),
        "historyId": _history_id(ctx, slots),
    }


def _history_id(ctx: Context, slots: Sequence[int]) -> str:
    return str(max(ctx.state.table.history[slot] for slot in slots))


def _thread_slots(ctx: Context) -> list[int]:
    thread_id = ids.parse_hex(ctx.path[0])
    if thread_id is None:
        raise errors.invalid("Invalid id value")
    thread = ctx.state.table.thread_of(thread_id)
    slots = [] if thread is None else ctx.state.table.thread_slots(thread)
    if not slots:
        raise errors.not_found()
    return slots
