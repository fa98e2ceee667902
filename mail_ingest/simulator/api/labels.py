"""`users.labels`. Fields and order of `labels.list` follow recorded answers; counts come from `labels.get` alone."""

from mail_ingest.simulator.api.context import Context, Json
from mail_ingest.simulator.mail.labels import Label
from mail_ingest.simulator.wire import errors


def list_labels(ctx: Context) -> Json:
    hidden = ctx.switches.extra_labels
    return {"labels": [label_resource(label) for label in ctx.state.labels.values() if label.id not in hidden]}


def get_label(ctx: Context) -> Json:
    label = known_label(ctx, ctx.path[0])
    members = ctx.state.members_of(label.id)
    threads, unread_threads = members.thread_counts(ctx.state.table, ctx.state.is_unread)
    return {
        **label_resource(label),
        "messagesTotal": members.order.count,
        "messagesUnread": members.unread,
        "threadsTotal": threads,
        "threadsUnread": unread_threads,
    }


def known_label(ctx: Context, label_id: str) -> Label:
    label = ctx.state.labels.get(label_id)
    if label is None or label_id in ctx.switches.extra_labels:
        raise errors.not_found()
    return label


def label_resource(label: Label) -> Json:
    answer: Json = {"id": label.id, "name": label.name}
    if label.message_list_visibility:
        answer["messageListVisibility"] = label.message_list_visibility
    if label.label_list_visibility:
        answer["labelListVisibility"] = label.label_list_visibility
    answer["type"] = "system" if label.is_system else "user"
    if label.background_color and label.text_color:
        answer["color"] = {"textColor": label.text_color, "backgroundColor": label.background_color}
    return answer
