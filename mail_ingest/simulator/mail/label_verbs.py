"""Creating, renaming and deleting labels.

Ids are `Label_` and a number: small on old labels, up to 19 digits on newer ones; both occur here. Deleting a label
takes it from its messages; whether Gmail writes history for that is undocumented, hence a switch.
"""

from dataclasses import replace
from hashlib import blake2b

from mail_ingest.simulator.mail import bulk
from mail_ingest.simulator.mail.labels import RESERVED_NAMES, SYSTEM_LABEL_IDS, Label
from mail_ingest.simulator.mail.state import MailboxState
from mail_ingest.simulator.switches import Switches

_GENERATED_NAMES = (
    "Clients", "Clients/Acme", "Clients/Globex", "Receipts", "Travel", "Family", "Newsletters", "Projects",
    "Projects/Übersee", "Projects/2024, old", "To read", "Waiting", "Reference", "Taxes", "Bank", "Recruiting",
    "Reports", "Team", "Alerts", "日本語",
)  # fmt: skip
_SMALL_IDS = 10


class LabelNameTakenError(ValueError):
    """Another label has this name, whatever its case."""


class LabelNameReservedError(ValueError):
    """A name that no user label can have."""


def _long_number(text: str) -> int:
    """17 to 19 digits that depend on nothing but the text, so that the same label has the same id in every run."""
    return 10**17 + int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") % (9 * 10**18)


class LabelVerbs:
    """Changes to the set of labels of one mailbox."""

    def __init__(self, state: MailboxState, switches: Switches) -> None:
        self._state = state
        self._switches = switches
        self._made = 0

    def ensure_generated(self, count: int) -> list[str]:
        """Ids of `count` user labels for generated mail; makes those that are missing."""
        existing = [label.id for label in self._state.labels.values() if not label.is_system]
        names = {label.name for label in self._state.labels.values()}
        at = 0
        while len(existing) < count:
            name = _GENERATED_NAMES[at] if at < len(_GENERATED_NAMES) else f"Topic {at}"
            at += 1
            if name not in names:
                existing.append(self.create(name).id)
        return existing[:count]

    def create(self, name: str, **fields: str | None) -> Label:
        """A new user label; `fields` are those of `Label`.

        Raises `LabelNameTakenError` or `LabelNameReservedError` when the name cannot be used.
        """
        self._check_name(name, None)
        self._made += 1
        number = self._made if self._made <= _SMALL_IDS else _long_number(f"{self._made} {name}")
        label = replace(Label(f"Label_{number}", name), **fields)  # type: ignore[arg-type]
        self._state.labels[label.id] = label
        return label

    def id_of(self, name: str) -> str:
        """The user label of this name, made if there is none; names that Gmail reserves get an underscore."""
        for label in self._state.labels.values():
            if label.name == name:
                return label.id
        try:
            return self.create(name).id
        except (LabelNameReservedError, LabelNameTakenError):
            return self.id_of(f"{name}_")

    def rename(self, label_id: str, name: str) -> Label:
        return self.change(label_id, name=name)

    def change(self, label_id: str, **fields: str | None) -> Label:
        """Replaces fields of a user label; KeyError for a label that is not there or belongs to the system."""
        label = self._user_label(label_id)
        name = fields.get("name")
        if name is not None and name != label.name:
            self._check_name(name, label_id)
        changed = replace(label, **fields)  # type: ignore[arg-type]
        self._state.labels[label_id] = changed
        return changed

    def delete(self, label_id: str) -> None:
        del self._state.labels[self._user_label(label_id).id]
        members = list(self._state.members_of(label_id).order)
        if self._switches.label_delete_records:
            bulk.relabel(self._state, members, (), (label_id,))
            return
        for slot in members:
            self._state.remove_labels(slot, (label_id,))

    def _user_label(self, label_id: str) -> Label:
        label = self._state.labels[label_id]
        if label.id in SYSTEM_LABEL_IDS:
            raise KeyError(label_id)
        return label

    def _check_name(self, name: str, own_id: str | None) -> None:
        if not name.strip() or name.strip().lower() in RESERVED_NAMES:
            raise LabelNameReservedError(f"Invalid label name: {name!r}")
        for label in self._state.labels.values():
            if label.id != own_id and label.name.lower() == name.lower():
                raise LabelNameTakenError(f"Label name exists or conflicts: {name!r}")
