"""What the control database keeps of erasures: hashes instead of addresses, marks until there is a receipt."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from mail_ingest.accounts import PrivacySettings, Registry, new_key, token_env
from mail_ingest.errors import BusyError, ConfigError
from mail_ingest.settings import load_settings

JANE = "jane@example.com"


@pytest.fixture(params=["sqlite", "postgres"])
def open_registry(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Registry]:
    control = {}
    if request.param == "postgres":
        control = {"MAIL_INGEST_CONTROL": str(request.getfixturevalue("control_database"))}

    def build(**variables: str) -> Registry:
        return Registry(load_settings({"MAIL_INGEST_HOME": str(tmp_path / "home"), **control, **variables}))

    return build


def test_who_is_kept_out_is_known_again_by_every_process_and_not_by_name(
    open_registry: Callable[..., Registry],
) -> None:
    open_registry().erasures.keep_out(" Jane@Example.com ")

    is_kept_out = open_registry().erasures.kept_out("ada@example.com")

    assert is_kept_out is not None
    assert (is_kept_out(JANE), is_kept_out("mary@example.com")) == (True, False)
    stored: list[bytes] = []
    open_registry().erasures.rows(stored.append)
    assert stored
    assert not any(b"jane" in row for row in stored)


def test_keeping_out_may_be_of_one_account_and_ends_where_it_began(open_registry: Callable[..., Registry]) -> None:
    erasures = open_registry().erasures
    erasures.keep_out(JANE, "ada@example.com")
    erasures.keep_out(JANE, "ada@example.com")

    assert erasures.kept_out("bob@example.com") is None
    assert not erasures.let_in(JANE)
    assert erasures.let_in(JANE, "ada@example.com")
    assert erasures.kept_out("ada@example.com") is None


def test_the_secret_outlives_changes_of_keys(open_registry: Callable[..., Registry]) -> None:
    old, new = new_key(), new_key()
    open_registry(MAIL_INGEST_KEY=old).erasures.keep_out(JANE)

    rotated = open_registry(MAIL_INGEST_KEY=f"{new},{old}")
    assert sum(rotated.keys_in_use().values()) == 1, "a key that the secret needs must not be taken out"
    rotated.rotate_keys()

    is_kept_out = open_registry(MAIL_INGEST_KEY=new).erasures.kept_out("ada@example.com")
    assert is_kept_out is not None
    assert is_kept_out(JANE)
    with pytest.raises(ConfigError, match="nothing is stored before the old key is back"):
        open_registry(MAIL_INGEST_KEY=old).erasures.kept_out("ada@example.com")


def test_a_key_file_keeps_what_the_secret_needs(open_registry: Callable[..., Registry]) -> None:
    registry = open_registry()
    registry.erasures.keep_out(JANE)

    registry.rotate_keys()

    assert open_registry().erasures.kept_out("ada@example.com") is not None


def test_a_rewriting_is_marked_until_its_receipt_is_kept(open_registry: Callable[..., Registry]) -> None:
    erasures = open_registry().erasures
    begun = erasures.begin("contact", ["ada@example.com"], "hash")
    assert erasures.begin("contact", ["ada@example.com", "bob@example.com"], "hash") == begun
    assert erasures.begin("contact", ["ada@example.com"], "other") != begun

    erasures.rows_done(begun, "ada@example.com")

    marks = [mark for mark in open_registry().erasures.unfinished() if mark.rewriting_id == begun]
    assert [(mark.account_id, mark.rows_done_at is not None) for mark in marks] == [
        ("ada@example.com", True),
        ("bob@example.com", False),
    ]
    erasures.finish(begun, "contact", {"receipt_id": "r1", "found": {}})
    assert [mark.contact_hash for mark in erasures.unfinished()] == ["other"]
    assert erasures.receipts() == [{"receipt_id": "r1", "found": {}}]


def test_a_mark_that_was_set_anew_outlives_the_rewriting_that_was_under_way(
    open_registry: Callable[..., Registry],
) -> None:
    registry = open_registry()
    registry.add("ada@example.com", token_env("T"))
    begun = registry.erasures.begin("privacy", ["ada@example.com"])
    registry.erasures.rows_done(begun, "ada@example.com")

    registry.change("ada@example.com", privacy=PrivacySettings(sign_in_mail=False), rewrites=True)
    registry.erasures.finish(begun, "privacy", {"receipt_id": "r1"})

    [mark] = registry.erasures.unfinished("ada@example.com")
    assert (mark.rewriting_id, mark.rows_done_at) == (begun, None)
    registry.erasures.rows_done(begun, "ada@example.com")
    registry.erasures.finish(begun, "privacy", {"receipt_id": "r2"})
    assert registry.erasures.unfinished() == []


def test_an_account_that_is_forgotten_takes_its_marks_along(open_registry: Callable[..., Registry]) -> None:
    registry = open_registry()
    registry.add("ada@example.com", token_env("T"))
    registry.erasures.keep_out(JANE, "ada@example.com")
    registry.erasures.begin("contact", ["ada@example.com", "bob@example.com"], "hash")
    own = registry.erasures.begin("account", ["ada@example.com"])
    registry.remove("ada@example.com")

    registry.forget("ada@example.com")

    left = [(mark.account_id, mark.kind) for mark in registry.erasures.unfinished()]
    assert sorted(left) == [("ada@example.com", "account"), ("bob@example.com", "contact")]
    assert registry.erasures.kept_out("ada@example.com") is None
    registry.erasures.finish(own, "account", {"receipt_id": "r1"})
    stored: list[bytes] = []
    registry.erasures.rows(stored.append)
    assert not any(b"ada@" in row for row in stored)


def test_deleted_rows_leave_no_bytes_in_the_file(tmp_path: Path) -> None:
    registry = Registry(load_settings({"MAIL_INGEST_HOME": str(tmp_path)}))
    for number in range(200):
        registry.add(f"somebody{number}@example.com", token_env("T"))
    for number in range(200):
        registry.remove(f"somebody{number}@example.com")
        registry.forget(f"somebody{number}@example.com")

    assert registry.erasures.write_anew() == []

    files = list(tmp_path.glob("control*"))
    assert files
    assert not any(b"somebody" in path.read_bytes() for path in files)
    with sqlite3.connect(files[0]) as connection:
        assert connection.execute("pragma integrity_check").fetchone() == ("ok",)


def test_an_account_that_a_discovery_would_find_again_keeps_its_name_and_no_name_of_a_label(
    open_registry: Callable[..., Registry],
) -> None:
    registry = open_registry()
    labels = PrivacySettings(tier="redacted", include_labels=["about Jane"], exclude_labels=["of the doctor"])
    registry.add(
        "ada@example.com", token_env("T"), account_group="sales", discovered_from="example.com", privacy=labels
    )
    registry.remove("ada@example.com")

    registry.forget("ada@example.com")

    left = registry.find("ada@example.com")
    assert (left.include_labels, left.exclude_labels, left.account_group, left.privacy) == ("", "", None, "redacted")
    stored: list[bytes] = []
    registry.erasures.rows(stored.append)
    assert [row for row in stored if b"Jane" in row or b"doctor" in row] == []


@pytest.mark.parametrize("holding", ["begin immediate", "begin; select * from accounts"])
def test_a_file_that_others_use_is_waited_for_and_told_of(tmp_path: Path, holding: str) -> None:
    registry = Registry(load_settings({"MAIL_INGEST_HOME": str(tmp_path)}))
    registry.add("somebody@example.com", token_env("T"))
    other = sqlite3.connect(tmp_path / "control.sqlite", isolation_level=None)
    if "immediate" not in holding:
        for statement in holding.split("; "):
            other.execute(statement).fetchall()
    registry.remove("somebody@example.com")
    registry.forget("somebody@example.com")
    if "immediate" in holding:
        other.execute(holding)

    with pytest.raises(BusyError, match=r"did not let go within 0.5 s; what was deleted from it still stands"):
        registry.erasures.write_anew(0.5)

    other.rollback() if other.in_transaction else None
    other.close()
    assert registry.erasures.write_anew(0.5) == []
    assert not any(b"somebody" in path.read_bytes() for path in tmp_path.glob("control*"))


def test_a_person_is_kept_out_and_marked_in_one_step(open_registry: Callable[..., Registry]) -> None:
    """Who is kept out and not marked would stay in what is stored, and nobody would know."""
    erasures = open_registry().erasures

    hashed, begun = erasures.begin_keeping_out([JANE, "hash@hash.hashed"], "", ["ada@example.com"])
    again = erasures.begin_keeping_out([JANE, "hash@hash.hashed"], "", ["ada@example.com", "bob@example.com"])

    assert again == (hashed, begun)
    assert hashed == erasures.hash_of(JANE)
    is_kept_out = erasures.kept_out("eve@example.com")
    assert is_kept_out is not None
    assert [is_kept_out(address) for address in (JANE, "hash@hash.hashed", "mary@example.com")] == [True, True, False]
    assert [mark.account_id for mark in erasures.unfinished()] == ["ada@example.com", "bob@example.com"]
