"""Where an account stands in its history; dlt keeps it in the state of the account's state pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Cursor:
    """Our position in an account's history, and what the observation that set it saw."""

    history_id: int
    observed_at: datetime
    labels_digest: str
    full_sync_at: datetime
    #: Where the mailbox once began its history anew: up to this id, history is not comparable with stored states.
    incomparable_up_to: int = 0

    @classmethod
    def from_state(cls, stored: Mapping[str, Any]) -> Cursor:
        return cls(
            history_id=int(stored["history_id"]),
            observed_at=datetime.fromisoformat(stored["observed_at"]),
            labels_digest=stored["labels_digest"],
            full_sync_at=datetime.fromisoformat(stored["full_sync_at"]),
            incomparable_up_to=int(stored.get("incomparable_up_to", 0)),
        )

    def to_state(self) -> dict[str, str]:
        return {
            "history_id": str(self.history_id),
            "observed_at": self.observed_at.isoformat(),
            "labels_digest": self.labels_digest,
            "full_sync_at": self.full_sync_at.isoformat(),
            "incomparable_up_to": str(self.incomparable_up_to),
        }
