"""Credentials at rest: what opens them and what does not."""

import base64
import os
import secrets
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mail_ingest.accounts import new_key
from mail_ingest.accounts.references import References
from mail_ingest.accounts.sealing import Sealer
from mail_ingest.errors import ConfigError

ADA, BOB = "ada@example.com", "bob@example.com"
NOWHERE = Path("/nonexistent/key")
ONE_KEY = new_key()


@given(st.binary(max_size=5_000), st.text(max_size=50))
def test_what_was_sealed_opens_again(secret: bytes, account_id: str) -> None:
    sealer = Sealer(ONE_KEY, NOWHERE)

    sealed = sealer.seal(account_id, secret)

    assert sealer.open(account_id, sealed) == secret
    assert sealed != sealer.seal(account_id, secret)


def test_sealed_value_shows_its_key_and_nothing_else() -> None:
    version, key_id, text = Sealer(ONE_KEY, NOWHERE).seal(ADA, b"refresh-token").split(".")

    assert version == "v1"
    assert len(key_id) == 8
    assert b"refresh" not in base64.b64decode(text)


@pytest.mark.parametrize(
    "key",
    [
        secrets.token_hex(32),
        base64.b64encode(os.urandom(32)).decode(),
        base64.urlsafe_b64encode(os.urandom(32)).decode(),
        "correct horse battery staple",
        f"  {new_key()} ,",
    ],
    ids=["hex", "base64", "urlsafe base64", "passphrase", "with blanks and a comma"],
)
def test_key_may_be_hex_base64_or_a_passphrase(key: str) -> None:
    assert Sealer(key, NOWHERE).open(ADA, Sealer(key, NOWHERE).seal(ADA, b"secret")) == b"secret"


def test_short_passphrase_is_refused_without_showing_it() -> None:
    with pytest.raises(ConfigError, match="too short") as caught:
        Sealer("hunter2", NOWHERE).seal(ADA, b"secret")

    assert "hunter2" not in str(caught.value)


def test_value_of_one_account_does_not_open_for_another() -> None:
    sealer = Sealer(ONE_KEY, NOWHERE)

    with pytest.raises(ConfigError, match=r"bob@example\.com are damaged"):
        sealer.open(BOB, sealer.seal(ADA, b"secret"))


@pytest.mark.parametrize("damage", ["", "v1", "v1.x", "v2.", "cut", "flip", "noise"])
def test_damaged_value_is_told_by_its_account(damage: str) -> None:
    sealer = Sealer(ONE_KEY, NOWHERE)
    sealed = sealer.seal(ADA, b"secret")
    damaged = {
        "cut": sealed[:-8],
        "flip": sealed[:-8] + ("AAAA" if sealed[-8:-4] != "AAAA" else "BBBB") + sealed[-4:],
        "noise": sealed[:20] + "!" + sealed[20:],
    }.get(damage, damage)

    with pytest.raises(ConfigError, match=ADA):
        sealer.open(ADA, damaged)


def test_old_keys_open_old_values_and_the_newest_seals() -> None:
    old, new = new_key(), new_key()
    sealed_before = Sealer(old, NOWHERE).seal(ADA, b"secret")
    both = Sealer(f"{new},{old}", NOWHERE)

    assert both.open(ADA, sealed_before) == b"secret"
    assert Sealer(new, NOWHERE).open(ADA, both.seal(ADA, b"secret")) == b"secret"
    with pytest.raises(ConfigError, match="put the old key back"):
        Sealer(new, NOWHERE).open(ADA, sealed_before)


def test_key_file_is_made_with_the_first_value_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "home" / "credentials.key"

    sealed = Sealer("", path).seal(ADA, b"secret")
    content = path.read_bytes()
    Sealer("", path).seal(ADA, b"more")

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_bytes() == content
    assert Sealer("", path).open(ADA, sealed) == b"secret"
    assert [file.name for file in path.parent.iterdir()] == ["credentials.key"]


