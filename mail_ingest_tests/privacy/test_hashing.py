"""Keyed hashes: joinable, not reversible, known again by who holds the key."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mail_ingest.privacy import Hasher, derive_key, new_secret

KEY = derive_key(b"s" * 32)


def test_an_address_has_one_hash_in_any_case_and_another_under_another_key() -> None:
    hasher = Hasher(KEY)

    assert hasher.address("Alice@Example.com ") == hasher.address("alice@example.com")
    assert hasher.address("alice@example.com") != hasher.address("alice@example.org")
    assert hasher.address("alice@example.com") != Hasher(derive_key(new_secret())).address("alice@example.com")


def test_addresses_of_one_domain_share_its_hash_and_nothing_else() -> None:
    hasher = Hasher(KEY)
    one, two = hasher.address("alice@example.com"), hasher.address("bob@example.com")

    assert one.split("@")[1] == two.split("@")[1] == hasher.domain("Example.com")
    assert one.split("@")[0] != two.split("@")[0]
    assert not any(word in one for word in ("alice", "example", ".com"))


def test_the_same_name_at_another_domain_shares_nothing() -> None:
    hasher = Hasher(KEY)

    assert not set(hasher.address("alice@a.example").split("@")) & set(hasher.address("alice@b.example").split("@"))


def test_message_ids_keep_their_brackets_and_stay_equal() -> None:
    hasher = Hasher(KEY)

    assert hasher.identifier("<a.b@host.example>") == hasher.identifier("<a.b@host.example>")
    assert hasher.identifier("<a.b@host.example>").startswith("<")
    assert hasher.identifier("<a.b@host.example>") != hasher.identifier("<A.b@host.example>")


@settings(max_examples=40)
@given(st.text(max_size=60))
def test_hashing_twice_changes_nothing(text: str) -> None:
    hasher = Hasher(KEY)

    assert hasher.address(hasher.address(text)) == hasher.address(text)
    assert hasher.identifier(hasher.identifier(text)) == hasher.identifier(text)
    assert hasher.fingerprint(hasher.fingerprint(text)) == hasher.fingerprint(text)
    assert hasher.domain(hasher.domain(text)) == hasher.domain(text)


def test_a_made_up_hash_is_hashed_like_any_address() -> None:
    hasher = Hasher(KEY)
    made_up = f"{'a' * 24}@{'b' * 24}.hashed"

    assert hasher.address(made_up) != made_up


def test_neither_key_nor_address_is_shown() -> None:
    hasher = Hasher(KEY)
    hasher.address("alice@example.com")

    assert repr(hasher) == "Hasher(...)"


def test_a_key_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Hasher(b"short")
