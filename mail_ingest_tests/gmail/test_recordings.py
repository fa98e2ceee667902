"""Answers of the real API, as others recorded and reported them: all of them are understood.

The recordings are not part of the repository; where they are missing nothing is run.
"""

import gzip
import json
from collections.abc import Callable
from typing import Any

from mail_ingest.gmail import answers
from mail_ingest.gmail.contract import Notice
from mail_ingest.gmail.refusals import Remedy, classify
from mail_ingest_tests.gmail.stage import EPOCH
from mail_ingest_tests.simulator.shared_data import shared_data

USERS = "/gmail/v1/users/me/"


def recordings() -> list[tuple[str, dict[str, Any]]]:
    lines = gzip.decompress(shared_data("gmail", "api", "recordings.jsonl.gz").read_bytes()).splitlines()
    docs = [json.loads(line) for line in lines]
    return [(doc["request"]["path"].removeprefix(USERS), doc["response"]) for doc in docs if doc["status"] == 200]


def test_every_recorded_answer_is_understood_and_as_the_contract_says() -> None:
    noticed: list[str] = []
    readers: dict[str, Callable[[Any, Notice], Any]] = {
        "profile": answers.profile,
        "labels": answers.labels,
        "messages": answers.id_page,
        "history": answers.history_page,
    }
    read = {"state": 0} | dict.fromkeys(readers, 0)

    for path, response in recordings():
        if path in readers:
            assert readers[path](response, noticed.extend)
            read[path] += 1
        elif path.startswith("messages/") and path.count("/") == 1:
            state = answers.message_state(response, noticed.extend, path.removeprefix("messages/"))
            assert state.label_ids == set(response.get("labelIds", []))
            assert state.history_id == int(response["historyId"])
            read["state"] += 1

    assert noticed == []
    assert min(read.values()) >= 1, read
    assert read["state"] >= 40


def test_recorded_history_loses_no_message() -> None:
    for path, response in recordings():
        if path == "history":
            page = answers.history_page(response, list[str]().extend)
            told = {change.message_id for record in page.records for change in record.changes}
            mentioned = {message_id for record in page.records for message_id in record.message_ids}
            named = {message["id"] for record in response["history"] for message in record["messages"]}
            assert named <= told | mentioned
            assert not any(set(record.message_ids) & {c.message_id for c in record.changes} for record in page.records)


def test_every_observed_error_has_a_remedy_that_fits() -> None:
    remedies = {
        "too old": Remedy.GONE,
        "without startHistoryId": Remedy.GIVE_UP,
        "per-user queries quota": Remedy.WAIT_FOR_WINDOW,
        "resource exhausted": Remedy.WAIT_FOR_WINDOW,
        "too many concurrent": Remedy.FEWER_AT_ONCE,
        "instant to wait for": Remedy.WAIT_UNTIL,
        "older 403": Remedy.WAIT_FOR_WINDOW,
        "bad or expired access token": Remedy.REFRESH_TOKEN,
        "account has no Gmail": Remedy.PARK,
        "backend unavailable": Remedy.REPEAT,
        "gone or not yet there": Remedy.GONE,
    }
    met = set()

    for case in json.loads(shared_data("gmail", "api", "errors-observed.json").read_text())["errors"]:
        key = next((key for key in remedies if key in case["case"]), None)
        if key is None:
            continue
        met.add(key)
        body = case.get("body") or {"error": {"code": case["status"], "message": case["message"]}}
        assert classify(case["status"], {}, json.dumps(body).encode(), now=EPOCH).remedy is remedies[key], case["case"]

    assert met == set(remedies)
