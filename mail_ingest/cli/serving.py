"""`mail-ingest simulator`: the local Gmail server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mail_ingest.errors import ConfigError


def simulator(
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.", min=0, max=65_535)] = 8025,
    account: Annotated[list[str] | None, typer.Option(help="Address of a mailbox; may be repeated.")] = None,
    mailboxes: Annotated[int, typer.Option(help="So many more mailboxes, user0001@example.com and on.", min=0)] = 0,
    messages: Annotated[int, typer.Option(help="Generated messages in each mailbox.", min=0)] = 1_000,
    seed: Annotated[int, typer.Option(help="Seed of the generated mail.")] = 1,
    labels_per_message: Annotated[float, typer.Option(help="Labels on a message, on average.", min=0)] = 3.0,
    user_labels: Annotated[int, typer.Option(help="Labels that the mailbox's owner made.", min=0)] = 20,
    mean_size_bytes: Annotated[int, typer.Option(help="Mean size of a generated message.", min=500)] = 20_000,
    start: Annotated[str, typer.Option(help="Date of the oldest generated message.")] = "2021-01-01",
    end: Annotated[str, typer.Option(help="Date of the newest generated message.")] = "2026-01-01",
    load: Annotated[
        list[Path] | None, typer.Option(help="Folder, tar or mbox of mail, or a Takeout mbox, to serve as well.")
    ] = None,
    quota: Annotated[str, typer.Option(help="2026, previous or off.")] = "2026",
    concurrency_limit: Annotated[int, typer.Option(help="Requests in flight before 429.", min=1)] = 48,
    latency: Annotated[float, typer.Option(help="Seconds that every answer takes.", min=0)] = 0.0,
    as_json: Annotated[bool, typer.Option("--json", help="Announce address and tokens as one line of JSON.")] = False,
) -> None:
    """Runs a local Gmail server until it is interrupted. docs/simulator.md says what it can do."""
    from mail_ingest.simulator.main import run

    try:
        run(
            port=port,
            accounts=account or ("ada@example.com",),
            mailboxes=mailboxes,
            messages=messages,
            seed=seed,
            labels_per_message=labels_per_message,
            user_labels=user_labels,
            mean_size_bytes=mean_size_bytes,
            start=start,
            end=end,
            load=load or (),
            quota=quota,
            concurrency_limit=concurrency_limit,
            latency_s=latency,
            as_json=as_json,
        )
    except (ValueError, OSError) as error:
        raise ConfigError(f"the local Gmail server could not start: {error}") from None
