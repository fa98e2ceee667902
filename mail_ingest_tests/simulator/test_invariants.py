"""Whatever happens to a mailbox, listings, counts and history agree with the truth."""

import json
from datetime import UTC, datetime
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from mail_ingest.simulator import Mailbox, Simulator
from mail_ingest.simulator.wire.service import Request, Service

LABELS = ("INBOX", "UNREAD", "STARRED", "TRASH", "SPAM", "Label_1", "Label_2")


label_sets = st.sets(st.sampled_from(LABELS), max_size=4)
steps = st.one_of(
    st.tuples(st.just("add"), label_sets, st.integers(0, 9), st.booleans()),
    st.tuples(st.just("relabel"), st.integers(0, 30), label_sets, label_sets),
    st.tuples(st.just("trash"), st.integers(0, 30)),
    st.tuples(st.just("untrash"), st.integers(0, 30)),
    st.tuples(st.just("delete"), st.integers(0, 30)),
    st.tuples(st.just("draft"), st.integers(0, 3)),
    st.tuples(st.just("send")),
    st.tuples(st.just("bulk"), label_sets, label_sets),
)


class Model:
    """A mailbox without a socket: requests go straight to the API."""

    def __init__(self) -> None:
        self.gmail = Simulator(quota="off")
        self.box: Mailbox = self.gmail.add_account("ada@example.com")
        self.box.create_label("one")
        self.box.create_label("two")
        self.service = Service(self.gmail.world)
        self.drafts: list[str] = []

    def get(self, path: str, query: str = "") -> Any:
        headers = {"authorization": f"Bearer {self.box.token}"}
        prepared = self.service.prepare(Request("GET", f"/gmail/v1/users/me/{path}", query, headers))
        assert prepared is not None
        response = self.service.answer(prepared)
        assert response.status == 200, response.body
        return json.loads(response.body)

    def pages(self, path: str, key: str, query: str) -> list[Any]:
        found: list[Any] = []
        token = ""
        while True:
            page = self.get(path, query + token)
            found += page.get(key, [])
            if "nextPageToken" not in page:
                return found
            token = f"&pageToken={page['nextPageToken']}"

    def apply(self, step: Any) -> None:
        box = self.box
        ids = sorted(box.messages())
        match step:
            case ("add", labels, hour, joins):
                thread = box.message(ids[hour % len(ids)]).thread_id if joins and ids else None
                box.add(labels=labels, internal_date=datetime(2024, 1, 1, hour, tzinfo=UTC), thread_id=thread)
            case ("relabel", at, add, remove) if ids:
                box.relabel(ids[at % len(ids)], add=add, remove=remove)
            case ("trash" | "untrash" | "delete" as verb, at) if ids:
                getattr(box, verb)(ids[at % len(ids)])
            case ("draft", at):
                known = [draft for draft in self.drafts if self._is_alive(draft)]
                again = known[at % len(known)] if known and at else None
                draft = box.save_draft(draft=again, to="x@example.org")
                if again is None:
                    self.drafts.append(draft)
            case ("send",):
                alive = [draft for draft in self.drafts if self._is_alive(draft)]
                if alive:
                    box.send_draft(alive[0])
                    self.drafts.remove(alive[0])
            case ("bulk", add, remove):
                box.relabel_many(ids, add=add, remove=remove)

    def _is_alive(self, draft: str) -> bool:
        try:
            self.box.draft_message_id(draft)
        except KeyError:
            return False
        return True


@given(st.lists(steps, max_size=25), st.integers(1, 7))
@settings(max_examples=60, deadline=None)
def test_listings_and_counts_agree_with_the_truth(walk: list[Any], size: int) -> None:
    model = Model()
    for step in walk:
        model.apply(step)
    truth = model.box.messages()

    newest_first = sorted(truth.values(), key=lambda r: (r.internal_date_ms, int(r.message_id, 16)), reverse=True)
    for labels, shows_bins in (((), True), ((), False), (("INBOX",), True), (("UNREAD", "Label_1"), True)):
        flags = f"includeSpamTrash={str(shows_bins).lower()}&maxResults={size}"
        query = "".join(f"labelIds={label}&" for label in labels) + flags
        listed = model.pages("messages", "messages", query)
        expected = [
            r.message_id
            for r in newest_first
            if set(labels) <= r.label_ids and (shows_bins or not {"SPAM", "TRASH"} & r.label_ids)
        ]
        assert [item["id"] for item in listed] == expected

    profile = model.get("profile")
    assert profile["messagesTotal"] == len(truth)
    assert profile["threadsTotal"] == len({r.thread_id for r in truth.values()})
    for label_id in LABELS:
        members = [r for r in truth.values() if label_id in r.label_ids]
        unread = [r for r in members if "UNREAD" in r.label_ids]
        counts = model.get(f"labels/{label_id}")
        assert (counts["messagesTotal"], counts["messagesUnread"]) == (len(members), len(unread))
        assert counts["threadsTotal"] == len({r.thread_id for r in members})
        assert counts["threadsUnread"] == len({r.thread_id for r in unread})
    threads = model.pages("threads", "threads", f"includeSpamTrash=true&maxResults={size}")
    assert len(threads) == profile["threadsTotal"]
    for thread in threads:
        ids = [int(r.history_id) for r in truth.values() if r.thread_id == thread["id"]]
        assert thread["historyId"] == str(max(ids))


@given(st.lists(steps, max_size=12), st.lists(steps, max_size=15), st.integers(1, 5))
@settings(max_examples=60, deadline=None)
def test_replaying_history_from_any_cursor_gives_the_truth(before: list[Any], after: list[Any], size: int) -> None:
    model = Model()
    for step in before:
        model.apply(step)
    state = {message_id: set(record.label_ids) for message_id, record in model.box.messages().items()}
    cursor = model.box.history_id
    for step in after:
        model.apply(step)

    records = model.pages("history", "history", f"startHistoryId={cursor}&maxResults={size}")

    for record in records:
        for entry in record.get("messagesAdded", []):
            state[entry["message"]["id"]] = set(entry["message"].get("labelIds", []))
        for entry in record.get("labelsAdded", []):
            state[entry["message"]["id"]] |= set(entry["labelIds"])
        for entry in record.get("labelsRemoved", []):
            state[entry["message"]["id"]] -= set(entry["labelIds"])
        for entry in record.get("messagesDeleted", []):
            del state[entry["message"]["id"]]
        for key in ("labelsAdded", "labelsRemoved"):
            for entry in record.get(key, []):
                if key == "labelsRemoved" or "labelsRemoved" not in record:
                    assert state[entry["message"]["id"]] == set(entry["message"].get("labelIds", []))
    assert state == {message_id: set(record.label_ids) for message_id, record in model.box.messages().items()}
    ids = [int(record["id"]) for record in records]
    assert ids == sorted(set(ids))
