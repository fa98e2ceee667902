"""`make demo`: the main job end to end on a local Gmail server, without a Google account. `--ui` opens it in Dagster.

Everything happens in a folder of its own (`.mail_ingest_demo`), made anew each time.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path

import pandas as pd

from mail_ingest.accounts import token_env
from mail_ingest.ingest import Engine
from mail_ingest.ingest.audit import AuditOptions, audit_account
from mail_ingest.settings import load_settings
from mail_ingest.simulator import Mailbox, Simulator

ADDRESS = "ada@example.com"
_TOKEN_VARIABLE = "MAIL_INGEST_DEMO_TOKEN"  # noqa: S105  the name of a variable
#: The demo says itself what happened; Dagster's own lines are in the UI.
_QUIET = {"loggers": {"console": {"config": {"log_level": "ERROR"}}}}
_ANSWERS = {
    "How much mail is there, and how much of it is stored?": """
        select count(*) as messages, count(*) filter (where has_content) as with_content,
               count(*) filter (where is_unread) as unread, count(*) filter (where is_deleted) as deleted
        from mail.messages
    """,
    "Which labels hold the most mail?": """
        select name, type, message_count, deleted_at is not null as is_gone
        from mail.labels order by message_count desc, name limit 6
    """,
    "Which threads are longest?": """
        select thread_id, message_count, unread_count, last_message_at::date as last_day
        from mail.threads order by message_count desc, thread_id limit 5
    """,
    "What changed in the mailbox between the two syncs?": """
        select action, coalesce(labels.name, '(the message itself)') as label, count(*) as changes
        from gmail.label_events as events
        left join mail.labels as labels
            on events.account_id = labels.account_id and events.label_id = labels.label_id
        group by all order by action, label
    """,
}


def main() -> None:
    """Runs the demo; with `--ui` the Dagster UI until it is interrupted."""
    arguments = argparse.ArgumentParser(prog="python -m mail_ingest.demo", description=__doc__)
    arguments.add_argument("--ui", action="store_true", help="start the Dagster UI on a local Gmail server")
    arguments.add_argument("--port", type=int, default=3000, help="port of the UI")
    arguments.add_argument("--messages", type=int, default=1_500, help="messages in the mailbox")
    options = arguments.parse_args()
    home = Path(".mail_ingest_demo").absolute()
    shutil.rmtree(home, ignore_errors=True)
    (home / "dagster").mkdir(parents=True)
    with Simulator(quota="off") as gmail:
        mailbox = gmail.add_account(ADDRESS)
        today = datetime.now(UTC)
        mailbox.generate(
            options.messages, seed=42, start=f"{today - timedelta(days=300):%Y-%m-%d}", end=f"{today:%Y-%m-%d}"
        )
        _configure(home, gmail.url, mailbox.token)
        Engine(load_settings()).registry.add(ADDRESS, token_env(_TOKEN_VARIABLE))
        if options.ui:
            _run_ui(home, options.port)
        else:
            _run_demo(home, mailbox)


def _configure(home: Path, url: str, token: str) -> None:
    os.environ.update(
        {
            "MAIL_INGEST_HOME": str(home),
            "MAIL_INGEST_WAREHOUSE": f"duckdb:///{home / 'warehouse.duckdb'}",
            "MAIL_INGEST_CONTROL": f"sqlite:///{home / 'control.sqlite'}",
            "MAIL_INGEST_RAW": str(home / "raw"),
            "MAIL_INGEST_GMAIL_URL": url,
            # the server has no quota, so nothing waits; units are counted as Gmail would count them
            "MAIL_INGEST_QUOTA": "off",
            "DAGSTER_HOME": str(home / "dagster"),
            _TOKEN_VARIABLE: token,
        }
    )
    settings = Path(str(files("mail_ingest"))).parent / "dagster.yaml"
    if settings.exists():
        shutil.copy(settings, home / "dagster" / "dagster.yaml")
    else:
        (home / "dagster" / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")


def _run_demo(home: Path, mailbox: Mailbox) -> None:
    import dagster as dg

    from mail_ingest.definitions import build_definitions

    repository = build_definitions().get_repository_def()
    engine = Engine(load_settings())
    with dg.DagsterInstance.get() as instance:
        _say(f"A local Gmail server holds {len(mailbox.messages()):,} messages of {ADDRESS}.")
        _say("\n1. Dagster materializes the landing tables through dlt into DuckDB: every id and label, then content.")
        _run_job(repository, instance, "sync")
        _costs(engine, "first sync")

        _say("\n2. The mailbox changes: new mail, labels, trash, a deletion for good, a label renamed, one deleted.")
        _change(mailbox)
        _run_job(repository, instance, "sync")
        _costs(engine, "second sync")
        _run_job(repository, instance, "sync")
        _costs(engine, "third sync, nothing had changed")

        _say("\n3. Dagster builds the analyst tables and runs the checks.")
        _run_job(repository, instance, "analyst_tables")

    _say("\n4. Answers from the analyst tables.")
    with engine.warehouse.open() as connection:
        for question, query in _ANSWERS.items():
            _say(f"\n   {question}")
            result = connection.execute(query)
            rows = pd.DataFrame(result.fetchall(), columns=[column[0] for column in result.description or ()])
            _print_rows(rows.to_string(index=False))

    drift = audit_account(engine, engine.accounts()[0], AuditOptions())
    _say(f"\n5. Compared with the mailbox by sweeping it again: drift {drift.drift} of {drift.mailbox:,} messages.")
    if drift.drift:
        sys.exit(1)
    _say(f"""
