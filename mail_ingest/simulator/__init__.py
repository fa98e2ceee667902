"""A local Gmail: a faithful Gmail REST API v1 on a loopback port, for tests, benchmarks and for building on Gmail.

    with Simulator() as gmail:
        box = gmail.add_account("ada@example.com")
        box.generate(1_000, seed=7)
        ...                                  # point a client at gmail.url with the bearer token box.token

It shares no code with the client that is tested against it. docs/simulator.md has the whole picture.
"""

from mail_ingest.simulator.faults import Call, Fault
from mail_ingest.simulator.ledger import ServedRequest
from mail_ingest.simulator.mail.mailbox import Mailbox
from mail_ingest.simulator.mail.truth import MessageRecord
from mail_ingest.simulator.push import Notification
from mail_ingest.simulator.quota import QuotaProfile
from mail_ingest.simulator.simulator import Simulator

__all__ = ["Call", "Fault", "Mailbox", "MessageRecord", "Notification", "QuotaProfile", "ServedRequest", "Simulator"]
