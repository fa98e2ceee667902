"""The three kinds of credentials: what is read, what is refused, and that nothing of them is shown."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from mail_ingest.accounts import (
    Credential,
    application_default,
    authorized_user,
    from_reference,
    service_account,
    token_env,
)
from mail_ingest.accounts.credentials import project_of
from mail_ingest.errors import ConfigError

READONLY = "https://www.googleapis.com/auth/gmail.readonly"
MODIFY = "https://www.googleapis.com/auth/gmail.modify"
METADATA = "https://www.googleapis.com/auth/gmail.metadata"
USER = {
    "type": "authorized_user",
    "client_id": "id.apps.googleusercontent.com",
    "client_secret": "GOCSPX-secret",
    "refresh_token": "1//refresh-secret",
}

Read = Callable[[Path], Credential]


@pytest.fixture(scope="module")
def service() -> dict[str, Any]:
    key = rsa.generate_private_key(public_exponent=65_537, key_size=1_024).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return {
        "type": "service_account",
        "project_id": "p",
        "private_key_id": "k1",
        "private_key": key.decode(),
        "client_email": "robot@p.iam.gserviceaccount.com",
        "token_uri": "https://oauth2.googleapis.com/token",
    }


@pytest.fixture
def write(tmp_path: Path) -> Callable[[Any], Path]:
    def write(doc: Any) -> Path:
        path = tmp_path / "credentials.json"
        path.write_bytes(doc if isinstance(doc, bytes) else json.dumps(doc).encode())
        return path

    return write


def test_authorized_user_file_is_reduced_to_what_gets_tokens(write: Callable[[Any], Path]) -> None:
    credential = authorized_user(write({**USER, "token": "ya29.old", "scopes": [READONLY], "account": "x"}))

    assert credential.kind == "authorized_user"
    assert credential.content == {
        "client_id": USER["client_id"],
        "client_secret": USER["client_secret"],
        "refresh_token": USER["refresh_token"],
        "token_uri": "https://oauth2.googleapis.com/token",
        "scope": READONLY,
    }


def test_token_uri_of_the_file_is_honoured(write: Callable[[Any], Path], service: dict[str, Any]) -> None:
    uri = "http://127.0.0.1:8025/token"

    assert authorized_user(write({**USER, "token_uri": uri})).content["token_uri"] == uri
    assert service_account(write({**service, "token_uri": uri})).content["token_uri"] == uri


@pytest.mark.parametrize(
    ("scopes", "asked_for"),
    [
        ([MODIFY, READONLY], READONLY),
        ([MODIFY], MODIFY),
        (["https://mail.google.com/"], "https://mail.google.com/"),
        (f"openid {READONLY}", READONLY),
        (None, ""),
    ],
)
def test_of_the_granted_scopes_the_narrowest_that_reads_is_asked_for(
    write: Callable[[Any], Path], scopes: object, asked_for: str
) -> None:
    assert authorized_user(write({**USER, "scopes": scopes})).content["scope"] == asked_for


def test_file_without_type_is_taken_for_what_it_was_given_as(write: Callable[[Any], Path]) -> None:
    """`Credentials.to_json()` writes no type."""
    doc = {key: value for key, value in USER.items() if key != "type"}

    assert authorized_user(write(doc)).content["refresh_token"] == USER["refresh_token"]


@pytest.mark.parametrize(
    ("doc", "why"),
    [
        (b"not JSON: 1//refresh-secret", "is not JSON"),
        (b"\xff\xfe\x00", "is not JSON"),
        (["1//refresh-secret"], "no JSON object"),
        ({"installed": {"client_secret": "GOCSPX-secret"}}, "OAuth client, not credentials"),
        ({"web": {"client_secret": "GOCSPX-secret"}}, "OAuth client, not credentials"),
        ({**USER, "type": "service_account"}, "another type than authorized_user"),
        ({key: value for key, value in USER.items() if key != "client_id"}, "lacks the field client_id"),
        ({key: value for key, value in USER.items() if key != "client_secret"}, "lacks the field client_secret"),
        ({**USER, "refresh_token": ""}, "lacks the field refresh_token"),
        ({**USER, "refresh_token": None}, "lacks the field refresh_token"),
        ({**USER, "scopes": [METADATA]}, "do not allow reading mail"),
        ({**USER, "scopes": 5}, "scopes"),
        ({**USER, "token_uri": "http://tokens.example/token"}, "token_uri"),
        ({**USER, "token_uri": "ftp://tokens.example/token"}, "token_uri"),
        ({**USER, "token_uri": 5}, "token_uri"),
    ],
)
def test_file_that_is_no_authorized_user_is_refused_by_field(
    write: Callable[[Any], Path], doc: object, why: str
) -> None:
    path = write(doc)

    with pytest.raises(ConfigError) as caught:
        authorized_user(path)

    assert why in str(caught.value)
    assert str(path) in str(caught.value)
    assert "secret" not in str(caught.value).replace("client_secret", "")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"private_key": "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n"}, "private_key"),
        ({"private_key": None}, "lacks the field private_key"),
        ({"client_email": None}, "lacks the field client_email"),
        ({"type": "authorized_user"}, "another type than service_account"),
        ({"token_uri": "http://tokens.example/token"}, "token_uri"),
    ],
)
def test_file_that_is_no_service_account_is_refused_by_field(
    write: Callable[[Any], Path], service: dict[str, Any], change: dict[str, Any], why: str
) -> None:
    path = write({**service, **change})

    with pytest.raises(ConfigError) as caught:
        service_account(path)

    assert why in str(caught.value)
    assert str(path) in str(caught.value)
    assert "c2VjcmV0" not in str(caught.value)


@pytest.mark.parametrize("read", [authorized_user, service_account])
def test_file_that_cannot_be_read_is_named(read: Read, tmp_path: Path) -> None:
    for path in (tmp_path / "missing.json", tmp_path):
        with pytest.raises(ConfigError, match="cannot be read"):
            read(path)


@pytest.mark.parametrize("name", ["", "1ABC", "ya29.a0AfH6SM", "A B", "A-B"])
def test_token_in_place_of_a_variable_name_is_refused_and_not_repeated(name: str) -> None:
    with pytest.raises(ConfigError, match="name of an environment variable") as caught:
        token_env(name)

    assert not name or name not in str(caught.value)


def test_credentials_survive_storage_and_show_nothing(write: Callable[[Any], Path], service: dict[str, Any]) -> None:
    for credential in (authorized_user(write(USER)), service_account(write(service)), token_env("ADA_TOKEN")):
        assert Credential.from_bytes(credential.kind, credential.to_bytes()) == credential
        for value in credential.content.values():
            assert not value or value not in repr(credential)


@pytest.mark.parametrize(
    ("client_id", "project"),
    [
        ("123456789012-a1b2.apps.googleusercontent.com", "123456789012"),
        ("id.apps.googleusercontent.com", "default"),
        ("123456789012-a1b2.apps.example.com", "default"),
    ],
)
def test_a_consent_belongs_to_the_project_of_its_oauth_client(
    write: Callable[[Any], Path], client_id: str, project: str
) -> None:
    assert project_of(authorized_user(write({**USER, "client_id": client_id}))) == project


def test_a_service_account_belongs_to_its_project_as_does_one_that_was_stored_without_its_name(
    write: Callable[[Any], Path], service: dict[str, Any]
) -> None:
    named = service_account(write({**service, "project_id": "sales-mail"}))
    email = "reader@sales-mail.iam.gserviceaccount.com"
    unnamed = {key: value for key, value in service.items() if key != "project_id"}
    older = service_account(write({**unnamed, "client_email": email}))
    elsewhere = service_account(write({**unnamed, "client_email": "reader@example.com"}))
    strange = service_account(write({**unnamed, "client_email": email, "project_id": "a b\n"}))

    assert [project_of(one) for one in (named, older, elsewhere, strange)] == [
        "sales-mail",
        "sales-mail",
        "default",
        "default",
    ]


def test_what_names_no_project_belongs_to_the_default_one() -> None:
    kinds = [token_env("T"), application_default(), from_reference("env://CREDENTIALS")]
    assert {project_of(credential) for credential in kinds} == {"default"}