The warehouse is {home / "warehouse.duckdb"}: open it with any DuckDB client.

The Dagster UI on a local Gmail server:
    make dev                                   http://127.0.0.1:3000

A real mailbox (README.md, "A real account", says how to get the file):
    .venv/bin/mail-ingest account add YOU@gmail.com --authorized-user credentials.json
    .venv/bin/mail-ingest sync --max-messages 500
""")


def _run_job(repository: object, instance: object, name: str) -> None:
    began = time.monotonic()
    result = repository.get_job(name).execute_in_process(instance=instance, run_config=_QUIET)  # type: ignore[attr-defined]
    materialized = [event for event in result.all_events if event.event_type_value == "ASSET_MATERIALIZATION"]
    checks = [
        event.event_specific_data for event in result.all_events if event.event_type_value == "ASSET_CHECK_EVALUATION"
    ]
    text = f"   Dagster job {name}: {len(materialized)} materializations"
    if checks:
        text += f", {sum(check.passed for check in checks)} of {len(checks)} checks passed"
    _say(f"{text}, {time.monotonic() - began:.1f} s")


def _costs(engine: Engine, name: str) -> None:
    with engine.warehouse.open() as connection:
        row = connection.execute(
            "select kind, messages_added, messages_deleted, label_changes, contents_stored, units, calls "
            "from gmail.sync_runs order by started_at desc limit 1"
        ).fetchone()
        runs = connection.execute("select count(*) from gmail.sync_runs").fetchone()
    if row is None or runs is None:
        return
    if name.startswith("third") and runs[0] == 2:
        _say("   Third sync: nothing had changed, 2 requests and 2 quota units told so, nothing was loaded.")
        return
    _say(
        f"   {name.capitalize()} ({row[0]}): {row[1]:,} new messages, {row[2]} deleted, {row[3]} label changes, "
        f"{row[4]:,} contents stored; {row[5]:,} quota units in {row[6]:,} requests."
    )


def _change(mailbox: Mailbox) -> None:
    ids = list(mailbox.messages())
    for position in range(5):
        mailbox.add(
            subject=f"A new message {position}",
            sender="Grace <grace@example.org>",
            to=ADDRESS,
            body="Fresh from the demo.\r\n",
            labels=("INBOX", "UNREAD"),
        )
    label = mailbox.create_label("Demo/Followed up")
    for message_id in ids[:4]:
        mailbox.relabel(message_id, add=(label, "STARRED"))
    mailbox.relabel(ids[5], remove=("UNREAD", "INBOX"))
    mailbox.trash(ids[6])
    mailbox.delete(ids[7])
    user_labels = [item.id for item in mailbox.labels().values() if not item.is_system and item.id != label]
    mailbox.rename_label(user_labels[0], "Demo/Renamed")
    mailbox.delete_label(user_labels[1])


def _run_ui(home: Path, port: int) -> None:
    workspace = home / "workspace.yaml"
    workspace.write_text(
        "load_from:\n  - python_module:\n      module_name: mail_ingest.definitions\n      location_name: mail_ingest\n"
    )
    dagster = str(Path(sys.executable).with_name("dagster"))
    command = [dagster, "dev", "--workspace", str(workspace), "--host", "127.0.0.1", "--port", str(port)]
    # interrupted or terminated, this process ends Dagster once and in order; a shell that starts it in the background
    # makes it ignore interrupts, and Dagster would inherit that
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    _say(f"Dagster UI: http://127.0.0.1:{port} (interrupt to stop). Its data is in {home}.")
    process = subprocess.Popen(command, cwd=home, start_new_session=True)  # noqa: S603  our own arguments
    with suppress(KeyboardInterrupt):
        process.wait()
    process.send_signal(signal.SIGINT)
    process.wait(timeout=60)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _print_rows(text: str) -> None:
    for line in text.splitlines():
        _say(f"     {line}")


if __name__ == "__main__":
    main()
