"""`users.history.list`. Records look like recorded ones: `messages` repeats what the typed arrays say."""

from typing import Any

from mail_ingest.simulator.api.context import Context, Json
from mail_ingest.simulator.api.labels import check_label
from mail_ingest.simulator.api.messages import short
from mail_ingest.simulator.mail.history import Change, ChangeKind, HistoryRecord
from mail_ingest.simulator.wire import errors

_TYPES = {
    "messageAdded": ChangeKind.MESSAGE_ADDED,
    "messageDeleted": ChangeKind.MESSAGE_DELETED,
    "labelAdded": ChangeKind.LABELS_ADDED,
    "labelRemoved": ChangeKind.LABELS_REMOVED,
}
_KEYS = {
    ChangeKind.MESSAGE_ADDED: "messagesAdded",
    ChangeKind.MESSAGE_DELETED: "messagesDeleted",
    ChangeKind.LABELS_ADDED: "labelsAdded",
    ChangeKind.LABELS_REMOVED: "labelsRemoved",
}


def list_history(ctx: Context) -> Json:
    start = ctx.params.get("startHistoryId")
    if start is None:
        raise errors.invalid("Missing/invalid parameter: startHistoryId")
    kinds = frozenset(_TYPES[name] for name in ctx.params.texts("historyTypes"))
    label_id = ctx.params.text("labelId")
    if label_id:
        check_label(ctx, label_id)
    log = ctx.state.history
    if log.is_expired(start):
        raise errors.not_found()
    key = (ctx.box.address, "history", start, kinds, label_id)
    cursor, page_number = ctx.tokens.position(ctx.params.text("pageToken"), key) or (start, 0)
    if ctx.switches.empty_pages and page_number % 2 == 0:
        return {
            "nextPageToken": ctx.tokens.next_page(key, (cursor, page_number + 1)),
            "historyId": str(log.current),
        }
    records, is_last = _page(ctx, cursor, kinds, label_id)
    answer: Json = {}
    shown = _disturbed(ctx, cursor, start, records)
    history = [_record(ctx, record, kinds, label_id) for record in shown]
    if history:
        answer["history"] = history
    if not is_last:
        answer["nextPageToken"] = ctx.tokens.next_page(key, (records[-1].id, page_number + 1))
    answer["historyId"] = str(log.current)
    return answer


def _page(
    ctx: Context, cursor: int, kinds: frozenset[ChangeKind], label_id: str | None
) -> tuple[list[HistoryRecord], bool]:
    """The next records that the filters leave, and whether they are the last ones."""
    log, size = ctx.state.history, ctx.page_size()
    found: list[HistoryRecord] = []
    for at in range(log.after(cursor), len(log.records)):
        record = log.records[at]
        if _matching(ctx, record, kinds, label_id):
            if len(found) == size:
                return found, False
            found.append(record)
    return found, True


def _matching(ctx: Context, record: HistoryRecord, kinds: frozenset[ChangeKind], label_id: str | None) -> list[Change]:
    """The changes of a record that the filters leave. A label filter tests the labels after the change."""
    return [
        change
        for change in record.changes
        if (not kinds or change.kind in kinds)
        and (not label_id or label_id in ctx.state.sets[change.label_set] or label_id in change.delta)
    ]


def _disturbed(ctx: Context, cursor: int, start: int, records: list[HistoryRecord]) -> list[HistoryRecord]:
    """The page with the disorder that the switches ask for."""
    shown = list(records)
    if ctx.switches.out_of_order_records:
        for at in range(0, len(shown) - 1, 2):
            shown[at], shown[at + 1] = shown[at + 1], shown[at]
    if ctx.switches.duplicate_records and cursor != start:
        log = ctx.state.history
        before = log.after(cursor) - 1
        if before >= 0 and log.records[before].id == cursor:
            shown.insert(0, log.records[before])
    return shown


def _record(ctx: Context, record: HistoryRecord, kinds: frozenset[ChangeKind], label_id: str | None) -> Json:
    changes = _matching(ctx, record, kinds, label_id)
    answer: Json = {
        "id": str(record.id),
        "messages": [short(ctx, slot) for slot in dict.fromkeys(change.slot for change in changes)],
    }
    for change in changes:
        if change.kind is ChangeKind.TOUCHED:
            continue
        entry: dict[str, Any] = {"message": short(ctx, change.slot)}
        if change.kind is not ChangeKind.MESSAGE_DELETED:
            label_ids = _inner_label_ids(ctx, change)
            if label_ids:
                entry["message"]["labelIds"] = label_ids
        if change.delta:
            entry["labelIds"] = list(change.delta)
        answer.setdefault(_KEYS[change.kind], []).append(entry)
    return answer


def _inner_label_ids(ctx: Context, change: Change) -> list[str]:
    mode = ctx.switches.inner_label_ids
    if mode == "absent":
        return []
    if mode == "current":
        table = ctx.state.table
        return ctx.state.sets.listed(table.label_sets[change.slot]) if table.alive[change.slot] else []
    return ctx.state.sets.listed(change.label_set)
