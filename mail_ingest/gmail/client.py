"""Gmail, read only, for one account: profile, labels, ids, messages and history as values of `models`.

Beside reads it has Gmail publish a mailbox's changes, and stop that; neither touches any mail.
"""

from __future__ import annotations

import functools
import random
import time
from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from typing import TypeVar

from mail_ingest.errors import ConfigError, GmailError, HistoryExpiredError, MessageGoneError, ServerError
from mail_ingest.gmail import answers
from mail_ingest.gmail.calls import Call, Caller, Patience
from mail_ingest.gmail.contract import PAGE_SIZE
from mail_ingest.gmail.fetching import fetch_all
from mail_ingest.gmail.findings import Findings
from mail_ingest.gmail.governor import QuotaGovernor
from mail_ingest.gmail.models import HistoryPage, IdPage, Label, MessageState, Profile, RawMessage, Watch
from mail_ingest.gmail.service import USER_AGENT, Service, service
from mail_ingest.gmail.transport import Admit, TokenSource, Transport
from mail_ingest.settings import GMAIL_URL, is_loopback

Page = TypeVar("Page", IdPage, HistoryPage)

EMPTY_PAGES_IN_A_ROW = 100
"""Pages without content but with a next one have been seen one after the other; so many are no accident."""

MOST_PAGES = 200_000
"""Pages of one listing: a hundred million messages, more than any mailbox holds."""

_WAITING_BYTES = 32_000_000


