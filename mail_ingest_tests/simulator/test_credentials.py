"""Tokens, consent, scopes, and what Google's own auth library makes of them."""

import json
from collections.abc import Callable

import google.auth.exceptions
import google.auth.transport.requests
import google.oauth2.credentials
import google.oauth2.service_account
import pytest

from mail_ingest.simulator import Mailbox, Simulator
from mail_ingest_tests.simulator.client import Client

Connect = Callable[[str | None], Client]


@pytest.fixture
def transport() -> google.auth.transport.requests.Request:
    return google.auth.transport.requests.Request()


def test_no_token_a_wrong_one_and_an_expired_one_are_401_in_two_ways(
    box: Mailbox, client: Client, connect: Connect
) -> None:
    missing = connect(None).get("profile")
    wrong = connect("ya29.wrong").get("profile")
    box.expire_token()
    expired = client.get("profile")

    assert (missing.status, missing.reason) == (401, "required")
    assert missing.json["error"]["details"][0]["metadata"]["method"] == "caribou.api.proto.MailboxService.GetProfile"
    assert (wrong.status, wrong.reason) == (expired.status, expired.reason) == (401, "authError")
    assert wrong.json["error"]["errors"][0]["location"] == "Authorization"


def test_a_token_in_the_query_works_as_well(box: Mailbox, connect: Connect) -> None:
    assert connect(None).get("profile", access_token=box.token).status == 200


def test_the_user_id_is_me_or_the_own_address(gmail: Simulator, box: Mailbox, client: Client) -> None:
    gmail.add_account("bob@example.com")

    own = client.request("GET", "/gmail/v1/users/ada%40example.com/profile")
    other = client.request("GET", "/gmail/v1/users/bob%40example.com/profile")

    assert own.json["emailAddress"] == "ada@example.com"
    assert (other.status, other.reason) == (403, "forbidden")


def test_accounts_do_not_see_each_other(gmail: Simulator, box: Mailbox, client: Client, connect: Connect) -> None:
    bob = gmail.add_account("bob@example.com")
    message_id = bob.add()

    assert client.get(f"messages/{message_id}").status == 404
    assert connect(bob.token).get(f"messages/{message_id}").status == 200


def test_scopes_decide_what_a_token_may_do(box: Mailbox, connect: Connect) -> None:
    message_id = box.add()
    readonly = connect(box.issue_token(["gmail.readonly"]))
    labels = connect(box.issue_token(["gmail.labels"]))
    modify = connect(box.issue_token(["gmail.modify"]))

    assert readonly.get("messages").status == 200
    refused = readonly.post(f"messages/{message_id}/trash")
    assert (refused.status, refused.reason) == (403, "insufficientPermissions")
    assert refused.json["error"]["details"][0]["reason"] == "ACCESS_TOKEN_SCOPE_INSUFFICIENT"
    assert labels.get("labels").status == 200
    assert labels.get("messages").status == 403
    assert modify.post(f"messages/{message_id}/trash").status == 200
    assert modify.request("DELETE", f"/gmail/v1/users/me/messages/{message_id}").status == 403


@pytest.mark.parametrize("scopes", [["gmail.metadata"], ["gmail.metadata", "gmail.readonly"]])
def test_the_metadata_scope_forbids_content_and_queries(box: Mailbox, connect: Connect, scopes: list[str]) -> None:
    message_id = box.add()
    client = connect(box.issue_token(scopes))

    for form, status in {"minimal": 200, "metadata": 200, "full": 403, "raw": 403}.items():
        assert client.get(f"messages/{message_id}", format=form).status == status
    unsaid = client.get(f"messages/{message_id}")
    assert (unsaid.status, unsaid.message) == (403, "Metadata scope doesn't allow format FULL")
    assert client.get("messages", q="x").message == "Metadata scope does not support 'q' parameter"
    assert client.get("messages", labelIds="INBOX").status == 200


def test_a_wider_scope_can_be_made_to_win_over_metadata(gmail: Simulator, box: Mailbox, connect: Connect) -> None:
    gmail.metadata_scope_dominates = False
    client = connect(box.issue_token(["gmail.metadata", "gmail.readonly"]))

    assert client.get(f"messages/{box.add()}", format="raw").status == 200


def test_an_account_without_gmail_is_a_failed_precondition(box: Mailbox, client: Client) -> None:
    box.disable_mail()
    answer = client.get("profile")
    box.disable_mail(False)

    assert (answer.status, answer.reason, answer.message) == (400, "failedPrecondition", "Mail service not enabled")
    assert answer.json["error"]["status"] == "FAILED_PRECONDITION"
    assert client.get("profile").status == 200


def test_a_consent_given_with_the_wrong_account_shows_in_the_profile(box: Mailbox, client: Client) -> None:
    box.answer_as("other@example.com")

    assert client.get("profile").json["emailAddress"] == "other@example.com"


def from_file(info: dict[str, str]) -> google.oauth2.credentials.Credentials:
    """`Credentials.from_authorized_user_info` would ignore the file's token_uri and ask Google."""
    return google.oauth2.credentials.Credentials(
        None,
        refresh_token=info["refresh_token"],
        client_id=info["client_id"],
        client_secret=info["client_secret"],
        token_uri=info["token_uri"],
    )


