"""One mailbox as tests and other programs handle it: verbs that change it, and the truth about what is in it."""

import random
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from threading import RLock

from mail_ingest.simulator.grants import Grants
from mail_ingest.simulator.made.bodies import GeneratedMail
from mail_ingest.simulator.made.loading import load
from mail_ingest.simulator.made.plan import arriving, make_plan
from mail_ingest.simulator.mail import bulk, ids
from mail_ingest.simulator.mail.access import Access
from mail_ingest.simulator.mail.compose import DEFAULT_SENDER, compose
from mail_ingest.simulator.mail.drafts import Drafts
from mail_ingest.simulator.mail.history import Change, ChangeKind
from mail_ingest.simulator.mail.label_verbs import LabelVerbs
from mail_ingest.simulator.mail.labels import LabelSets
from mail_ingest.simulator.mail.snippets import Snippets
from mail_ingest.simulator.mail.state import MailboxState
from mail_ingest.simulator.mail.table import live_sample
from mail_ingest.simulator.mail.truth import Truth
from mail_ingest.simulator.push import Published, Push
from mail_ingest.simulator.switches import Switches

BIN_LIFETIME_S = 30 * 86_400


class Mailbox(Truth, Access):
    """A Gmail account of the simulator. Every verb is atomic and may be called from any thread.

    Verbs that change something write history records, except `generate` and the loaders: what they bring counts as
    older than the history that is kept.
    """

    def __init__(self, address: str, *, lock: RLock, clock: Callable[[], float], switches: Switches,
                 label_sets: LabelSets, grants: Grants, token_uri: Callable[[], str],
                 published: Published) -> None:  # fmt: skip
        Truth.__init__(self, address, lock, MailboxState(clock, random.Random(address), label_sets))
        Access.__init__(self, address, lock, grants, token_uri)
        self.drafts = Drafts(self.state)
        self.snippets = Snippets(self.state)
        self.label_verbs = LabelVerbs(self.state, switches)
        self.push = Push(address, clock, published)
        self.push.duplicates = lambda: switches.duplicate_notifications
        self.state.on_record = self._notify
        self._clock = clock
        self._switches = switches
        self._seed = 1  # of generated mail

    def __repr__(self) -> str:
        return f"Mailbox({self.address!r}, {self.state.table.live_messages} messages)"

    # filling

    def generate(
        self,
        count: int,
        *,
        seed: int = 1,
        labels_per_message: float = 3,
        user_labels: int = 20,
        messages_per_thread: float = 2,
        mean_size_bytes: int = 20_000,
        start: str | datetime = "2021-01-01",
        end: str | datetime = "2026-01-01",
    ) -> list[str]:
        """Adds `count` messages that look like some years of mail and returns their ids, oldest first.

        Bodies are made on demand, the same ones for the same seed; nothing but about 50 bytes a message is kept.
        `labels_per_message` is a mean and counts system labels too.
        """
        with self.lock:
            state = self.state
            label_ids = self.label_verbs.ensure_generated(user_labels)
            plan = make_plan(
                count,
                seed=seed,
                start_ms=_epoch_ms(start),
                end_ms=_epoch_ms(end),
                user_labels=label_ids,
                labels_per_message=labels_per_message,
                messages_per_thread=messages_per_thread,
                number_of_set=state.sets.number,
            )
            self._seed = seed
            source = GeneratedMail(state.table, len(state.table), plan.kinds, self.address, seed, mean_size_bytes)
            first = state.insert_run(plan.ids, plan.thread_ids, plan.dates, plan.label_sets, source)
            self.drafts.adopt(first)
            return [ids.to_hex(number) for number in plan.ids]

    def receive(self, count: int, *, seed: int = 1, mean_size_bytes: int = 20_000) -> list[str]:
        """`count` generated messages arrive now, with a history record each; returns their ids in the order of arrival.

        About half of them answer messages that are there. Bodies are made on demand, as those of `generate`.
        """
        with self.lock:
            state, rng = self.state, random.Random(seed)
            answered = live_sample(state.table, count, rng)
            kinds, label_sets = arriving(count, rng)
            first = len(state.table)
            # written by the correspondents that the mailbox has
            source = GeneratedMail(state.table, first, kinds, self.address, self._seed, mean_size_bytes)
            state.contents.put_run(first, source)
            date_ms = int(self._clock() * 1000)
            received = []
            for number, labels in enumerate(label_sets):
                joins = number < len(answered) and rng.random() < 0.5
                thread_id = state.table.thread_id(answered[number]) if joins else None
                received.append(self.arrive(state.insert(date_ms, labels, None, thread_id)))
            return received

    def load(self, path: str | Path, *, labels: Iterable[str] = ("INBOX",), limit: int | None = None) -> list[str]:
        """Adds the mail of a folder, a tar archive, an mbox or a Takeout export; returns the ids in ascending order.

        A Takeout export brings its own ids, threads and labels; other mail gets `labels`, and threads from its
        References. Line ends become CRLF. The bytes lie in a temporary file, not in memory.
        """
        with self.lock:
            first = len(self.state.table)
            numbers = load(self.state, Path(path), labels, limit, self.label_verbs.id_of)
            self.drafts.adopt(first)
            return [ids.to_hex(number) for number in numbers]

    def add(
        self,
        *,
        subject: str = "Hello",
        sender: str = DEFAULT_SENDER,
        to: str | Sequence[str] | None = None,
        body: str = "Hello\n",
        html: str | None = None,
        cc: str | None = None,
        attachments: Sequence[tuple[str, str, bytes]] = (),
        labels: Iterable[str] = ("INBOX", "UNREAD"),
        thread_id: str | None = None,
        internal_date: datetime | None = None,
        raw: bytes | None = None,
        imported: bool = False,
        message_id: str | None = None,
    ) -> str:
        """A message arrives; returns its id. Attachments are (file name, MIME type, bytes).

        With `internal_date` it arrived then, and its id says so too; with `imported` it arrives now and only its
        internal date is old. `raw` gives the bytes as they are; `message_id` forces the
        Gmail id.
        """
        with self.lock:
            now_ms = int(self._clock() * 1000)
            date_ms = now_ms if internal_date is None else _epoch_ms(internal_date)
            if raw is None:
                raw = compose(
                    sender=sender, to=to or self.address, subject=subject, body=body, html=html, cc=cc,
                    attachments=attachments, date_ms=date_ms,
                    message_id=f"<{self.state.rng.getrandbits(96):024x}@mail.example>",
                )  # fmt: skip
            thread = None if thread_id is None else self._number(thread_id)
            if message_id is not None:
                change = self.state.insert_known(self._number(message_id), date_ms, labels, raw, thread)
            else:
                arrival_ms = now_ms if imported else None
                change = self.state.insert(date_ms, labels, raw, thread, arrival_ms)
            return self.arrive(change)

    # changing

    def relabel(self, message_id: str, *, add: Iterable[str] = (), remove: Iterable[str] = ()) -> None:
        self.relabel_many([message_id], add=add, remove=remove)

    def relabel_many(self, message_ids: Iterable[str], *, add: Iterable[str] = (), remove: Iterable[str] = ()) -> None:
        """Adds and removes labels; ids that no label has are kept as they are, as Gmail does at times."""
        with self.lock:
            bulk.relabel(self.state, self._slots(message_ids), add, remove)

    def trash(self, message_id: str) -> None:
        with self.lock:
            bulk.trash(self.state, self._slots([message_id]))

    def untrash(self, message_id: str) -> None:
        with self.lock:
            bulk.untrash(self.state, self._slots([message_id]))

    def delete(self, message_id: str) -> None:
        """Deletes a message for good."""
        self.delete_many([message_id])

    def delete_many(self, message_ids: Iterable[str]) -> None:
        with self.lock:
            bulk.delete(self.state, self._slots(message_ids))

    def empty_trash(self) -> list[str]:
        """Deletes what is in the trash for good and returns the ids."""
        return self._purge(("TRASH",), None)

    def purge(self) -> list[str]:
        """What Gmail does by itself: trash and spam that came or were last changed 30 days ago go for good."""
        return self._purge(("TRASH", "SPAM"), self._clock() - BIN_LIFETIME_S)

    def create_label(self, name: str) -> str:
        with self.lock:
            return self.label_verbs.create(name).id

    def rename_label(self, label_id: str, name: str) -> None:
        with self.lock:
            self.label_verbs.rename(label_id, name)

    def delete_label(self, label_id: str) -> None:
        """Takes the label away, also from all its messages."""
        with self.lock:
            self.label_verbs.delete(label_id)

    def save_draft(self, *, body: str = "Draft\n", subject: str = "Draft", to: str = "", draft: str | None = None,
                   thread_id: str | None = None) -> str:  # fmt: skip
        """Writes a new draft, or saves one again; returns the draft id. Every save replaces the message inside."""
        with self.lock:
            date_ms = int(self._clock() * 1000)
            raw = compose(
                sender=self.address, to=to, subject=subject, body=body, date_ms=date_ms,
                message_id=f"<{self.state.rng.getrandbits(96):024x}@mail.example>",
            )  # fmt: skip
            if draft is not None:
                return self.drafts.save(draft, raw, date_ms)
            return self.drafts.create(raw, date_ms, None if thread_id is None else self._number(thread_id))

    def send_draft(self, draft: str) -> str:
        """Sends a draft: its message goes, a new one with SENT comes; returns the new message's id."""
        with self.lock:
            return self._hex(self.drafts.send(draft, int(self._clock() * 1000)))

    def delete_draft(self, draft: str) -> None:
        with self.lock:
            self.drafts.delete(draft)

    def draft_message_id(self, draft: str) -> str:
        with self.lock:
            return self._hex(self.drafts.slot(draft))

    def expire_history(self, before: int | str | None = None) -> None:
        """Cursors smaller than `before` no longer work; None: no cursor does that was handed out until now."""
        with self.lock:
            self.state.history.expire(None if before is None else int(before))

    # inside

    def arrive(self, change: Change) -> str:
        """Writes the history of a message that was just added, and returns its id."""
        self.state.record([change])
        if self._switches.bare_records:
            for _ in range(2):
                self.state.record([Change(ChangeKind.TOUCHED, change.slot, change.label_set)])
        return self._hex(change.slot)

    def _notify(self, changes: Sequence[Change]) -> None:
        sets = self.state.sets
        self.push.changed(self.state.history.current, (sets[change.label_set] for change in changes))

    def _purge(self, bins: Sequence[str], older_than_s: float | None) -> list[str]:
        with self.lock:
            members = [slot for label_id in bins for slot in self.state.members_of(label_id).order]
            slots = [slot for slot in members if older_than_s is None or self._binned_at_s(slot) < older_than_s]
            gone = [self._hex(slot) for slot in slots]
            bulk.delete(self.state, slots)
            return gone

    def _binned_at_s(self, slot: int) -> float:
        """When the message was last changed, as far as the history still knows, else when it arrived."""
        history, wanted = self.state.history, self.state.table.history[slot]
        at = history.after(wanted) - 1
        if at >= 0 and history.records[at].id == wanted:
            return history.records[at].at_s
        return self.state.table.dates[slot] / 1000


def _epoch_ms(moment: str | datetime) -> int:
    parsed = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    return int((parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp() * 1000)