class GmailClient:
    """Reads one mailbox. Building it opens nothing; its methods may be called from many threads.

    Every method raises GmailError as `errors` describes it, after the retries that the refusal deserves.
    Clients of the same account share the governor's pace and its bound on calls in flight. `before_call` is called before
    every request, in the thread that makes it; what it raises ends the work.
    """

    def __init__(
        self,
        account_id: str,
        *,
        token: TokenSource,
        governor: QuotaGovernor,
        transport: Transport,
        url: str = GMAIL_URL,
        user_agent: str = USER_AGENT,
        max_in_flight: int = 10,
        patience: Patience = Patience(),  # noqa: B008  frozen
        before_call: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
        rand: Callable[[], float] = random.random,
    ) -> None:
        if governor.profile.is_off and not is_loopback(url):
            raise ConfigError(f"MAIL_INGEST_QUOTA=off is for loopback addresses only, and Gmail is {url}")
        self.account_id = account_id
        self.findings = Findings(account_id)
        """What differed in the answers so far from what `contract` knows."""
        self._url = url.rstrip("/")
        self._user_agent = user_agent
        self._max_in_flight = max_in_flight
        self._caller = Caller(
            account_id,
            token=token,
            url=self._url,
            governor=governor,
            transport=transport,
            findings=self.findings,
            max_in_flight=max_in_flight,
            patience=patience,
            before_call=before_call,
            clock=clock,
            sleep=sleep,
            rand=rand,
        )

    def get_profile(self) -> Profile:
        """Whose mailbox it is, how much is in it, and its newest history id."""
        return self._caller.run(Call("getProfile"), self._service.users.getProfile(userId="me"), answers.profile)

    def watch(self, topic: str) -> Watch:
        """Has Gmail publish every change of the mailbox to a Pub/Sub topic from now on, and once at once; renews what is so
        already.

        A mailbox has one topic for each Google project: while there is another one Gmail refuses.
        """
        request = self._service.users.watch(userId="me", body={"topicName": topic})
        return self._caller.run(Call("watch"), request, answers.watch)

    def stop_watch(self) -> None:
        """Ends that. Notifications may come for some minutes still; where there was no watch nothing happens."""
        self._caller.run(Call("stop"), self._service.users.stop(userId="me"), answers.nothing)

    def list_labels(self) -> list[Label]:
        """All labels, without counts."""
        return self._caller.run(Call("labels.list"), self._service.labels.list(userId="me"), answers.labels)

    def get_label(self, label_id: str) -> Label:
        """One label with its counts."""
        request = self._service.labels.get(userId="me", id=_id(label_id))
        return self._caller.run(Call("labels.get", label_id), request, answers.label)

    def list_messages(
        self,
        label_id: str | None = None,
        query: str | None = None,
        page_token: str | None = None,
        page_size: int = PAGE_SIZE,
    ) -> IdPage:
        """One page of ids, spam and trash included.

        `query` is in Gmail's search syntax; a page token belongs to the query that it came from.
        """
        request = self._service.messages.list(
            userId="me",
            labelIds=None if label_id is None else [label_id],
            q=query,
            pageToken=page_token,
            maxResults=page_size,
            includeSpamTrash=True,
        )
        return self._caller.run(Call("messages.list", label_id or ""), request, answers.id_page)

    def iter_message_ids(
        self, label_id: str | None = None, query: str | None = None, page_size: int = PAGE_SIZE
    ) -> Iterator[IdPage]:
        """All pages of a listing, one at a time. Ids may repeat: while the mailbox changes, and if it starts over.

        It starts over, once, when Gmail does not know its own page token any more: their life is undocumented.
        """
        return self._pages(functools.partial(self.list_messages, label_id, query, page_size=page_size))

    def get_message_state(self, message_id: str) -> MessageState:
        """Ids, labels and history id of one message, at the price of the whole. MessageGoneError if deleted."""
        request = self._service.messages.get(userId="me", id=_id(message_id), format="minimal")
        read = functools.partial(answers.message_state, message_id=message_id)
        return self._caller.run(Call("messages.get", message_id, MessageGoneError, "it was deleted"), request, read)

    def get_raw_message(self, message_id: str) -> RawMessage:
        """One message with every byte of it. MessageGoneError if deleted."""
        return self._get_raw(message_id, None)

    def get_raw_messages(
        self, message_ids: Iterable[str], *, patience: Patience | None = None
    ) -> Iterator[tuple[str, RawMessage | GmailError]]:
        """Many messages, fetched side by side and handed out as they complete; each call with `patience`, if given.

        What concerns one message (gone, unreadable, failing after all retries) comes as its result; what concerns the
        account is raised, after everything under way was handed out. No more than about 32 MB of finished mail waits
        for the consumer.
        """
        get = functools.partial(self._get_raw, patience=patience)
        return fetch_all(message_ids, get, threads=self._max_in_flight, max_waiting_bytes=_WAITING_BYTES)

    def get_header_message(self, message_id: str) -> RawMessage:
        """One message's headers, at the price of the whole; its `raw` is their block. MessageGoneError if deleted."""
        return self._get_headers(message_id, None)

    def get_header_messages(
        self, message_ids: Iterable[str], *, patience: Patience | None = None
    ) -> Iterator[tuple[str, RawMessage | GmailError]]:
        """Many messages' headers, as `get_raw_messages` gives messages."""
        get = functools.partial(self._get_headers, patience=patience)
        return fetch_all(message_ids, get, threads=self._max_in_flight, max_waiting_bytes=_WAITING_BYTES)

    def list_history(self, start_history_id: int, page_token: str | None = None) -> HistoryPage:
        """One page of what changed after `start_history_id`. HistoryExpiredError where Gmail no longer knows."""
        request = self._service.history.list(
            userId="me", startHistoryId=str(start_history_id), pageToken=page_token, maxResults=PAGE_SIZE
        )
        call = Call("history.list", str(start_history_id), HistoryExpiredError, "Gmail keeps no history since then")
        return self._caller.run(call, request, answers.history_page)

    def iter_history(self, start_history_id: int) -> Iterator[HistoryPage]:
        """All pages of what changed after `start_history_id`; empty ones too, and from the start again as with ids."""
        return self._pages(functools.partial(self.list_history, start_history_id))

    def _get_raw(self, message_id: str, admit: Admit | None, patience: Patience | None = None) -> RawMessage:
        request = self._service.get_raw(_id(message_id))
        read = functools.partial(answers.raw_message, message_id=message_id)
        call = Call("messages.get", message_id, MessageGoneError, "it was deleted")
        return self._caller.run(call, request, read, admit, patience)

    def _get_headers(self, message_id: str, admit: Admit | None, patience: Patience | None = None) -> RawMessage:
        request = self._service.get_headers(_id(message_id))
        read = functools.partial(answers.header_message, message_id=message_id)
        call = Call("messages.get", message_id, MessageGoneError, "it was deleted")
        return self._caller.run(call, request, read, admit, patience)

    def _pages(self, fetch: Callable[..., Page]) -> Iterator[Page]:
        """Follows page tokens; raises ServerError where they lead in a circle, or on and on through nothing new.

        A token may be new and its page an old one: a page counts as empty where it begins and ends as one before it did.
        Memory: two hashes a page.
        """
        token: str | None = None
        seen: set[int] = set()
        empty = 0
        started_over = False
        while True:
            try:
                page = fetch(page_token=token)
            except GmailError as error:
                if error.status != HTTPStatus.BAD_REQUEST or token is None or started_over:
                    raise
                token, empty, started_over = None, 0, True
                seen.clear()
                continue
            yield page
            token = page.next_page_token
            if token is None:
                return
            items = page.refs if isinstance(page, IdPage) else page.records
            content = hash((items[0], items[-1], len(items))) if items else 0
            empty = empty + 1 if not items or content in seen else 0
            if hash(token) in seen or empty >= EMPTY_PAGES_IN_A_ROW or len(seen) >= 2 * MOST_PAGES:
                raise ServerError(
                    f"paging for {self.account_id} does not come to an end; try again later",
                    account_id=self.account_id,
                    reason="endlessPages",
                )
            seen.update((content, hash(token)))

    @property
    def _service(self) -> Service:
        return service(self._url, self._user_agent)


def _id(value: str) -> str:
    """An id that goes into a path; an empty one would turn `get` into `list`."""
    if not value:
        raise ValueError("an empty id names nothing")
    return value
