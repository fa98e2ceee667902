"""What can happen to a mailbox and its copy, as plain values: drawn, shrunk and printed as the Python that repeats them.

A `Round` is some days of a mailbox, perhaps a change of what may be stored of it, and then one sync. Numbers such as `a`
and `b` choose among what is there when the step is taken, so that every step fits every mailbox.
"""

from __future__ import annotations

from dataclasses import dataclass

from mail_ingest.privacy import Tier


@dataclass(frozen=True)
class Change:
    """A verb of the mailbox (see `verbs`); `a` chooses the message or draft, `b` the label."""

    verb: str
    a: int = 0
    b: int = 0


@dataclass(frozen=True)
class Switch:
    """The server answers differently from now on."""

    name: str
    value: object


@dataclass(frozen=True)
class Expire:
    """History goes: all of it with the cursor that was just returned, or what is older than `keep` records."""

    keep: int = 0


@dataclass(frozen=True)
class Fault:
    """The server fails `times` calls of a method (None: any), once `after` others have passed. Kinds: see `faults`."""

    kind: str
    method: str | None = None
    times: int = 1
    after: int = 0


@dataclass(frozen=True)
class During:
    """Something happens to the mailbox before or after the call number `after` of a method, while a sync is under way."""

    when: str
    method: str
    after: int
    steps: tuple[Change | Expire, ...]


@dataclass(frozen=True)
class Death:
    """The process is killed when it comes to a point (see `deaths`) for the `nth` time."""

    point: str
    nth: int = 1


@dataclass(frozen=True)
class Sync:
    """One sync: `auto`, `full`, `month` (a backfill of `month`), `limited` to two messages of content, or `states` alone.

    `is_fresh`: in a process of its own; with a `death` it always is.
    """

    kind: str = "auto"
    month: int = 0
    trouble: tuple[Fault | During, ...] = ()
    death: Death | None = None
    is_fresh: bool = False


@dataclass(frozen=True)
class SetPrivacy:
    """A person gives the account other settings, and agrees to what that costs: `account set --yes`. None leaves one as it is."""

    tier: Tier | None = None
    attachments: bool | None = None
    sign_in_mail: bool | None = None
    death: Death | None = None


@dataclass(frozen=True)
class SetDefault:
    """The deployment has another default tier from now on; nobody agrees to anything."""

    tier: Tier = "full"


@dataclass(frozen=True)
class EraseContact:
    """One of the people who write (`who` chooses) is erased, and kept out from now on."""

    who: int = 0
    death: Death | None = None


@dataclass(frozen=True)
class Round:
    """Changes, at times a rewriting of what is stored, then a sync."""

    steps: tuple[Change | Switch | Expire, ...] = ()
    sync: Sync = Sync()
    rewriting: SetPrivacy | SetDefault | EraseContact | None = None


@dataclass(frozen=True)
class Conditions:
    """What holds for a whole history: messages at the start, rows a state package may hold, requests at once."""

    mail: int = 0
    part_rows: int = 200_000
    in_flight: int = 1
