"""Pub/Sub for tests: our server, and Google's own emulator where a machine has it. Needs what the extra `push` installs."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc

from mail_ingest.simulator.pubsub import Publisher

TOPIC = "projects/p/topics/gmail"
SUBSCRIPTION = "projects/p/subscriptions/gmail"

_GOOGLES = Path("/usr/lib/google-cloud-sdk/platform/pubsub-emulator/bin/cloud-pubsub-emulator")
HAS_GOOGLES = _GOOGLES.exists() and shutil.which("java") is not None


@contextmanager
def googles_emulator() -> Iterator[str]:
    """Google's own, on a free port; its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [str(_GOOGLES), "--host=127.0.0.1", f"--port={port}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "JAVA_OPTS": "-Xmx256m"},
        start_new_session=True,
    )
    try:
        host = f"127.0.0.1:{port}"
        with grpc.insecure_channel(host) as channel:
            grpc.channel_ready_future(channel).result(timeout=60)
        yield host
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def create(host: str) -> None:
    """A topic and a subscription of it, by the real client."""
    from google.pubsub_v1 import PublisherClient, SubscriberClient
    from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
    from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

    with grpc.insecure_channel(host) as channel:
        PublisherClient(transport=PublisherGrpcTransport(channel=channel)).create_topic(name=TOPIC)
        SubscriberClient(transport=SubscriberGrpcTransport(channel=channel)).create_subscription(
            name=SUBSCRIPTION, topic=TOPIC, ack_deadline_seconds=10
        )


def publish(host: str, *data: bytes) -> None:
    """Publishes bytes that Gmail would not."""
    from google.pubsub_v1 import types

    publisher = Publisher(host)
    publisher.client.publish(topic=TOPIC, messages=[types.PubsubMessage(data=one) for one in data], retry=None)


def until(holds: Callable[[], bool], seconds: float = 10.0) -> None:
    """Waits until something holds, which other threads bring about."""
    give_up_at = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < give_up_at, "it never came"
        time.sleep(0.01)
