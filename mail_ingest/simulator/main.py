"""The simulator as a program of its own."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mail_ingest.simulator.mail.mailbox import Mailbox
from mail_ingest.simulator.simulator import Simulator
from mail_ingest.simulator.wire.server import Server


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def run(
    *,
    port: int = 8025,
    host: str = "127.0.0.1",
    accounts: Sequence[str] = ("ada@example.com",),
    mailboxes: int = 0,
    large: int = 0,
    large_messages: int = 50_000,
    messages: int = 1_000,
    seed: int = 1,
    labels_per_message: float = 3,
    user_labels: int = 20,
    messages_per_thread: float = 2,
    mean_size_bytes: int = 20_000,
    start: str = "2021-01-01",
    end: str = "2026-01-01",
    load: Sequence[str | Path] = (),
    quota: str = "2026",
    concurrency_limit: int = 48,
    latency_s: float = 0.0,
    history_retention_s: float | None = None,
    switches: Mapping[str, Any] | None = None,
    as_json: bool = False,
    out: Callable[[str], None] = _print,
) -> None:
    """Serves until it is interrupted (Ctrl-C, SIGTERM).

    Every account gets `messages` generated messages (the first with `seed`, the next with `seed + 1`, ...) and the
    mail of every `load` path; say `messages=0` for that mail alone. `mailboxes` adds accounts user0001@example.com and
    on, of which `large`, evenly among them, get `large_messages` instead. When the server is up, its address, accounts
    and tokens are written with `out`, as text or as one line of JSON.
    Port 0 takes a free port.
    """
    gmail = Simulator(
        quota=quota, concurrency_limit=concurrency_limit, latency_s=latency_s, history_retention_s=history_retention_s
    )
    for name, value in (switches or {}).items():
        if not hasattr(gmail.world.switches, name):
            raise ValueError(f"unknown switch {name!r}")
        setattr(gmail, name, value)
    addresses = [*accounts, *(f"user{number:04d}@example.com" for number in range(1, mailboxes + 1))]
    boxes = [gmail.add_account(address) for address in addresses]
    large_ones = {len(accounts) + at * mailboxes // large for at in range(large)}
    for number, box in enumerate(boxes):
        for path in load:
            box.load(path)
        count = large_messages if number in large_ones else messages
        if count:
            box.generate(
                count,
                seed=seed + number,
                labels_per_message=labels_per_message,
                user_labels=user_labels,
                messages_per_thread=messages_per_thread,
                mean_size_bytes=mean_size_bytes,
                start=start,
                end=end,
            )
    server = Server(gmail.world, port, host)
    _announce(server.url, boxes, as_json=as_json, out=out)
    server.serve()


def _announce(url: str, boxes: Sequence[Mailbox], *, as_json: bool, out: Callable[[str], None]) -> None:
    counted = [{"address": box.address, "token": box.token, "messages": box.state.table.live_messages} for box in boxes]
    if as_json:
        out(json.dumps({"url": url, "token_uri": f"{url}/token", "accounts": counted}))
        return
    out(f"Gmail simulator at {url}")
    for account in counted:
        out(f"  {account['address']}  {account['messages']} messages  token {account['token']}")
    out(f"Control endpoints: {url}/simulator lists them. Stop with Ctrl-C.")
