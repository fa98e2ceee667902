"""Credentials that stay where they are: in a variable, a file, Secret Manager, or Google's application defaults."""

import dataclasses
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from mail_ingest.accounts import Credential, Registry, application_default, from_reference, new_key, token_env
from mail_ingest.accounts.references import References, check_reference
from mail_ingest.accounts.tokens import token_source
from mail_ingest.errors import AuthError, ConfigError, MailIngestError, ServerError
from mail_ingest.settings import Settings
from mail_ingest.simulator import Mailbox, Simulator
from mail_ingest_tests.gmail.contacts import watched
from mail_ingest_tests.gmail.stage import Clock

ADA = "ada@example.com"
SECRET = "projects/vault/secrets/ada"
LATEST = f"gcp-secret://{SECRET}/versions/latest"
READING, PLATFORM = "gmail.readonly", "cloud-platform"

Place = Callable[[dict[str, Any]], str]


@pytest.fixture
def asked_as(gmail: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Who Secret Manager is asked by: the account of the application-default credentials."""
    key = gmail.service_account([PLATFORM])
    path = tmp_path / "workload.json"
    path.write_text(json.dumps(key))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    return key["client_email"]


@pytest.fixture(params=["env", "file", "gcp-secret"])
def place(
    request: pytest.FixtureRequest, gmail: Simulator, asked_as: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Place:
    """Puts a document in its place, again as often as wanted, and returns the reference to it."""

    def put(doc: dict[str, Any]) -> str:
        text = json.dumps(doc)
        if request.param == "env":
            monkeypatch.setenv("ADA_CREDENTIALS", text)
            return "env://ADA_CREDENTIALS"
        if request.param == "file":
            path = tmp_path / "50% of it.json"
            path.write_text(text)
            return path.as_uri()
        gmail.secrets.add(SECRET, text, readers=[asked_as])
        return LATEST

    return put


def address_of(gmail: Simulator, token: str) -> str:
    """Whose mailbox a token opens; asked of the server itself."""
    grant = gmail.world.grants.check(token)
    assert grant is not None
    return grant.address


def test_a_persons_consent_is_found_behind_a_reference(gmail: Simulator, box: Mailbox, place: Place) -> None:
    reference = place(box.authorized_user())

    token = token_source(ADA, from_reference(reference), references=References(gmail.url)).token()

    assert address_of(gmail, token) == ADA


def test_a_service_account_behind_a_reference_acts_for_the_account_or_the_subject(
    gmail: Simulator, box: Mailbox, place: Place
) -> None:
    reference = place(gmail.service_account([READING]))
    references = References(gmail.url)

    own = token_source(ADA, from_reference(reference), references=references).token()
    other = token_source(ADA, from_reference(reference, "bob@example.com"), references=references).token()

    assert address_of(gmail, own) == ADA
    assert address_of(gmail, other) == "bob@example.com"


def test_what_was_read_is_kept_for_five_minutes(gmail: Simulator, box: Mailbox, asked_as: str) -> None:
    gmail.secrets.add(SECRET, json.dumps(box.authorized_user()))
    clock = Clock()
    references = References(gmail.url, clock=clock)

    for _ in range(3):
        references.read(LATEST)
    clock.now += 299
    references.read(LATEST)
    assert gmail.calls("secrets.access") == 1

    clock.now += 2
    references.read(LATEST)
    assert gmail.calls("secrets.access") == 2


def test_a_secret_with_a_new_version_is_used_within_five_minutes_or_once_the_old_one_fails(
    gmail: Simulator, box: Mailbox, place: Place
) -> None:
    source = token_source(ADA, from_reference(place(box.authorized_user())), references=References(gmail.url))
    source.token()
    box.revoke()
    place(box.authorized_user())

    with pytest.raises(AuthError, match="invalid_grant"):
        source.token(force_refresh=True)

    assert address_of(gmail, source.token(force_refresh=True)) == ADA


@pytest.mark.parametrize(
    "reference",
    [
        "ya29.a-token",
        "env://1NAME",
        "env://",
        "file://relative.json",
        "file:///",
        "gcp-secret://projects/p/secrets/s",
        "gcp-secret://projects/p/secrets/s/versions/1/more",
        "vault://kv/gmail",
        '{"refresh_token": "1//x"}',
    ],
)
def test_what_is_no_reference_is_refused_and_not_repeated(reference: str) -> None:
    with pytest.raises(ConfigError, match="env://NAME") as caught:
        check_reference(reference)

    assert reference not in str(caught.value).partition(" is one of ")[0] + str(caught.value).partition("; ")[2]


@pytest.mark.parametrize(
    ("reference", "why"),
    [
        ("env://NOBODY_SET_THIS", "NOBODY_SET_THIS is not set"),
        ("file:///no/such/file.json", "cannot be read"),
        (f"gcp-secret://{SECRET}/versions/7", "404 NOT_FOUND"),
        ("gcp-secret://projects/vault/secrets/other/versions/latest", "403 PERMISSION_DENIED"),
        (f"gcp-secret://{SECRET}/versions/1", "400 FAILED_PRECONDITION"),
    ],
)
def test_a_reference_that_leads_nowhere_is_named_with_the_reason(
    gmail: Simulator, asked_as: str, reference: str, why: str
) -> None:
    gmail.secrets.disable(gmail.secrets.add(SECRET, b"hidden"))

    with pytest.raises(ConfigError) as caught:
        References(gmail.url).read(reference)

    assert why in str(caught.value)
    assert reference.partition("://")[2].rpartition("/")[2] in str(caught.value)


def test_secret_manager_that_fails_is_a_passing_matter(gmail: Simulator, asked_as: str) -> None:
    gmail.secrets.add(SECRET, b"hidden")
    gmail.fail_next(status=503, reason="backendError", method="secrets.access")

    with pytest.raises(ServerError, match="503"):
        References(gmail.url).read(LATEST)

    assert References(gmail.url).read(LATEST) == b"hidden"


def test_nobody_but_secret_manager_and_the_token_server_is_contacted(gmail: Simulator, asked_as: str) -> None:
    gmail.secrets.add(SECRET, b"hidden")

    with watched() as contacts:
        References(gmail.url).read(LATEST)

    assert contacts == {("connect", ("127.0.0.1", urlsplit(gmail.url).port)), ("resolve", "127.0.0.1")}


def test_an_identity_that_gets_no_token_is_told_with_the_reference(
    gmail: Simulator, asked_as: str, box: Mailbox
) -> None:
    gmail.fail_next(status=400, reason="invalid_grant", method="token")

    with pytest.raises(ConfigError, match=f"the secret {LATEST} cannot be read: no token for it .invalid_grant."):
        References(gmail.url).read(LATEST)


def test_without_default_credentials_secret_manager_is_not_asked(
    gmail: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "missing.json"))

    with pytest.raises(ConfigError, match="no application-default credentials"):
        References(gmail.url).read(LATEST)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("1//hidden", "is not JSON"),
        ('["1//hidden"]', "no JSON object"),
        ('{"refresh_token": "1//hidden"}', "is neither of type"),
        ('{"type": "external_account", "token": "1//hidden"}', "is neither of type"),
        ('{"type": "authorized_user", "refresh_token": "1//hidden"}', "lacks the field client_id"),
        ('{"installed": {"client_secret": "1//hidden"}}', "OAuth client"),
    ],
)
def test_a_document_that_is_no_credentials_is_told_by_its_reference_alone(
    monkeypatch: pytest.MonkeyPatch, content: str, why: str
) -> None:
    monkeypatch.setenv("ADA_CREDENTIALS", content)

    with pytest.raises(ConfigError) as caught:
        token_source(ADA, from_reference("env://ADA_CREDENTIALS")).token()

    assert why in str(caught.value)
    assert "env://ADA_CREDENTIALS" in str(caught.value)
    assert "hidden" not in str(caught.value)


def test_a_persons_consent_acts_for_no_other_subject(box: Mailbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADA_CREDENTIALS", json.dumps(box.authorized_user()))

    with pytest.raises(ConfigError, match="acts for nobody else"):
        token_source(ADA, from_reference("env://ADA_CREDENTIALS", "bob@example.com")).token()


def test_application_default_credentials_act_for_the_account(
    gmail: Simulator, box: Mailbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "default.json"
    path.write_text(json.dumps(gmail.service_account([READING])))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))

    own, other = application_default(), application_default("bob@example.com")

    assert address_of(gmail, token_source(ADA, own).token()) == ADA
    assert address_of(gmail, token_source(ADA, other).token()) == "bob@example.com"
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "missing.json"))
    with pytest.raises(ConfigError, match="no application-default credentials"):
        token_source(ADA, own).token()


def test_of_a_reference_nothing_but_its_name_is_stored(
    registry: Registry, settings: Settings, box: Mailbox, place: Place
) -> None:
    user = box.authorized_user()
    reference = place(user)

    registry.add(ADA, from_reference(reference))
    registry.add("bob@example.com", application_default("grace@example.com"))

    assert registry.get(ADA).credential_kind == "reference"
    assert registry.get("bob@example.com").credential_kind == "application_default"
    stored = Credential.from_bytes("reference", from_reference(reference).to_bytes())
    assert dict(stored.content) == {"reference": reference}
    registry.close()
    written = b"".join(path.read_bytes() for path in settings.home.iterdir())
    assert user["refresh_token"].encode() not in written


@pytest.fixture
def with_key(gmail: Simulator, asked_as: str, settings: Settings) -> Settings:
    """Settings whose key is in Secret Manager."""
    gmail.secrets.add("projects/vault/secrets/key", new_key(), readers=[asked_as])
    return dataclasses.replace(
        settings, key="gcp-secret://projects/vault/secrets/key/versions/latest", secrets_url=gmail.url
    )


def test_keys_may_be_in_secret_manager_and_are_asked_for_once(
    gmail: Simulator, with_key: Settings, open_registry: Callable[[Settings], Registry]
) -> None:
    registry = open_registry(with_key)
    addresses = [f"user{number}@example.com" for number in range(5)]
    for address in addresses:
        registry.add(address, token_env("T"))

    assert {repr(registry.token_source(address)) for address in addresses} == {"EnvironmentToken(T)"}
    assert gmail.calls("secrets.access") == 1
    secret = gmail.secrets.find("projects/vault/secrets/key")
    assert secret is not None
    plain = dataclasses.replace(with_key, key=secret.versions[0].decode())
    assert repr(open_registry(plain).token_source(addresses[0])) == "EnvironmentToken(T)"


def test_a_new_version_of_the_keys_is_rotated_to(
    gmail: Simulator, with_key: Settings, open_registry: Callable[[Settings], Registry]
) -> None:
    open_registry(with_key).add(ADA, token_env("T"))
    secret = gmail.secrets.find("projects/vault/secrets/key")
    assert secret is not None
    new = new_key()
    gmail.secrets.add("projects/vault/secrets/key", f"{new}\n{secret.versions[0].decode()}")

    done = open_registry(with_key).rotate_keys()

    assert (done.resealed, done.unopened) == (1, ())
    only_new = dataclasses.replace(with_key, key=new)
    assert repr(open_registry(only_new).token_source(ADA)) == "EnvironmentToken(T)"


def test_nothing_is_registered_while_secret_manager_gives_no_key(
    gmail: Simulator, with_key: Settings, open_registry: Callable[[Settings], Registry]
) -> None:
    registry = open_registry(with_key)
    gmail.fail_next(status=503, reason="backendError", method="secrets.access")

    with pytest.raises(ServerError, match="503"):
        registry.add(ADA, token_env("T"))

    assert registry.list() == []
    assert registry.add(ADA, token_env("T")).state == "active"


@pytest.mark.parametrize("trouble", ["revoked", "failing", "none"])
def test_nothing_behind_a_reference_is_told_at_debug_level(
    gmail: Simulator, box: Mailbox, place: Place, trouble: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    user = box.authorized_user()
    source = token_source(ADA, from_reference(place(user)), references=References(gmail.url))
    told, secrets = [repr(source)], [user["refresh_token"], user["client_secret"]]
    if trouble == "revoked":
        box.revoke()
    if trouble == "failing":
        gmail.fail_next(status=403, reason="forbidden", method="secrets.access", times=-1)

    try:
        secrets.append(source.token())
    except MailIngestError as error:
        told += [str(error), repr(error)]
    told += [record.getMessage() for record in caplog.records]

    text = "\n".join(told)
    assert ADA in text
    assert not [secret for secret in secrets if secret in text]
