"""`mail-ingest key ...`: the keys that encrypt credentials."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated

import typer

from mail_ingest.accounts import Registry, new_key
from mail_ingest.cli.output import configure_logging, fail, print_json, print_table, say
from mail_ingest.settings import load_settings

app = typer.Typer(help="Changes the keys that encrypt credentials.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@app.command("new")
def new() -> None:
    """Prints a fresh key, such as MAIL_INGEST_KEY takes. It is stored nowhere."""
    say(new_key())


@app.command("status")
def status(as_json: AsJson = False) -> None:
    """Shows how many values each key has encrypted (credentials, access tokens, secrets of hashes); keys are named by an id that
    tells nothing of them."""
    in_use = Registry(load_settings()).keys_in_use()
    if as_json:
        print_json({"keys": [{"key_id": key_id, "credentials": count} for key_id, count in in_use.items()]})
    else:
        _show(in_use)


@app.command("rotate")
def rotate(as_json: AsJson = False) -> None:
    """Encrypts all credentials anew with the newest key, while syncs run.

    A key file gets a new key first, and loses the old ones once nothing needs them. With MAIL_INGEST_KEY, put a new key
    first (`mail-ingest key new` prints one) wherever mail-ingest runs, rotate, then take the old key out. It may be killed
    and started again. Exit code 1 where credentials or another secret could not be decrypted: they stay as they are.
    """
    settings = load_settings()
    configure_logging(settings.log)
    done = Registry(settings).rotate_keys()
    if as_json:
        print_json(asdict(done))
    else:
        say(f"encrypted the credentials of {done.resealed} accounts anew; the key is {done.key_id}")
        if done.retired:
            say(f"took out of the key file what nothing needs any more: {', '.join(done.retired)}")
        _show(done.in_use)
    for account_id in done.unopened:
        fail(
            f"the credentials of {account_id} could not be decrypted and stay as they are; put the key back, or connect it again"
        )
    for secret in done.unopened_secrets:
        fail(
            f"{secret} could not be decrypted and stays as it is; put the key back: there is no other way to get it again"
        )
    if done.unopened or done.unopened_secrets:
        raise typer.Exit(1)


def _show(in_use: Mapping[str, int]) -> None:
    print_table(["key", "encrypted values"], [[key_id, str(count)] for key_id, count in in_use.items()])
