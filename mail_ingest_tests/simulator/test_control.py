"""The simulator as a process of its own, handled over HTTP."""

import base64
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from mail_ingest.simulator import Mailbox, Simulator
from mail_ingest.simulator.__main__ import main as run_from_arguments
from mail_ingest.simulator.wire.control_verbs import VERBS
from mail_ingest_tests.simulator.client import Client

BOX = "/simulator/accounts/ada@example.com"


@pytest.fixture
def control(gmail: Simulator) -> Iterator[Client]:
    client = Client(gmail.url, None)
    yield client
    client.close()


def call(control: Client, verb: str, **arguments: Any) -> Any:
    answer = control.request("POST", f"{BOX}/{verb}", arguments)
    assert answer.status == 200, answer.data
    return answer.json["result"]


def lines(control: Client, path: str) -> list[Any]:
    return [json.loads(line) for line in control.request("GET", path).data.splitlines()]


def test_the_help_lists_every_endpoint_and_verb(control: Client) -> None:
    told = control.request("GET", "/simulator").json

    assert "GET /simulator/cpu" in told
    assert all(verb in " ".join(told.values()) for verb in VERBS)
    assert all(callable(getattr(Mailbox, verb)) for verb in VERBS)


def test_verbs_change_the_mailbox_and_the_truth_tells(box: Mailbox, control: Client) -> None:
    label = call(control, "create_label", name="Clients/Acme")
    message_id = call(
        control,
        "add",
        subject="Hi",
        labels=["INBOX", label],
        internal_date="2024-03-01T00:00:00+00:00",
        attachments=[["a.txt", "text/plain", base64.b64encode(b"data").decode()]],
    )
    other = call(control, "add", raw=base64.b64encode(b"Subject: raw\r\n\r\nx").decode())
    call(control, "relabel", message_id=message_id, add=["STARRED"], remove=["INBOX"])
    call(control, "trash", message_id=message_id)
    call(control, "delete", message_id=other)
    draft = call(control, "save_draft", body="not yet")

    assert lines(control, f"{BOX}/messages")[0] == {
        "id": message_id,
        "threadId": message_id,
        "labelIds": sorted([label, "STARRED", "TRASH"]),
        "historyId": str(box.message(message_id).history_id),
        "internalDate": "1709251200000",
    }
    assert lines(control, f"{BOX}/deleted") == [other]
    assert {item["id"] for item in control.request("GET", f"{BOX}/labels").json} == set(box.labels())
    assert control.request("GET", f"{BOX}/raw/{message_id}").data == box.raw(message_id)
    assert call(control, "draft_message_id", draft=draft) in box.messages()
    assert control.request("GET", BOX).json["history_id"] == str(box.history_id)


def test_a_large_truth_comes_as_a_stream_of_lines(box: Mailbox, control: Client) -> None:
    assert call(control, "generate", count=5_000, seed=3) == {"messages": 5_000}

    told = lines(control, f"{BOX}/messages")

    assert {(m["id"], m["threadId"], frozenset(m["labelIds"])) for m in told} == {
        (r.message_id, r.thread_id, r.label_ids) for r in box.messages().values()
    }


def test_wrong_requests_say_what_is_wrong(box: Mailbox, control: Client) -> None:
    for verb, path, body, status, text in [
        ("POST", f"{BOX}/explode", {}, 404, "no verb explode"),
        ("POST", f"{BOX}/add", {"subjekt": "x"}, 400, "unexpected keyword argument 'subjekt'"),
        ("POST", f"{BOX}/delete", {"message_id": "00000000000000ff"}, 400, "no message 00000000000000ff"),
        ("POST", "/simulator/accounts/bob@example.com/add", {}, 404, "no account bob@example.com"),
        ("GET", f"{BOX}/secrets", None, 404, "an account has no secrets"),
        ("GET", "/simulator/nothing", None, 404, "nothing answers GET /simulator/nothing"),
        ("POST", "/simulator/faults", {"kind": "explode"}, 400, "unknown kind of fault"),
        ("PATCH", "/simulator/switches", {"nope": 1}, 400, "no switch nope"),
        ("PATCH", "/simulator/settings", {"nope": 1}, 400, "no setting nope"),
        ("POST", "/simulator/accounts", {"address": "ada@example.com"}, 400, "exists already"),
    ]:
        answer = control.request(verb, path, body)
        assert answer.status == status, path
        assert text in answer.json["error"]


