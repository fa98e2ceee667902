"""What the client says about a mailbox, against the simulator."""

import pytest

from mail_ingest.errors import ConfigError, GmailError, HistoryExpiredError, MessageGoneError, ServerError
from mail_ingest.gmail import GmailClient, QuotaGovernor, Transport, parse_quota
from mail_ingest.gmail.service import service
from mail_ingest.simulator import Mailbox, Simulator
from mail_ingest_tests.gmail.stage import ADA, Answer, Clock, Seen, Tokens, Wire, error_answer, json_answer, make_client


def test_profile_tells_whose_mailbox_it_is_and_where_its_history_stands(client: GmailClient, box: Mailbox) -> None:
    box.generate(7)

    profile = client.get_profile()

    assert profile.email_address == ADA
    assert profile.messages_total == 7
    assert profile.history_id == box.history_id


def test_labels_carry_their_type_and_their_counts_only_when_asked_singly(client: GmailClient, box: Mailbox) -> None:
    label_id = box.create_label("Trips/2026")
    box.add(labels=["INBOX", "UNREAD", label_id])

    listed = {label.label_id: label for label in client.list_labels()}
    single = client.get_label(label_id)

    assert listed[label_id].name == "Trips/2026"
    assert listed[label_id].type == "user"
    assert listed[label_id].messages_total is None
    assert listed["INBOX"].type == "system"
    assert (single.messages_total, single.messages_unread) == (1, 1)


def test_listing_walks_all_pages_with_spam_and_trash(client: GmailClient, box: Mailbox) -> None:
    ids = {box.add() for _ in range(5)} | {box.add(labels=["SPAM"]), box.add(labels=["TRASH"])}

    pages = list(client.iter_message_ids(page_size=3))

    assert [len(page.refs) for page in pages] == [3, 3, 1]
    assert {ref.message_id for page in pages for ref in page.refs} == ids
    assert pages[-1].next_page_token is None


def test_listing_narrows_by_label_and_by_query(client: GmailClient, box: Mailbox) -> None:
    starred = box.add(labels=["STARRED"])
    box.add(subject="other")

    by_label = [ref.message_id for page in client.iter_message_ids(label_id="STARRED") for ref in page.refs]
    by_query = [ref.message_id for page in client.iter_message_ids(query="is:starred") for ref in page.refs]

    assert by_label == by_query == [starred]


def test_empty_mailbox_is_one_empty_page(client: GmailClient) -> None:
    assert [page.refs for page in client.iter_message_ids()] == [()]


@pytest.mark.parametrize("padding", [True, False])
def test_raw_message_is_byte_exact_with_and_without_base64_padding(
    gmail: Simulator, client: GmailClient, box: Mailbox, padding: bool
) -> None:
    gmail.base64_padding = padding
    ids = [box.add(body="x" * length) for length in range(4)]

    for message_id in ids:
        message = client.get_raw_message(message_id)

        assert message.raw == box.raw(message_id)
        truth = box.message(message_id)
        assert message.thread_id == truth.thread_id
        assert message.label_ids == truth.label_ids
        assert message.history_id == truth.history_id
        assert message.internal_date_ms == truth.internal_date_ms


def test_state_tells_labels_without_content(client: GmailClient, box: Mailbox) -> None:
    message_id = box.add(labels=["INBOX"])

    state = client.get_message_state(message_id)

    assert state.message_id == message_id
    assert state.label_ids == {"INBOX"}
    assert state.history_id == box.message(message_id).history_id


def test_message_without_labels_has_an_empty_set(client: GmailClient, box: Mailbox) -> None:
    message_id = box.add(labels=[])

    assert client.get_raw_message(message_id).label_ids == frozenset()
    assert client.get_message_state(message_id).label_ids == frozenset()


def test_deleted_message_is_gone_not_failed(client: GmailClient, box: Mailbox) -> None:
    message_id = box.add()
    box.delete(message_id)

    with pytest.raises(MessageGoneError, match=message_id):
        client.get_raw_message(message_id)
    with pytest.raises(MessageGoneError):
        client.get_message_state(message_id)


def test_unknown_label_is_an_error_of_the_call_alone(client: GmailClient) -> None:
    with pytest.raises(GmailError) as caught:
        client.get_label("Label_404")

    assert caught.value.status == 404
    assert not isinstance(caught.value, MessageGoneError | HistoryExpiredError)


def test_empty_id_never_turns_a_get_into_a_listing(client: GmailClient, gmail: Simulator) -> None:
    with pytest.raises(ValueError, match="empty id"):
        client.get_raw_message("")

    assert gmail.calls() == 0


def test_history_tells_every_kind_of_change(client: GmailClient, box: Mailbox) -> None:
    old = box.add(labels=["INBOX", "UNREAD"])
    start = box.history_id
    new = box.add(labels=["INBOX"])
    box.relabel(old, add=["STARRED"], remove=["UNREAD"])
    box.delete(new)

    changes = [change for page in client.iter_history(start) for record in page.records for change in record.changes]

    told = {(change.kind, change.message_id, change.changed_label_ids) for change in changes}
    assert ("messageAdded", new, ()) in told
    assert ("messageDeleted", new, ()) in told
    assert ("labelAdded", old, ("STARRED",)) in told
    assert ("labelRemoved", old, ("UNREAD",)) in told


