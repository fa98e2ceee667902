"""`users.watch` and `users.stop`."""

import re

from mail_ingest.simulator.api.context import Context, Json
from mail_ingest.simulator.api.labels import check_label
from mail_ingest.simulator.push import WatchTakenError
from mail_ingest.simulator.wire import errors

_TOPIC = re.compile(r"projects/[^/]+/topics/[^/]+")


def watch(ctx: Context) -> Json:
    topic = ctx.text("topicName")
    if not topic or not _TOPIC.fullmatch(topic):
        raise errors.invalid("Invalid topicName does not match projects/*/topics/*")
    label_ids = ctx.texts("labelIds")
    for label_id in label_ids:
        check_label(ctx, label_id)
    behaviour = (ctx.text("labelFilterBehavior") or ctx.text("labelFilterAction") or "include").lower()
    if behaviour not in ("include", "exclude"):
        raise errors.bad_value("label_filter_behavior", "type.googleapis.com/caribou.api.proto.LabelFilter", behaviour)
    history_id = ctx.state.history.current
    try:
        expires_at_s = ctx.box.push.watch(topic, label_ids, excludes=behaviour == "exclude", history_id=history_id)
    except WatchTakenError:
        raise errors.ApiError(
            400,
            "invalidArgument",
            "Only one user push notification client allowed per developer (call /stop then try again)",
        ) from None
    return {"historyId": str(history_id), "expiration": str(int(expires_at_s * 1000))}


def stop(ctx: Context) -> None:
    ctx.box.push.stop()