def test_an_authorized_user_file_works_with_googles_library(
    box: Mailbox, connect: Connect, transport: google.auth.transport.requests.Request
) -> None:
    info = json.loads(json.dumps(box.authorized_user()))
    credentials = from_file(info)

    credentials.refresh(transport)

    assert connect(credentials.token).get("profile").status == 200
    box.expire_token()
    assert connect(credentials.token).get("profile").status == 401
    credentials.refresh(transport)
    assert connect(credentials.token).get("profile").status == 200


def test_a_revoked_consent_is_invalid_grant_until_the_user_consents_again(
    box: Mailbox, connect: Connect, transport: google.auth.transport.requests.Request
) -> None:
    first = from_file(box.authorized_user())
    first.refresh(transport)
    box.revoke()

    with pytest.raises(google.auth.exceptions.RefreshError, match="invalid_grant: Token has been expired or revoked"):
        first.refresh(transport)
    assert connect(first.token).get("profile").status == 401
    again = from_file(box.authorized_user())
    again.refresh(transport)
    assert connect(again.token).get("profile").status == 200


def test_the_revocation_endpoint_ends_a_consent(box: Mailbox, client: Client) -> None:
    refresh = box.authorized_user()["refresh_token"]

    assert client.request("POST", "/revoke", f"token={refresh}".encode()).status == 200
    assert client.get("profile").status == 401
    assert client.request("POST", "/revoke", b"token=unknown").status == 400


def test_access_tokens_from_the_endpoint_last_an_hour() -> None:
    now = [1_700_000_000.0]
    with Simulator(quota="off", clock=lambda: now[0]) as gmail:
        user = gmail.add_account("ada@example.com").authorized_user()
        form = "&".join(
            ["grant_type=refresh_token", *(f"{name}={user[name]}" for name in ("client_id", "refresh_token"))]
        )
        client = Client(gmail.url, None)
        answer = client.request("POST", "/token", form.encode()).json
        client.token = answer["access_token"]

        assert (answer["expires_in"], answer["token_type"]) == (3_599, "Bearer")
        assert client.get("profile").status == 200
        now[0] += 3_600
        assert client.get("profile").reason == "authError"
        client.close()


@pytest.mark.parametrize(
    ("form", "status", "error"),
    [
        ("", 400, "invalid_request"),
        ("grant_type=password", 400, "unsupported_grant_type"),
        ("grant_type=refresh_token", 400, "invalid_request"),
        ("grant_type=refresh_token&refresh_token=unknown", 400, "invalid_grant"),
        ("grant_type=refresh_token&client_id=other&refresh_token={refresh_token}", 401, "invalid_client"),
        ("grant_type=refresh_token&client_id={client_id}&refresh_token={refresh_token}&scope=x", 400, "invalid_scope"),
        ("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=a.b.c", 400, "invalid_grant"),
    ],
)
def test_the_token_endpoint_refuses_in_its_own_shape(
    box: Mailbox, client: Client, form: str, status: int, error: str
) -> None:
    answer = client.request("POST", "/token", form.format(**box.authorized_user()).encode())

    assert (answer.status, answer.json["error"]) == (status, error)
    assert set(answer.json) == {"error", "error_description"}


def test_a_service_account_acts_for_the_users_and_scopes_it_was_delegated(
    gmail: Simulator, box: Mailbox, connect: Connect, transport: google.auth.transport.requests.Request
) -> None:
    gmail.add_account("bob@example.com")
    scope = "https://www.googleapis.com/auth/gmail.readonly"
    info = gmail.service_account(["gmail.readonly"], subjects=["ada@example.com"])
    account = google.oauth2.service_account.Credentials.from_service_account_info(info, scopes=[scope])

    for_ada = account.with_subject("ada@example.com")
    for_ada.refresh(transport)
    assert connect(for_ada.token).get("profile").json["emailAddress"] == "ada@example.com"

    with pytest.raises(google.auth.exceptions.RefreshError, match="invalid_grant"):
        account.with_subject("bob@example.com").refresh(transport)
    wider = account.with_scopes(["https://mail.google.com/"]).with_subject("ada@example.com")
    with pytest.raises(google.auth.exceptions.RefreshError, match="unauthorized_client"):
        wider.refresh(transport)


def test_a_service_account_without_a_subject_has_no_mailbox(
    gmail: Simulator, connect: Connect, transport: google.auth.transport.requests.Request
) -> None:
    info = gmail.service_account(["gmail.readonly"])
    account = google.oauth2.service_account.Credentials.from_service_account_info(
        info, scopes=["https://www.googleapis.com/auth/gmail.readonly"]
    )
    account.refresh(transport)

    answer = connect(account.token).get("profile")

    assert (answer.status, answer.message) == (400, "Precondition check failed.")


def test_no_secret_shows_in_the_representation_of_a_mailbox(box: Mailbox) -> None:
    assert box.token not in repr(box)
