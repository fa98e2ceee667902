from collections.abc import Iterator

import pytest

from mail_ingest.gmail import GmailClient
from mail_ingest.simulator import Mailbox, Simulator
from mail_ingest_tests.gmail.contacts import Contacts, watched
from mail_ingest_tests.gmail.stage import ADA, Clock, Tokens, make_client, opened


@pytest.fixture(autouse=True)
def _connections_are_closed() -> Iterator[None]:
    yield
    while opened:
        opened.pop().close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def gmail(clock: Clock) -> Iterator[Simulator]:
    with Simulator(quota="off", clock=clock) as simulator:
        yield simulator


@pytest.fixture
def box(gmail: Simulator) -> Mailbox:
    return gmail.add_account(ADA)


@pytest.fixture
def client(gmail: Simulator, box: Mailbox, clock: Clock) -> GmailClient:
    return make_client(gmail.url, Tokens(box.token), clock)


@pytest.fixture
def contacts() -> Iterator[Contacts]:
    with watched() as seen:
        yield seen
