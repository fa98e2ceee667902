"""Tokens, subjects, text and correspondents stay out of logs, errors and reprs, whatever goes wrong."""

import logging
import traceback
from datetime import UTC, datetime

import pytest

from mail_ingest.errors import GmailError
from mail_ingest.gmail import GmailClient, RawMessage
from mail_ingest.simulator import Mailbox, Simulator
from mail_ingest_tests.gmail.stage import EPOCH, Clock, Tokens, make_client

SUBJECT, BODY, FRIEND = "Merger of equals", "the price is nine", "grace@example.org"


@pytest.fixture
def letter(box: Mailbox) -> str:
    return box.add(subject=SUBJECT, body=BODY, sender=f"Grace <{FRIEND}>")


def told(caplog: pytest.LogCaptureFixture, *errors: BaseException) -> str:
    texts = [record.getMessage() for record in caplog.records]
    for error in errors:
        texts += [str(error), repr(error), *traceback.format_exception(error)]
    return "\n".join(texts)


def assert_nothing_leaks(text: str, token: str) -> None:
    for secret in (token, SUBJECT, BODY, FRIEND, "Merger", "grace"):
        assert secret not in text


@pytest.mark.parametrize("kind", ["error", "html503", "drop", "truncate"])
def test_failures_tell_the_account_and_the_id_and_no_secret(
    gmail: Simulator, client: GmailClient, box: Mailbox, letter: str, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    gmail.fail_next(kind=kind, status=500, reason="backendError", method="messages.get", times=-1)  # type: ignore[arg-type]

    with pytest.raises(GmailError) as caught:
        client.get_raw_message(letter)

    text = told(caplog, caught.value)
    assert letter in text
    assert box.address in text
    assert_nothing_leaks(text, box.token)


def test_refusals_that_quote_what_was_asked_do_not_pass_it_on(
    gmail: Simulator, client: GmailClient, box: Mailbox, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    message = f'Invalid query "subject:{SUBJECT}" from {FRIEND}'
    gmail.fail_next(status=400, reason="invalidArgument", message=message)

    with pytest.raises(GmailError) as caught:
        client.list_messages(query=f"subject:{SUBJECT} from:{FRIEND}")

    assert_nothing_leaks(told(caplog, caught.value), box.token)


def test_quota_and_token_trouble_hold_no_secret(
    gmail: Simulator, box: Mailbox, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    client = make_client(gmail.url, Tokens("wrong-token-1", "wrong-token-2"), clock)

    with pytest.raises(GmailError) as unauthorized:
        client.get_profile()
    gmail.fail_next(status=429, retry_after=datetime.fromtimestamp(EPOCH + 9_000, UTC))
    with pytest.raises(GmailError) as limited:
        client.get_profile()

    text = told(caplog, unauthorized.value, limited.value)
    assert "wrong-token" not in text
    assert box.token not in text


def test_reprs_hold_no_content(client: GmailClient, box: Mailbox, letter: str) -> None:
    label_id = box.create_label("Merger of equals")
    message = client.get_raw_message(letter)
    assert isinstance(message, RawMessage)
    assert BODY.encode() in message.raw

    text = repr([message, client.get_message_state(letter), client.get_label(label_id), client])

    assert letter in text
    assert_nothing_leaks(text, box.token)
    assert message.snippet
    assert message.snippet not in text