def test_history_without_changes_is_one_empty_page(client: GmailClient, box: Mailbox) -> None:
    box.add()

    pages = list(client.iter_history(box.history_id))

    assert [(page.records, page.history_id) for page in pages] == [((), box.history_id)]


def test_history_goes_on_over_empty_pages(gmail: Simulator, client: GmailClient, box: Mailbox) -> None:
    box.add()
    start = box.history_id
    added = [box.add() for _ in range(1_100)]
    gmail.empty_pages = True

    pages = list(client.iter_history(start))

    assert any(not page.records for page in pages)
    assert [change.message_id for page in pages for record in page.records for change in record.changes] == added


def test_history_without_inner_labels_says_so_instead_of_guessing(
    gmail: Simulator, client: GmailClient, box: Mailbox
) -> None:
    box.add()
    start = box.history_id
    message_id = box.add(labels=["INBOX"])

    gmail.inner_label_ids = "absent"
    (absent,) = client.list_history(start).records[0].changes
    gmail.inner_label_ids = "as_of_event"
    (present,) = client.list_history(start).records[0].changes

    assert (absent.message_id, absent.label_ids) == (message_id, None)
    assert present.label_ids == {"INBOX"}


def test_messages_that_a_record_only_mentions_are_told_apart(
    gmail: Simulator, client: GmailClient, box: Mailbox
) -> None:
    box.add()
    start = box.history_id
    gmail.bare_records = True
    message_id = box.add()

    records = client.list_history(start).records

    assert {record.message_ids for record in records if not record.changes} == {(message_id,)}
    assert {record.message_ids for record in records if record.changes} == {()}


def test_expired_history_is_told_apart_from_gone_messages(client: GmailClient, box: Mailbox) -> None:
    box.add()
    start = box.history_id
    box.add()
    box.expire_history()

    with pytest.raises(HistoryExpiredError):
        client.list_history(start)


def test_lost_page_token_starts_the_listing_over_once(gmail: Simulator, client: GmailClient, box: Mailbox) -> None:
    ids = {box.add() for _ in range(6)}
    gmail.fail_next(method="messages.list", status=400, reason="invalidArgument", message="Invalid page token", after=1)

    pages = list(client.iter_message_ids(page_size=2))

    assert {ref.message_id for page in pages for ref in page.refs} == ids
    assert len(pages) == 4


def test_listing_that_is_refused_again_after_starting_over_is_an_error(
    gmail: Simulator, client: GmailClient, box: Mailbox
) -> None:
    for _ in range(6):
        box.add()
    pages = client.iter_message_ids(page_size=2)
    next(pages)
    gmail.fail_next(
        method="messages.list", status=400, reason="invalidArgument", message="Invalid page token", times=-1
    )

    with pytest.raises(GmailError, match="invalidArgument"):
        list(pages)


def test_listing_whose_tokens_are_refused_again_and_again_starts_over_no_more_than_once(clock: Clock) -> None:
    def script(seen: Seen) -> Answer:
        if "pageToken" in seen.path:
            return error_answer(400, "invalidArgument", "Invalid page token")
        return json_answer({"messages": [{"id": "m1", "threadId": "t"}], "nextPageToken": "next"})

    with Wire(script) as wire, pytest.raises(GmailError, match="invalidArgument"):
        list(make_client(wire.url, Tokens("t"), clock).iter_message_ids())

    assert len(wire.seen) == 4


def test_page_tokens_that_lead_in_a_circle_are_given_up(clock: Clock) -> None:
    tokens = iter(["a", "b", "a", "b", "a"])

    def script(_: Seen) -> Answer:
        return json_answer({"messages": [{"id": "m1", "threadId": "t"}], "nextPageToken": next(tokens)})

    with Wire(script) as wire, pytest.raises(ServerError, match="does not come to an end"):
        list(make_client(wire.url, Tokens("t"), clock).iter_message_ids())

    assert len(wire.seen) == 3


def test_history_that_goes_on_and_on_without_a_record_is_given_up(clock: Clock) -> None:
    numbers = iter(range(10_000))

    def script(_: Seen) -> Answer:
        return json_answer({"historyId": "9", "nextPageToken": f"t{next(numbers)}"})

    with Wire(script) as wire, pytest.raises(ServerError, match="does not come to an end"):
        list(make_client(wire.url, Tokens("t"), clock).iter_history(1))

    assert len(wire.seen) == 100


def test_turning_the_quota_off_is_refused_for_the_real_gmail() -> None:
    with pytest.raises(ConfigError, match="loopback"):
        GmailClient(
            ADA,
            token=Tokens("t"),
            governor=QuotaGovernor(parse_quota("off")),
            transport=Transport(),
            url="https://gmail.googleapis.com",
        )


@pytest.mark.parametrize("message_id", ["18f2a3b4c5d6e7f8", "a/b?c=d e", "é"])
def test_the_copied_request_for_a_raw_message_is_the_one_that_the_library_builds(message_id: str) -> None:
    gmail = service("http://127.0.0.1:1")

    copied, built = gmail.get_raw(message_id), gmail.messages.get(userId="me", id=message_id, format="raw")

    assert copied.uri == built.uri
    assert copied.headers == built.headers
    assert copied.headers is not gmail.raw_message.headers
