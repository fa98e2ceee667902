"""Four mailboxes in two groups and none, with rows in every analyst relation."""

from __future__ import annotations

from mail_ingest_tests.sql.databases import Database, at

GROUPS = {"ada@example.com": "sales", "bo@example.com": "sales", "cy@example.com": "board", "di@example.com": None}
ACCOUNTS = set(GROUPS)


def secret_of(account: str) -> str:
    """What stands in subjects and file names of a mailbox, and nowhere else."""
    return f"secret of {account.partition('@')[0]}"


def load(database: Database, thread: str) -> None:
    """A thread in each mailbox: a message received, read, with an attachment, and its reply."""
    accounts, states, messages, recipients, attachments, events, runs, failures, labels = ([] for _ in range(9))
    for account, group in GROUPS.items():
        of: dict[str, object] = {"account_id": account}
        accounts.append({**of, "messages_total": 2, "status": "active", "account_group": group})
        labels.append({**of, "label_id": "INBOX", "name": "INBOX", "type": "system"})
        runs.append(
            {
                **of,
                "run_id": f"r{thread}",
                "kind": "full",
                "outcome": "success",
                "started_at": at("2026-03-02 08:00"),
                "finished_at": at("2026-03-02 08:01"),
            }
        )
        failures.append({**of, "message_id": f"lost{thread}", "attempts": 1, "reason": "x"})
        for name, sender, labelled in (("first", "bo@partner.example", ("INBOX",)), ("reply", account, ("SENT",))):
            message = f"{name}{thread}"
            states.append(database.state(message, labelled, **of, thread_id=f"t{thread}"))
            messages.append(
                database.message(
                    message,
                    "2026-03-02 07:00" if name == "first" else "2026-03-02 09:00",
                    **of,
                    thread_id=f"t{thread}",
                    subject=secret_of(account),
                    from_address=sender,
                )
            )
            recipients.append(database.recipient(message, "from", sender, **of))
            attachments.append(
                {**of, "message_id": message, "part_id": "1", "file_name": secret_of(account), "size_bytes": 1}
            )
        events.append(database.event(f"first{thread}", "UNREAD", "added", 2, None, "2026-03-02 08:00", **of))
        events.append(
            database.event(f"first{thread}", "UNREAD", "removed", 3, "2026-03-02 08:00", "2026-03-02 09:00", **of)
        )
    database.load(
        accounts=accounts,
        labels=labels,
        message_states=states,
        messages=messages,
        message_recipients=recipients,
        attachments=attachments,
        label_events=events,
        sync_runs=runs,
        fetch_failures=failures,
    )
