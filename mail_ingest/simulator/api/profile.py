"""`users.getProfile`."""

from mail_ingest.simulator.api.context import Context, Json


def get_profile(ctx: Context) -> Json:
    table = ctx.state.table
    return {
        "emailAddress": ctx.box.shown_address,
        "messagesTotal": table.live_messages,
        "threadsTotal": table.live_threads,
        "historyId": str(ctx.state.history.current),
    }
