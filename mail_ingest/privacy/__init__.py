"""Privacy by configuration: what of a message may be stored, and in which form.

    policy      what an account's owner allows: the tier, attachments, sign-in mail, labels, raw archive
    forms       in which form a stored message is: which policies it satisfies, which would have to buy it again
    columns     what each tier means for every column of the landing tables
    rows        rows of one message -> the same rows in the form that a policy allows
    redaction   text without addresses, numbers and codes
    hashing     keyed hashes of addresses and identifiers
    sign_in     mail that carries sign-in codes or resets passwords

Pure: no network, no files, no environment, no database. Fetched mail and stored rows go through the same functions.
"""

from mail_ingest.privacy.forms import (
    FORMS,
    Form,
    allowed_forms,
    form_under,
    holds_too_little,
    holds_too_much,
    sufficient_forms,
)
from mail_ingest.privacy.hashing import Hasher, derive_key, new_secret
from mail_ingest.privacy.policy import TIERS, Policy, Tier, tier_of
from mail_ingest.privacy.redaction import redact, without_hashes
from mail_ingest.privacy.rows import PrivateRows
from mail_ingest.privacy.sign_in import REASONS as SIGN_IN_REASONS
from mail_ingest.privacy.sign_in import sign_in_reason

__all__ = [
    "FORMS",
    "SIGN_IN_REASONS",
    "TIERS",
    "Form",
    "Hasher",
    "Policy",
    "PrivateRows",
    "Tier",
    "allowed_forms",
    "derive_key",
    "form_under",
    "holds_too_little",
    "holds_too_much",
    "new_secret",
    "redact",
    "sign_in_reason",
    "sufficient_forms",
    "tier_of",
    "without_hashes",
]
