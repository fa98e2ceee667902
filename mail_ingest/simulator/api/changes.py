"""`users.messages`: writing. Answers hold id, thread and labels alone."""

from mail_ingest.simulator.api.context import Context, Json
from mail_ingest.simulator.api.incoming import header_date_ms, incoming_message, own_recipient, stamped, thread_wish
from mail_ingest.simulator.api.labels import check_label, check_settable
from mail_ingest.simulator.api.messages import live_slot, short
from mail_ingest.simulator.mail import bulk, ids
from mail_ingest.simulator.wire import errors

MAX_BULK_IDS = 1_000


def modify_message(ctx: Context) -> Json:
    add, remove = requested_labels(ctx)
    slot = live_slot(ctx, ctx.path[0])
    bulk.relabel(ctx.state, [slot], add, remove)
    return short_with_labels(ctx, slot)


def trash_message(ctx: Context) -> Json:
    slot = live_slot(ctx, ctx.path[0])
    bulk.trash(ctx.state, [slot])
    return short_with_labels(ctx, slot)


def untrash_message(ctx: Context) -> Json:
    slot = live_slot(ctx, ctx.path[0])
    bulk.untrash(ctx.state, [slot])
    return short_with_labels(ctx, slot)


def delete_message(ctx: Context) -> None:
    bulk.delete(ctx.state, [live_slot(ctx, ctx.path[0])])


def batch_modify(ctx: Context) -> None:
    """Ids that do not exist are passed over."""
    slots = _bulk_slots(ctx)
    add, remove = requested_labels(ctx)
    bulk.relabel(ctx.state, slots, add, remove)


def batch_delete(ctx: Context) -> None:
    bulk.delete(ctx.state, _bulk_slots(ctx))


def insert_message(ctx: Context) -> Json:
    return _take_in(ctx, ctx.params.text("internalDateSource") or "receivedTime")


def import_message(ctx: Context) -> Json:
    return _take_in(ctx, ctx.params.text("internalDateSource") or "dateHeader")


def send_message(ctx: Context) -> Json:
    """Nothing leaves the machine: the message appears under SENT, and in the inbox if it goes to oneself."""
    raw = incoming_message(ctx, ctx.body)
    label_ids = ["SENT", *(("INBOX", "UNREAD") if own_recipient(ctx, raw) else ())]
    now_ms = int(ctx.clock() * 1000)
    change = ctx.state.insert(now_ms, label_ids, stamped(ctx, stamped(ctx, raw)), thread_wish(ctx, ctx.body))
    ctx.box.arrive(change)
    return short_with_labels(ctx, change.slot)


def requested_labels(ctx: Context) -> tuple[list[str], list[str]]:
    """`addLabelIds` and `removeLabelIds`, checked."""
    add, remove = ctx.texts("addLabelIds"), ctx.texts("removeLabelIds")
    if not add and not remove:
        raise errors.invalid("No label add or removes specified")
    check_settable(ctx, (*add, *remove))
    return add, remove


def short_with_labels(ctx: Context, slot: int) -> Json:
    answer = short(ctx, slot)
    label_ids = ctx.state.sets.listed(ctx.state.table.label_sets[slot])
    if label_ids:
        answer["labelIds"] = label_ids
    return answer


def _take_in(ctx: Context, date_source: str) -> Json:
    raw = incoming_message(ctx, ctx.body)
    label_ids = ctx.texts("labelIds")
    for label_id in label_ids:
        check_label(ctx, label_id)
        if label_id == "CHAT":
            raise errors.invalid("Invalid label: CHAT")
    now_ms = int(ctx.clock() * 1000)
    date_ms = header_date_ms(raw) if date_source == "dateHeader" else None
    change = ctx.state.insert(
        now_ms if date_ms is None else date_ms, label_ids, raw, thread_wish(ctx, ctx.body), arrival_ms=now_ms
    )
    ctx.box.arrive(change)
    answer = short_with_labels(ctx, change.slot)
    if ctx.params.flag("deleted"):
        bulk.delete(ctx.state, [change.slot])
    return answer


def _bulk_slots(ctx: Context) -> list[int]:
    message_ids = ctx.texts("ids")
    if not message_ids:
        raise errors.invalid("No message ids specified.")
    if len(message_ids) > MAX_BULK_IDS:
        raise errors.invalid(f"Number of ids cannot exceed {MAX_BULK_IDS}")
    slots = {}
    for message_id in message_ids:
        number = ids.parse_hex(message_id)
        if number is None:
            raise errors.invalid("Invalid ids value")
        slots[ctx.state.table.live_slot(number)] = True
    return [slot for slot in slots if slot is not None]
