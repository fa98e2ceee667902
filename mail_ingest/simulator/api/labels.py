"""`users.labels`. Fields and order of `labels.list` follow recorded answers; counts come from `labels.get` alone."""

from collections.abc import Iterable

from mail_ingest.simulator.api.context import Context, Json
from mail_ingest.simulator.mail.colors import COLORS
from mail_ingest.simulator.mail.label_verbs import LabelNameReservedError, LabelNameTakenError
from mail_ingest.simulator.mail.labels import NOT_SET_BY_HAND, Label
from mail_ingest.simulator.wire import errors

MAX_LABELS = 10_000
_VISIBILITIES = {
    "messageListVisibility": ("message_list_visibility", ("show", "hide")),
    "labelListVisibility": ("label_list_visibility", ("labelShow", "labelShowIfUnread", "labelHide")),
}


def list_labels(ctx: Context) -> Json:
    hidden = ctx.switches.extra_labels
    return {"labels": [label_resource(label) for label in ctx.state.labels.values() if label.id not in hidden]}


def get_label(ctx: Context) -> Json:
    label = _known(ctx, ctx.path[0])
    members = ctx.state.members_of(label.id)
    threads, unread_threads = members.thread_counts(ctx.state.table, ctx.state.is_unread)
    return {
        **label_resource(label),
        "messagesTotal": members.order.count,
        "messagesUnread": members.unread,
        "threadsTotal": threads,
        "threadsUnread": unread_threads,
    }


def create_label(ctx: Context) -> Json:
    name = ctx.text("name")
    if not name:
        raise errors.invalid("Invalid label name")
    if sum(not label.is_system for label in ctx.state.labels.values()) >= MAX_LABELS:
        raise errors.invalid("Max label count exceeded")  # text unknown
    fields = _fields(ctx)
    fields.pop("name")
    with _NameRefusals():
        return label_resource(ctx.box.label_verbs.create(name, **fields))


def update_label(ctx: Context) -> Json:
    """PUT: the name is required, everything else goes back to its default."""
    if not ctx.text("name"):
        raise errors.invalid("Invalid label name")
    defaults: dict[str, str | None] = {
        "message_list_visibility": "show",
        "label_list_visibility": "labelShow",
        "background_color": None,
        "text_color": None,
    }
    return _change(ctx, {**defaults, **_fields(ctx)})


def patch_label(ctx: Context) -> Json:
    return _change(ctx, _fields(ctx))


def delete_label(ctx: Context) -> None:
    label = _known(ctx, ctx.path[0])
    if label.is_system:
        raise errors.invalid("Invalid delete request")
    ctx.box.label_verbs.delete(label.id)


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


def check_label(ctx: Context, label_id: str) -> None:
    """Raises 400 for a label id that neither a label nor a message has. Both texts were reported."""
    if (
        label_id in ctx.state.labels
        or label_id in ctx.switches.extra_labels
        or ctx.state.members_of(label_id).order.count > 0
    ):
        return
    raise errors.invalid("labelId not found" if label_id.startswith("Label_") else f"Invalid label: {label_id}")


def check_settable(ctx: Context, label_ids: Iterable[str]) -> None:
    """Raises 400 for labels that nobody can give or take by hand."""
    for label_id in label_ids:
        check_label(ctx, label_id)
        if label_id in NOT_SET_BY_HAND:
            raise errors.invalid(f"Invalid label: {label_id}")


def _known(ctx: Context, label_id: str) -> Label:
    label = ctx.state.labels.get(label_id)
    if label is None or label_id in ctx.switches.extra_labels:
        raise errors.not_found()
    return label


def _change(ctx: Context, fields: dict[str, str | None]) -> Json:
    label = _known(ctx, ctx.path[0])
    if label.is_system:
        raise errors.invalid("Invalid update request")
    with _NameRefusals():
        return label_resource(ctx.box.label_verbs.change(label.id, **fields))


def _fields(ctx: Context) -> dict[str, str | None]:
    """Fields of a label from a request body, checked."""
    fields: dict[str, str | None] = {}
    if "name" in ctx.body:
        fields["name"] = ctx.text("name")
    for key, (field, choices) in _VISIBILITIES.items():
        value = ctx.text(key)
        if value is None:
            continue
        if value not in choices:
            raise errors.bad_value(f"label.{field}", "type.googleapis.com/caribou.api.proto.Visibility", value)
        fields[field] = value
    color = ctx.body.get("color")
    if isinstance(color, dict):
        for key, field in (("backgroundColor", "background_color"), ("textColor", "text_color")):
            value = str(color.get(key))
            if value not in COLORS:
                raise errors.invalid(f"Label color {value} is not on the allowed color palette")
            fields[field] = value
    return fields


class _NameRefusals:
    """Turns refused names into the answers reported for them."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, LabelNameTakenError):
            raise errors.ApiError(409, "aborted", "Label name exists or conflicts") from None
        if isinstance(error, LabelNameReservedError):
            raise errors.invalid("Invalid label name") from None
