"""An account's privacy where it meets the warehouse: which content is in its scope, and what of it may land."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mail_ingest.accounts import Account
from mail_ingest.errors import ConfigError
from mail_ingest.gmail import Label
from mail_ingest.ingest.erasing.account_rows import Instructions
from mail_ingest.privacy import FORMS, Form, Policy, PrivateRows, holds_too_little
from mail_ingest.sources.stored import STORED_TABLES, StoredMessage, as_row, as_values
from mail_ingest.sources.tables import LABELS, LANDING_TABLES, MESSAGES
from mail_ingest.warehouse.queries import Scope, StoredLabel

if TYPE_CHECKING:
    from mail_ingest.ingest.engine import Engine

_CHAT, _DRAFT = "CHAT", "DRAFT"
_COLUMNS = {table.name: tuple(column.name for column in table.columns) for table in LANDING_TABLES}


def private_rows(policy: Policy) -> PrivateRows:
    """What applies a policy to rows of the landing tables."""
    return PrivateRows(policy, _COLUMNS)


def private_labels(policy: Policy) -> Callable[[str, Label], Label]:
    """Gives labels of an account the names that may be stored of them."""
    if policy.tier != "hashed":
        return lambda _, label: label
    rows = private_rows(policy)

    def private(account_id: str, label: Label) -> Label:
        row = (account_id, label.label_id, label.name, *[None] * (len(LABELS.columns) - 3))
        return replace(label, name=rows.row(LABELS.name, row)[2])

    return functools.cache(private)


def insufficient_forms(policy: Policy) -> tuple[Form, ...]:
    """The forms of stored messages that lack something which the policy gives."""
    return tuple(form for form in FORMS if holds_too_little(form, policy))


def privacy_instructions(policy: Policy) -> Instructions:
    """How stored mail is rewritten so that it says no more than a policy allows."""
    private = private_rows(policy)

    def rewrite(stored: StoredMessage) -> StoredMessage | None:
        rows = private.message(
            {table.name: [as_row(table, values) for values in stored.rows(table)] for table in STORED_TABLES}
        )
        if isinstance(rows, str):
            return None
        return StoredMessage.of(
            {table.name: [as_values(table, row) for row in rows[table.name]] for table in STORED_TABLES}
        )

    return Instructions(
        rewrite=rewrite,
        doomed=not policy.allows_bytes,
        left_out=lambda stored: private.left_out(as_row(MESSAGES, stored.message)) or "",
        policy=policy,
    )


class UnknownLabelError(ConfigError):
    """An account's settings name a label that its mailbox does not have."""

    def __init__(self, account_id: str, label: str, verb: str) -> None:
        option = "--exclude-label" if verb == "excludes" else "--include-label"
        super().__init__(
            f"{account_id} {verb} the label {label!r} by its settings, and the mailbox has none of that name or id; labels and "
            f"states are complete, content was not bought. `mail-ingest account set {account_id} {option} ...` sets other "
            "labels, and mail.labels lists those it has"
        )
        self.label = label


@dataclass(frozen=True, slots=True)
class Terms:
    """What holds for an account's content while its content lock is held: what may be stored, and what is wanted."""

    policy: Policy
    scope: Scope


def in_scope(engine: Engine, account: Account, scope: Scope, policy: Policy, *, knows_labels: bool = True) -> Scope:
    """A scope narrowed to what the account's settings let be bought: labels in and out, chats, drafts; and widened by what
    a person agreed to buy again.

    Raises UnknownLabelError for a label that the mailbox does not have, unless (`knows_labels` is false) it only counts: such a
    label is carried by no message.
    """

    def ids(names: Sequence[str], verb: str) -> list[str]:
        return [_resolved(account.account_id, name, labels, policy, verb if knows_labels else "") for name in names]

    labels = engine.queries.labels(account.account_id) if policy.include_labels or policy.exclude_labels else {}
    return replace(
        scope,
        include_labels=tuple(ids(policy.include_labels, "includes")),
        exclude_labels=(
            *ids(policy.exclude_labels, "excludes"),
            *(() if account.include_chats else (_CHAT,)),
            *(() if account.include_drafts else (_DRAFT,)),
        ),
        again=_bought_again(account, policy),
        takes_left_out=policy.sign_in_mail and account.buys_again,
    )


def _bought_again(account: Account, policy: Policy) -> tuple[Form, ...]:
    """The forms of stored messages that a person agreed to buy again: they lack something by the tier that held then, and do
    now."""
    if not account.buys_again:
        return ()
    agreed = insufficient_forms(replace(policy, tier=account.agreed_privacy or policy.tier))
    return tuple(form for form in insufficient_forms(policy) if form in agreed)


def _resolved(account_id: str, name: str, labels: Mapping[str, StoredLabel], policy: Policy, verb: str) -> str:
    """The id of a label that was given by its name or its id; of several of a name, the one that is not deleted."""
    # without its key nothing is found by a name that is stored as a hash
    private = private_labels(policy) if policy.hash_key or policy.tier != "hashed" else lambda _, label: label
    for stored in sorted(labels.values(), key=lambda label: label.deleted_at is not None):
        label = stored.label
        if name in (label.label_id, label.name) or private(account_id, replace(label, name=name)).name == label.name:
            return label.label_id
    if not verb:
        return name
    raise UnknownLabelError(account_id, name, verb)
