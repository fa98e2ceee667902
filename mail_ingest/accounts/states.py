"""What an account's states mean, what leads into and out of them, and what a person should do about each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mail_ingest.accounts.account import Account, AccountState

ERASED = "its data were erased; the name stays, so that discoveries leave it out"
"""Why an account that a discovery had registered is still listed as removed."""
_RENEW = "renew its credentials as the reason says, then mail-ingest account resume {account}"


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
        "`account add`, `account connect`, `account discover`, `account resume`, a sync by name that goes well",
        "any of the causes below",
        "nothing; a reason that stands beside it tells of the last sync",
    ),
    "paused": StateDescription(
        "left out of syncs, as a person asked, or because a discovery misses its person in the directory",
        "`account pause`, `account discover`",
        "`account resume`, `account connect`; a discovery that finds its person again, where a discovery paused it",
        "mail-ingest account resume {account}",
    ),
    "needs_reauth": StateDescription(
        "its credentials are refused",
        "a sync that gets no token (`invalid_grant` and the like), or whose new token Gmail refuses",
        "`account connect`; `account resume` where the cause was not the consent, or was mended where credentials are kept",
        "mail-ingest account connect {account}, with --client; it goes on from where it was",
    ),
    "parked": StateDescription(
        "there is no Gmail behind it, or a policy of its domain forbids reading it",
        "a sync that Gmail refuses for that reason, or whose credentials open another mailbox",
        "`account resume`, `account connect`, a sync of it by name that goes well",
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
        "`account add` or `account connect`, which go on from the old cursor; `account remove --erase`, after which nothing is "
        "left, but for the name of one that a discovery registered",
        "nothing; to be rid of its data, mail-ingest account remove {account} --erase",
    ),
}
"""By state, in the order in which people are shown them."""


def what_to_do(account: Account) -> str:
    """What a person should do about an account; empty where all is well."""
    if account.state == "active" or (account.state, account.state_reason) == ("removed", ERASED):
        return ""
    if account.state == "needs_reauth" and account.credential_kind != "authorized_user":
        return _RENEW.format(account=account.account_id)
    return STATES[account.state].to_do.format(account=account.account_id)
