"""What an account's states mean, what leads into and out of them, and what a person should do about each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mail_ingest.accounts.account import Account, AccountState


@dataclass(frozen=True, slots=True)
class StateDescription:
    """One state, in words for people. `to_do` may name the account as {account}."""

    meaning: str
    led_in_by: str
    led_out_by: str
    to_do: str


STATES: Mapping[AccountState, StateDescription] = {
    "active": StateDescription(
        "synced when due",
        "`account add`, connecting it again, `account resume`, a sync that goes well after the account was named",
        "any of the causes below",
        "nothing; a reason that stands beside it tells of the last sync",
    ),
    "paused": StateDescription(
        "left out of syncs, as a person asked",
        "`account pause`",
        "`account resume`, connecting it again",
        "mail-ingest account resume {account}",
    ),
    "needs_reauth": StateDescription(
        "its credentials are refused",
        "a sync that gets no token (`invalid_grant` and the like), or whose new token Gmail refuses",
        "connecting it again; `account resume` where the cause was not the credentials",
        "connect {account} again; it goes on from where it was",
    ),
    "parked": StateDescription(
        "there is no Gmail behind it, or a policy of its domain forbids reading it",
        "a sync that Gmail refuses for that reason, or whose credentials open another mailbox",
        "`account resume`, connecting it again, a sync of it by name that goes well",
        "mend what the reason says, then mail-ingest account resume {account}",
    ),
    "cooling_down": StateDescription(
        "left alone for a while, because its syncs keep failing",
        "the fifth failed sync in a row",
        "a sync that goes well; one is tried when the wait is over; `account resume`",
        "mend what the reason says, then mail-ingest sync {account}; or wait",
    ),
    "removed": StateDescription(
        "forgotten but for its name: no credentials, no syncs; its data stay in warehouse and archive",
        "`account remove --keep-data`",
        "`account add`, which goes on from the old cursor; `account remove --erase`, after which nothing is left",
        "nothing; to be rid of its data, mail-ingest account remove {account} --erase",
    ),
}
"""By state, in the order in which people are shown them."""


def what_to_do(account: Account) -> str:
    """What a person should do about an account; empty where all is well."""
    if account.state == "active":
        return ""
    return STATES[account.state].to_do.format(account=account.account_id)
