from collections.abc import Iterator

import pytest

from mail_ingest.simulator import Mailbox, Simulator
from mail_ingest_tests.simulator.client import Client


@pytest.fixture
def gmail() -> Iterator[Simulator]:
    with Simulator(quota="off") as simulator:
        yield simulator


@pytest.fixture
def box(gmail: Simulator) -> Mailbox:
    return gmail.add_account("ada@example.com")


@pytest.fixture
def client(gmail: Simulator, box: Mailbox) -> Client:
    return Client(gmail.url, box.token)
