"""What an audit found, as figures: for people, for scripts and for Dagster."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class LabelCount:
    """One label: messages that carry it, and in how many of them warehouse and mailbox disagree about it."""

    label_id: str
    mailbox: int
    warehouse: int
    drift: int


@dataclass(slots=True)
class Audit:
    """One account's audit. Counts of messages, where nothing else is said.

    Drift in states: `missing` is in the mailbox and unknown to the warehouse; `extra` live in the warehouse and gone from
    the mailbox; `wrong_deletion` marked deleted and in the mailbox; `wrong_labels` known with another thread or other
    labels; `wrong_label_rows` are labels whose row differs from the mailbox's; `duplicates` rows that share a key.

    Drift in content: `wrong_content` has other columns or another hash than its bytes give (of those sampled);
    `lost_bytes` points into a pack that is missing or cannot be opened, or whose sampled bytes are damaged;
    `without_state` is stored and belongs to no known message; `too_much` says more than the account's privacy allows.

    No drift: `pending` changed in the mailbox after the last sync, as its history tells; `undecided` differs where that
    history is no longer had, so that nobody can tell. `left_out_messages` are those of which the account's privacy lets
    nothing be stored. `left_out` says what was not looked at.
    """

    account_id: str
    mailbox: int | None = None
    warehouse: int = 0
    missing: int = 0
    extra: int = 0
    wrong_labels: int = 0
    wrong_deletion: int = 0
    wrong_label_rows: int = 0
    duplicates: int = 0
    wrong_content: int = 0
    lost_bytes: int = 0
    without_state: int = 0
    too_much: int = 0
    pending: int = 0
    undecided: int = 0
    packs: int = 0
    packs_lost: int = 0
    archive_sampled: int = 0
    gmail_sampled: int = 0
    labels: list[LabelCount] = field(default_factory=list)
    cursor_history_id: int | None = None
    cursor_checked_at: datetime | None = None
    cursor_age_s: float | None = None
    cursor_at_risk: bool = False
    cursor_expired: bool = False
    backlog: int = 0
    out_of_scope: int = 0
    left_out_messages: int = 0
    unresolved_failures: int = 0
    dead_letters: int = 0
    units: int = 0
    left_out: list[str] = field(default_factory=list)

    @property
    def drift(self) -> int:
        return (
            self.missing
            + self.extra
            + self.wrong_labels
            + self.wrong_deletion
            + self.wrong_label_rows
            + self.duplicates
            + self.wrong_content
            + self.lost_bytes
            + self.without_state
            + self.too_much
        )

    def as_json(self) -> dict[str, object]:
        return {**asdict(self), "drift": self.drift}

    def lines(self) -> list[str]:
        """For people: the figure first, then what needs a look."""
        states = "not compared" if self.mailbox is None else f"{self.mailbox} messages"
        found = {
            "missing": self.missing,
            "extra": self.extra,
            "wrong labels": self.wrong_labels,
            "wrong deletion flag": self.wrong_deletion,
            "label rows": self.wrong_label_rows,
            "duplicates": self.duplicates,
            "content": self.wrong_content,
            "lost bytes": self.lost_bytes,
            "content without state": self.without_state,
            "more than privacy allows": self.too_much,
        }
        told = ", ".join(f"{what} {count}" for what, count in found.items())
        around = (
            f"changed since the last sync {self.pending}; backlog {self.backlog}, out of scope {self.out_of_scope}, "
            f"left out by privacy {self.left_out_messages}, failures {self.unresolved_failures}, dead letters {self.dead_letters}"
        )
        archive = (
            f"archive: {self.packs} packs, {self.packs_lost} of them lost, {self.archive_sampled} messages read; "
            f"{self.gmail_sampled} read at Gmail"
        )
        lines = [
            f"{self.account_id}: drift {self.drift} of {states} ({told}); {self.units} units",
            f"  {around}",
            f"  {archive}",
        ]
        lines += [
            f"  label {label.label_id}: {label.mailbox} in the mailbox, {label.warehouse} in the warehouse, "
            f"{label.drift} wrong"
            for label in self.labels
            if label.drift
        ]
        if self.cursor_expired:
            lines.append(
                f"  history has expired at the cursor: {self.undecided} messages differ, and nobody can tell whether they "
                "changed after the last sync; `mail-ingest sync` repairs them"
            )
        elif self.cursor_at_risk:
            lines.append("  the last sync is so long ago that Gmail may have dropped the history since: sync soon")
        lines += [f"  not reached: {what}" for what in self.left_out]
        return lines
