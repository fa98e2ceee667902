"""Answers of the directory, of Secret Manager and of token servers that mean harm are errors of ours."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mail_ingest.accounts import google_apis, oauth
from mail_ingest.accounts.directory import people_of
from mail_ingest.errors import ServerError
from mail_ingest_tests.gmail.stage import ADA, Answer, Wire, in_turn

DEEP = b"[" * 200_000


@pytest.mark.parametrize("users", ["x", 7, {"a": 1}, [None], ["ada@example.com"], [[{}]]])
def test_people_that_are_none_are_a_passing_failure(users: Any) -> None:
    with pytest.raises(ServerError, match="of another kind"):
        people_of({"users": users}, "the people cannot be listed")


def test_a_reason_is_read_out_of_anything() -> None:
    for content in (
        DEEP,
        b"",
        b"null",
        b'{"error": []}',
        b'{"error": {"errors": [7]}}',
        json.dumps({"error": {"status": "\x1b[2J"}}).encode(),
    ):
        assert google_apis._reason(content) == ""


@pytest.mark.parametrize(
    "body", [DEEP, b"[]", b"7", b'"x"', b"null", b"{}", b'{"access_token": [1], "expires_in": "x"}']
)
def test_a_token_server_that_answers_something_else_is_a_passing_failure(body: bytes) -> None:
    from google.oauth2.credentials import Credentials

    with Wire(in_turn(Answer(200, body, {"content-type": "application/json"}))) as wire:
        google = Credentials(None, refresh_token="r", client_id="c", client_secret="s", token_uri=f"{wire.url}/token")
        with pytest.raises(ServerError) as caught:
            oauth.refresh(google, ADA, "authorized_user")

    assert str(caught.value).isprintable()
