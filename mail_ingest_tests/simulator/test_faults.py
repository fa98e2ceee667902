"""Planned failures, hooks, and the ledger that tells what was served."""

import http.client
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from mail_ingest.simulator import Call, Mailbox, Simulator
from mail_ingest_tests.simulator.client import Client

Connect = Callable[[str | None], Client]


@pytest.mark.parametrize(
    ("status", "reason", "grpc", "domain", "text"),
    [
        (429, "rateLimitExceeded", "RESOURCE_EXHAUSTED", "global", "Resource has been exhausted (e.g. check quota)."),
        (403, "rateLimitExceeded", "PERMISSION_DENIED", "usageLimits", "Rate Limit Exceeded"),
        (403, "userRateLimitExceeded", "PERMISSION_DENIED", "usageLimits", "User Rate Limit Exceeded"),
        (403, "dailyLimitExceeded", "PERMISSION_DENIED", "usageLimits", "Daily Limit Exceeded"),
        (403, "domainPolicy", "PERMISSION_DENIED", "global", "The domain administrators have disabled Gmail apps."),
        (500, "backendError", "INTERNAL", "global", "Internal error encountered."),
        (503, "backendError", "UNAVAILABLE", "global", "The service is currently unavailable."),
        (404, "notFound", "NOT_FOUND", "global", "Requested entity was not found."),
        (401, "authError", "UNAUTHENTICATED", "global", "Invalid Credentials"),
    ],
)
def test_a_planned_error_has_the_body_reported_for_it(
    gmail: Simulator, client: Client, status: int, reason: str, grpc: str, domain: str, text: str
) -> None:
    gmail.fail_next(status=status, reason=reason)

    answer = client.get("profile")

    error = answer.json["error"]
    assert (answer.status, error["code"], error["status"]) == (status, status, grpc)
    assert (error["errors"][0]["reason"], error["errors"][0]["domain"]) == (reason, domain)
    assert error["errors"][0]["message"] == text
    assert "retry-after" not in answer.headers
    assert client.get("profile").status == 200


def test_an_api_that_is_not_enabled_names_the_project(gmail: Simulator, client: Client) -> None:
    gmail.fail_next(status=403, reason="accessNotConfigured")

    assert "has not been used in project 123456789012 before" in client.get("profile").message


def test_a_fault_waits_for_its_method_message_and_turn(gmail: Simulator, box: Mailbox, client: Client) -> None:
    first, second = box.add(), box.add()
    fault = gmail.fail_next(
        status=500, reason="backendError", method="messages.get", message_id=second, times=2, after=1
    )

    statuses = [client.get(f"messages/{message}").status for message in (first, second, second, second, second)]

    assert statuses == [200, 200, 500, 500, 200]
    assert client.get("profile").status == 200
    assert fault.served == 2


def test_faults_of_one_account_spare_the_others(
    gmail: Simulator, box: Mailbox, client: Client, connect: Connect
) -> None:
    bob = connect(gmail.add_account("bob@example.com").token)
    gmail.fail_next(status=503, reason="backendError", account="ada@example.com", times=-1)

    assert [client.get("profile").status, bob.get("profile").status, client.get("profile").status] == [503, 200, 503]
    gmail.clear_faults()
    assert client.get("profile").status == 200


def test_a_long_refusal_names_its_moment_in_the_text(gmail: Simulator, client: Client) -> None:
    gmail.fail_next(
        status=429, reason="userRateLimitExceeded", retry_after=datetime(2026, 3, 10, 17, 41, 45, 544000, UTC)
    )

    assert client.get("profile").message == "User-rate limit exceeded.  Retry after 2026-03-10T17:41:45.544Z"


def test_an_exhausted_window_can_be_planned(gmail: Simulator, client: Client) -> None:
    gmail.fail_next(status=403, window_start=True)

    metadata = client.get("profile").json["error"]["details"][0]["metadata"]

    assert 0 <= time.time() - int(metadata["window_start_time"]) < 61
    assert metadata["quota_limit"] == "totalQueryCostPerMinutePerUser"


def test_a_retry_after_header_can_be_planned_although_gmail_sends_none(gmail: Simulator, client: Client) -> None:
    gmail.fail_next(status=503, reason="backendError", retry_after_header=7)

    assert client.get("profile").headers["retry-after"] == "7"


