"""Forms of stored messages: what a change of policy rewrites, and what it would have to buy again."""

from __future__ import annotations

import itertools

import pytest

from mail_ingest.privacy import (
    FORMS,
    TIERS,
    Policy,
    Tier,
    allowed_forms,
    form_under,
    holds_too_little,
    holds_too_much,
    sufficient_forms,
)

POLICIES = [Policy(tier=tier, attachments=attachments) for tier in TIERS for attachments in (True, False)]


@pytest.mark.parametrize("policy", POLICIES, ids=str)
def test_once_applied_a_policy_has_nothing_more_to_take(policy: Policy) -> None:
    for form, has_attachments in itertools.product(FORMS, (True, False)):
        applied = form_under(form, policy, has_attachments=has_attachments)

        assert applied in FORMS
        assert not holds_too_much(applied, policy, has_attachments=has_attachments)


@pytest.mark.parametrize("policy", POLICIES, ids=str)
def test_what_is_bought_under_a_policy_is_enough_for_it(policy: Policy) -> None:
    for has_attachments in (True, False):
        assert not holds_too_little(form_under("full", policy, has_attachments=has_attachments), policy)


@pytest.mark.parametrize(
    ("stored", "tier", "rewritten", "bought"),
    [
        ("full", "redacted", True, False),
        ("full", "headers", True, False),
        ("full", "hashed", True, False),
        ("redacted", "full", False, True),
        ("redacted", "headers", True, False),
        ("redacted", "hashed", True, False),
        ("headers", "full", False, True),
        ("headers", "redacted", True, True),
        ("headers", "hashed", True, True),
        ("hashed", "full", False, True),
        ("hashed", "redacted", False, True),
        ("hashed", "headers", True, True),
        ("headers+hashed", "hashed", False, True),
        ("redacted+headers", "headers", False, False),
    ],
)
def test_a_change_of_tier_takes_away_and_lacks_what_it_must(
    stored: str, tier: Tier, rewritten: bool, bought: bool
) -> None:
    policy = Policy(tier=tier)

    assert holds_too_much(stored, policy, has_attachments=False) is rewritten
    assert holds_too_little(stored, policy) is bought
    assert (stored not in sufficient_forms(policy)) is bought
    assert (stored not in allowed_forms(policy, has_attachments=False)) is rewritten


def test_attachments_that_were_left_out_are_bought_again_where_there_were_some() -> None:
    off, on = Policy(attachments=False), Policy()

    assert form_under("full", off, has_attachments=True) == "full without attachments"
    assert form_under("full", off, has_attachments=False) == "full"
    assert holds_too_little("full without attachments", on)
    assert not holds_too_little("full", on)
    assert not holds_too_little("headers", Policy(tier="headers"))


@pytest.mark.parametrize("tier", TIERS)
def test_raw_bytes_are_kept_in_the_tier_full_with_attachments_alone(tier: Tier) -> None:
    assert Policy(tier=tier).keeps_bytes is (tier == "full")
    assert not Policy(tier=tier, attachments=False).keeps_bytes
    assert not Policy(tier=tier, raw_archive=False).keeps_bytes
