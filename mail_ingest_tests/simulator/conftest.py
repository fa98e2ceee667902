from collections.abc import Callable, Iterator

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
def connect(gmail: Simulator) -> Iterator[Callable[[str | None], Client]]:
    """Makes clients for tokens; they are closed after the test."""
    clients: list[Client] = []

    def make(token: str | None) -> Client:
        clients.append(Client(gmail.url, token))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def client(connect: Callable[[str | None], Client], box: Mailbox) -> Client:
    return connect(box.token)
