"""Mail of unusual sizes, and memory over many packages."""

from __future__ import annotations

import base64
import gc
import os
from email.message import EmailMessage

import pytest

from mail_ingest.ingest import Engine, content
from mail_ingest.simulator import Mailbox
from mail_ingest_tests.truth import assert_true_to_gmail, sync


def _long_text(size: int) -> bytes:
    """A message whose text is as long as that and cannot be compressed away."""
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "a@example.com", "b@example.com", "A long one"
    message.set_content(base64.encodebytes(os.urandom(size * 3 // 4)).decode())
    return message.as_bytes()


def test_very_long_texts_are_loaded_and_what_comes_after_them_too(engine: Engine, box: Mailbox) -> None:
    for _ in range(40):
        box.add(raw=_long_text(900_000))
    box.add(raw=_long_text(15_000_000))
    sync(engine)
    box.add(subject="A short one")
    run = sync(engine)
    assert run.contents_stored == 1
    assert_true_to_gmail(engine, box)


def test_packages_leave_nothing_behind_in_memory(engine: Engine, box: Mailbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """dlt keeps a record of every setting that it looks up, thousands a load, unless it is told not to."""
    monkeypatch.setattr(content, "PACKAGE_MESSAGES", 5)
    sync(engine)
    objects = []
    for _ in range(3):
        for number in range(10):
            box.add(subject=f"Number {number}")
        sync(engine)
        gc.collect()
        objects.append(len(gc.get_objects()))
    # a package of dlt's records is more than 10,000 objects
    assert objects[2] - objects[1] < 3_000