def test_key_file_is_one_for_all_who_make_it_at_once(tmp_path: Path) -> None:
    path = tmp_path / "credentials.key"

    with ThreadPoolExecutor(8) as pool:
        sealed = list(pool.map(lambda number: Sealer("", path).seal(ADA, b"%d" % number), range(40)))

    assert [Sealer("", path).open(ADA, value) for value in sealed] == [b"%d" % number for number in range(40)]


def test_lost_key_file_names_the_account_and_destroys_nothing(tmp_path: Path) -> None:
    path = tmp_path / "credentials.key"
    sealed = Sealer("", path).seal(ADA, b"secret")
    key = path.read_bytes()
    path.unlink()

    with pytest.raises(ConfigError, match=f"{ADA}.*key file"):
        Sealer("", path).open(ADA, sealed)
    assert not path.exists()

    path.write_bytes(key)
    assert Sealer("", path).open(ADA, sealed) == b"secret"


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe\x00"])
def test_damaged_key_file_is_told_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "credentials.key"
    path.write_bytes(content)

    with pytest.raises(ConfigError, match="holds no key"):
        Sealer("", path).seal(ADA, b"secret")

    assert path.read_bytes() == content


def test_key_file_that_others_may_read_is_closed_to_them(tmp_path: Path) -> None:
    path = tmp_path / "credentials.key"
    path.write_text(ONE_KEY)
    path.chmod(0o644)

    Sealer("", path).seal(ADA, b"secret")

    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_repr_shows_where_the_key_is_from_and_not_the_key() -> None:
    assert ONE_KEY not in repr(Sealer(ONE_KEY, NOWHERE))
    assert "MAIL_INGEST_KEY" in repr(Sealer(ONE_KEY, NOWHERE))


def test_access_token_does_not_open_as_credentials() -> None:
    sealer = Sealer(ONE_KEY, NOWHERE)

    with pytest.raises(ConfigError, match=f"{ADA} are damaged"):
        sealer.open(ADA, sealer.seal(ADA, b"token", "access token"))


@pytest.mark.parametrize("separator", [",", "\n"])
def test_keys_may_be_named_by_a_reference(tmp_path: Path, separator: str) -> None:
    old, new = new_key(), new_key()
    (tmp_path / "keys").write_text(f"{new}{separator}{old}\n")
    reference = f"file://{tmp_path / 'keys'}"

    sealed = Sealer(reference, NOWHERE).seal(ADA, b"secret")

    assert Sealer(new, NOWHERE).open(ADA, sealed) == b"secret"
    assert Sealer(reference, NOWHERE).open(ADA, Sealer(old, NOWHERE).seal(ADA, b"older")) == b"older"


def test_reference_is_read_again_after_five_minutes_and_for_a_key_that_is_missing(tmp_path: Path) -> None:
    now = [0.0]
    first, second, third = (new_key() for _ in range(3))
    file = tmp_path / "keys"
    file.write_text(first)
    sealer = Sealer(f"file://{file}", NOWHERE, References(clock=lambda: now[0]))
    by_first = sealer.seal(ADA, b"1")

    file.write_text(second)
    now[0] = 299.0
    assert sealer.seal(ADA, b"x").split(".")[1] == by_first.split(".")[1], "was read again too early"
    assert sealer.open(ADA, Sealer(second, NOWHERE).seal(ADA, b"2")) == b"2", "a newer key was not looked for"

    file.write_text(f"{third},{second}")
    now[0] += 300.0
    assert Sealer(third, NOWHERE).open(ADA, sealer.seal(ADA, b"3")) == b"3"


@pytest.mark.parametrize(
    ("reference", "why"),
    [
        ("env://MAIL_INGEST_NO_SUCH_KEY", "MAIL_INGEST_NO_SUCH_KEY is not set"),
        ("file:///nonexistent/key", "file:///nonexistent/key cannot be read"),
        ("vault://somewhere", "env://NAME, file:///absolute/path or gcp-secret://"),
    ],
)
def test_reference_that_leads_nowhere_is_told(reference: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        Sealer(reference, NOWHERE).seal(ADA, b"secret")
