"""What an account's owner allows to be stored."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

Tier = Literal["full", "redacted", "headers", "hashed"]
TIERS: tuple[Tier, ...] = get_args(Tier)


@dataclass(frozen=True, slots=True)
class Policy:
    """One account's privacy, as it is in effect.

    `attachments` and `sign_in_mail` say whether they are stored. `raw_archive` is what was asked for; `keeps_bytes` is what
    holds. `include_labels` and `exclude_labels` (names or ids) say whose content is bought at all; they change nothing that
    is stored already. `hash_key` is needed by the tier `hashed` alone, and secret.
    """

    tier: Tier = "full"
    attachments: bool = True
    sign_in_mail: bool = True
    raw_archive: bool = True
    include_labels: tuple[str, ...] = ()
    exclude_labels: tuple[str, ...] = ()
    hash_key: bytes = field(default=b"", repr=False)

    @property
    def allows_bytes(self) -> bool:
        """Whether raw bytes may be archived at all. They hold all that a stricter tier leaves out, and every attachment."""
        return self.tier == "full" and self.attachments

    @property
    def keeps_bytes(self) -> bool:
        """Whether raw bytes of what is bought are archived."""
        return self.raw_archive and self.allows_bytes

    @property
    def keeps_bodies(self) -> bool:
        return self.tier != "headers"

    @property
    def keeps_html(self) -> bool:
        return self.tier == "full"

    @property
    def changes_rows(self) -> bool:
        """Whether rows of a fetched message differ from what the message says."""
        return self.tier != "full" or not self.attachments or not self.sign_in_mail


def tier_of(text: str) -> Tier:
    """The tier of that name. Raises ValueError that lists the tiers."""
    for tier in TIERS:
        if tier == text.strip().lower():
            return tier
    raise ValueError(f"{text!r} is no privacy tier; there are {', '.join(TIERS)}")