def test_faults_hooks_switches_and_the_ledger_are_reachable(box: Mailbox, client: Client, control: Client) -> None:
    message_id = box.add()
    control.request("POST", "/simulator/faults", {"status": 503, "reason": "backendError", "method": "getProfile"})
    control.request(
        "POST",
        "/simulator/hooks",
        {
            "method": "messages.get",
            "account": "ada@example.com",
            "verb": "delete",
            "arguments": {"message_id": message_id},
        },
    )
    switches = control.request(
        "PATCH", "/simulator/switches", {"inner_label_ids": "absent", "extra_labels": ["X"]}
    ).json
    settings = control.request("PATCH", "/simulator/settings", {"latency_s": 0.01}).json

    assert [client.get("profile").status, client.get("profile").status] == [503, 200]
    assert client.get(f"messages/{message_id}").status == 404
    assert (switches["inner_label_ids"], switches["extra_labels"]) == ("absent", ["X"])
    assert settings["latency_s"] == 0.01
    served = control.request("GET", "/simulator/requests").json
    assert (served["calls"], served["units"]) == (3, 21)
    assert served["by_status"] == {"503": 1, "200": 1, "404": 1}
    assert [request["method"] for request in lines(control, "/simulator/requests/log")] == [
        "getProfile",
        "getProfile",
        "messages.get",
    ]
    control.request("DELETE", "/simulator/requests")
    assert control.request("GET", "/simulator/requests").json["calls"] == 0
    control.request("POST", "/simulator/faults", {"kind": "html503", "times": 9})
    control.request("DELETE", "/simulator/faults")
    assert client.get("profile").status == 200


def test_accounts_clock_notifications_and_key_files(box: Mailbox, client: Client, control: Client) -> None:
    bob = control.request("POST", "/simulator/accounts", {"address": "bob@example.com"}).json
    client.token = bob["token"]
    assert client.get("profile").json["emailAddress"] == "bob@example.com"
    client.post("watch", {"topicName": "projects/p/topics/t"})
    assert control.request("GET", "/simulator/notifications").json[0]["topic"] == "projects/p/topics/t"

    lifetime = call(control, "issue_token", lifetime_s=60)
    client.token = lifetime
    assert client.get("profile").status == 200
    control.request("POST", "/simulator/clock", {"advance_s": 61})
    assert client.get("profile").status == 401

    key = control.request("POST", "/simulator/service-accounts", {"subjects": ["bob@example.com"]}).json
    assert key["type"] == "service_account"
    assert key["token_uri"].endswith("/token")
    assert call(control, "authorized_user")["token_uri"] == key["token_uri"]


def test_the_workspace_is_kept_over_http(gmail: Simulator, control: Client) -> None:
    for address in ("ada@example.com", "bob@example.com"):
        control.request("POST", "/simulator/users", {"address": address, "org_unit": "/Sales", "is_suspended": True})
    assert control.request("DELETE", "/simulator/users/bob@example.com").status == 200
    version = control.request("POST", "/simulator/secrets", {"name": "projects/p/secrets/s", "data": "hidden"}).json

    [told] = control.request("GET", "/simulator/users").json
    assert (told["address"], told["org_unit"], told["is_suspended"]) == ("ada@example.com", "/Sales", True)
    assert version == {"name": "projects/p/secrets/s/versions/1"}
    assert gmail.secrets.find("projects/p/secrets/s").versions == [b"hidden"]  # type: ignore[union-attr]
    assert control.request("GET", "/simulator/oauth-client").json == gmail.oauth_client()


def test_the_process_announces_itself_serves_and_stops_on_a_signal() -> None:
    command = [sys.executable, "-m", "mail_ingest.simulator", "--port", "0", "--json", "--messages", "300"]
    command += ["--account", "ada@example.com", "--account", "bob@example.com", "--quota", "off", "--switch"]
    command += ["inner_label_ids=absent"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) as process:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        first, second = told["accounts"]
        client = Client(told["url"], second["token"])
        profile = client.get("profile").json
        cpu = client.request("GET", "/simulator/cpu").json
        switches = client.request("GET", "/simulator/switches").json
        client.close()
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=10)

    assert (first["address"], first["messages"]) == ("ada@example.com", 300)
    assert (profile["emailAddress"], profile["messagesTotal"]) == ("bob@example.com", 300)
    assert 0 < cpu["cpu_s"] < 60
    assert switches["inner_label_ids"] == "absent"
    assert time.monotonic() - began < 5


def test_the_text_announcement_shows_url_tokens_and_help(monkeypatch: pytest.MonkeyPatch) -> None:
    from mail_ingest.simulator import main

    told: list[str] = []
    monkeypatch.setattr("mail_ingest.simulator.wire.server.Server.serve", lambda server: server.stop())

    main.run(port=0, messages=0, mailboxes=2, out=told.append)

    assert told[0].startswith("Gmail simulator at http://127.0.0.1:")
    assert [line.split()[0] for line in told[1:4]] == [
        "ada@example.com",
        "user0001@example.com",
        "user0002@example.com",
    ]
    assert "token ya29." in told[1]
    assert told[-1].startswith("Control endpoints: http://127.0.0.1:")
    with pytest.raises(ValueError, match="unknown switch 'nope'"):
        main.run(port=0, switches={"nope": 1})
    with pytest.raises(SystemExit):
        run_from_arguments(["--quota", "unlimited"])