def test_a_dropped_connection_has_no_answer(gmail: Simulator, client: Client) -> None:
    gmail.fail_next(kind="drop")

    with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
        client.get("profile")
    client.close()
    assert client.get("profile").status == 200


def test_a_truncated_answer_is_shorter_than_it_says(gmail: Simulator, box: Mailbox, client: Client) -> None:
    message_id = box.add(body="x" * 40_000)
    gmail.fail_next(kind="truncate")

    with pytest.raises(http.client.IncompleteRead) as cut:
        client.get(f"messages/{message_id}", format="raw")
    assert len(cut.value.partial) > 10_000
    client.close()
    assert client.get("profile").status == 200


def test_a_slow_answer_comes_late_and_whole(gmail: Simulator, client: Client) -> None:
    gmail.fail_next(kind="slow", seconds=0.2)
    began = time.monotonic()

    assert client.get("profile").status == 200
    assert time.monotonic() - began >= 0.2


def test_a_front_end_can_answer_with_a_page_of_html(gmail: Simulator, client: Client) -> None:
    gmail.fail_next(kind="html503")

    answer = client.get("profile")

    assert (answer.status, answer.headers["content-type"]) == (503, "text/html; charset=UTF-8")
    assert answer.data.startswith(b"<!DOCTYPE html>")


def test_a_request_can_stay_without_an_answer_and_the_server_still_stops_at_once() -> None:
    with Simulator() as gmail:
        box = gmail.add_account("ada@example.com")
        gmail.fail_next(kind="timeout")
        connection = http.client.HTTPConnection(gmail.url.removeprefix("http://"), timeout=0.2)
        connection.request("GET", "/gmail/v1/users/me/profile", headers={"Authorization": f"Bearer {box.token}"})

        with pytest.raises(TimeoutError):
            connection.getresponse()
        began = time.monotonic()
    assert time.monotonic() - began < 2
    connection.close()


def test_an_unknown_kind_of_fault_is_refused_at_once(gmail: Simulator) -> None:
    with pytest.raises(ValueError, match="unknown kind of fault 'explode'"):
        gmail.fail_next(kind="explode")  # type: ignore[arg-type]


def test_the_token_endpoint_fails_when_it_is_named(gmail: Simulator, box: Mailbox, client: Client) -> None:
    gmail.fail_next(status=500, reason="backendError")
    gmail.fail_next(method="token", status=503, reason="temporarily_unavailable")

    answer = client.request("POST", "/token", b"grant_type=refresh_token&refresh_token=x")

    assert (answer.status, answer.json["error"]) == (503, "temporarily_unavailable")
    assert client.get("profile").status == 500


def test_mail_can_change_between_the_pages_of_a_listing(gmail: Simulator, box: Mailbox, client: Client) -> None:
    ids = [box.add() for _ in range(4)]
    gmail.before("messages.list", lambda: box.delete(ids[0]), after=1, times=1)

    listed = [item["id"] for item in client.pages("messages", "messages", maxResults=2)]

    assert listed == [ids[3], ids[2], ids[1]]


def test_a_message_can_vanish_between_listing_and_reading(gmail: Simulator, box: Mailbox, client: Client) -> None:
    message_id = box.add()

    def vanish(call: Call) -> None:
        assert (call.method, call.account, call.resource) == ("messages.get", "ada@example.com", message_id)
        box.delete(message_id)

    handle = gmail.before("messages.get", vanish)
    assert client.get("messages").json["messages"][0]["id"] == message_id

    assert client.get(f"messages/{message_id}").status == 404
    assert handle.runs == 1
    handle.remove()
    assert client.get(f"messages/{message_id}").status == 404
    assert handle.runs == 1


def test_a_hook_after_a_call_runs_when_the_answer_is_made(gmail: Simulator, box: Mailbox, client: Client) -> None:
    gmail.after("getProfile", lambda: box.add(), times=1)

    first = client.get("profile").json
    second = client.get("profile").json

    assert (first["messagesTotal"], second["messagesTotal"]) == (0, 1)


def test_a_hook_after_a_call_may_ask_for_what_was_answered(gmail: Simulator, box: Mailbox, client: Client) -> None:
    heard: list[tuple[Call, bytes | None]] = []
    gmail.after(None, lambda call, answer: heard.append((call, answer)))

    answer = client.get("profile")
    gmail.fail_next(kind="truncate")
    with pytest.raises(http.client.HTTPException):
        client.get("profile")
    client = Client(gmail.url, box.token)
    client.get("messages/18f0000000000000")

    assert [call.method for call, _ in heard] == ["getProfile", "getProfile", "messages.get"]
    assert heard[0][1] == answer.data
    assert [body for _, body in heard[1:]] == [None, None]


def test_a_page_holds_no_more_than_the_switch_allows(gmail: Simulator, box: Mailbox, client: Client) -> None:
    gmail.page_limit = 2
    ids = {box.add() for _ in range(5)}

    assert len(client.get("messages", maxResults=500).json["messages"]) == 2
    assert {item["id"] for item in client.pages("messages", "messages", maxResults=500)} == ids


def test_pages_by_offset_repeat_and_skip_when_mail_moves(gmail: Simulator, box: Mailbox, client: Client) -> None:
    gmail.page_by_offset = True
    ids = [box.add() for _ in range(4)]
    gmail.before("messages.list", lambda: box.add(), after=1, times=1)
    assert [item["id"] for item in client.pages("messages", "messages", maxResults=2)][:3] == [ids[3], ids[2], ids[2]]

    gmail.before("messages.list", lambda: box.delete(ids[3]), after=1, times=1)
    skipped = client.pages("messages", "messages", maxResults=2)
    assert ids[2] not in {item["id"] for item in skipped}


def test_list_order_can_be_locally_wrong_without_losing_anything(
    gmail: Simulator, box: Mailbox, client: Client
) -> None:
    box.generate(200)
    straight = [item["id"] for item in client.pages("messages", "messages", includeSpamTrash="true")]
    gmail.list_inversions = True
    crooked = [item["id"] for item in client.pages("messages", "messages", includeSpamTrash="true")]

    assert crooked != straight
    assert sorted(crooked) == sorted(straight)
    assert all(abs(crooked.index(message_id) - at) <= 1 for at, message_id in enumerate(straight))


def test_more_requests_in_flight_than_allowed_are_429(connect: Connect) -> None:
    with Simulator(quota="off", concurrency_limit=3, latency_s=0.3) as gmail:
        box = gmail.add_account("ada@example.com")
        clients = [Client(gmail.url, box.token) for _ in range(5)]
        answers = []
        threads = [threading.Thread(target=lambda c=client: answers.append(c.get("profile"))) for client in clients]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        refused = [answer for answer in answers if answer.status == 429]
        assert len(refused) == 2
        assert refused[0].message == "Too many concurrent requests for user."
        assert refused[0].json["error"]["status"] == "RESOURCE_EXHAUSTED"
        assert clients[0].get("profile").status == 200
        for client in clients:
            client.close()


def test_the_ledger_tells_what_was_asked_and_what_it_cost(gmail: Simulator, box: Mailbox, client: Client) -> None:
    message_id = box.add()
    gmail.reset_ledger()
    client.get("messages", maxResults=5)
    client.get(f"messages/{message_id}", format="raw")
    client.get("messages/00000000000000ff")

    assert (gmail.calls(), gmail.calls("messages.get"), gmail.calls("messages.get", status=404)) == (3, 2, 1)
    assert gmail.units() == gmail.units("ada@example.com") == 45
    served = gmail.requests[1]
    assert (served.method, served.account, served.status, served.units) == ("messages.get", "ada@example.com", 200, 20)
    assert (served.params, served.resource) == ("format=raw", message_id)
    assert [request.reason for request in gmail.requests] == ["", "", "notFound"]
    assert gmail.requests.by_method() == {"messages.list": 1, "messages.get": 2}
    gmail.reset_ledger()
    assert (gmail.calls(), gmail.units(), len(gmail.requests)) == (0, 0, 0)


def test_switches_are_attributes_and_misspelt_ones_are_not(gmail: Simulator) -> None:
    assert gmail.inner_label_ids == "as_of_event"
    gmail.inner_label_ids = "absent"
    assert gmail.world.switches.inner_label_ids == "absent"
    with pytest.raises(AttributeError):
        gmail.inner_labels_ids  # noqa: B018
    with pytest.raises(AttributeError):
        gmail.inner_labels_ids = "absent"
