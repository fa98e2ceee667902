"""HTTP as it comes: kept connections, broken answers, compression, certificates."""

import gzip
import ipaddress
import json
import os
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mail_ingest.errors import ServerError
from mail_ingest.gmail.service import service
from mail_ingest.gmail.transport import NetworkError, Transport
from mail_ingest_tests.gmail.stage import Answer, Clock, Seen, Tokens, Wire, in_turn, make_client


@pytest.fixture
def transport() -> Iterator[Transport]:
    transport = Transport(read_timeout_s=5)
    yield transport
    transport.close()


def test_connection_is_kept_for_the_next_request(transport: Transport) -> None:
    with Wire(in_turn(Answer(200, b"one"))) as wire:
        for _ in range(5):
            assert transport.request(wire.url + "/a?b=c")[1] == b"one"

    assert len({seen.connection for seen in wire.seen}) == 1
    assert wire.seen[0].path == "/a?b=c"


def test_threads_use_connections_of_their_own(transport: Transport) -> None:
    together = threading.Barrier(4, timeout=5)

    def script(seen: Seen) -> Answer:
        together.wait()
        return Answer(200, seen.path.encode())

    with Wire(script) as wire, ThreadPoolExecutor(4) as pool:
        paths = [f"/{number}" for number in range(4)]
        bodies = list(pool.map(lambda path: transport.request(wire.url + path)[1], paths))

    assert bodies == [path.encode() for path in paths]
    assert len({seen.connection for seen in wire.seen}) == 4


def test_connection_that_the_server_dropped_meanwhile_is_replaced_unseen(transport: Transport) -> None:
    with Wire(in_turn(Answer(200, b"first"), None, Answer(200, b"second"))) as wire:
        transport.request(wire.url + "/")

        assert transport.request(wire.url + "/")[1] == b"second"


def test_new_connection_that_is_dropped_is_a_network_error(transport: Transport) -> None:
    with Wire(in_turn(None)) as wire, pytest.raises(NetworkError, match="closed without an answer"):
        transport.request(wire.url + "/")


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, b"half", announced=8, cut=True),
        Answer(200, b"x" * 1_500_000, announced=2_000_000, cut=True),
        Answer(200, [b"chunk"], chunked=True, cut=True),
        Answer(200, gzip.compress(b"x" * 1_000)[:-9], {"content-encoding": "gzip"}),
        Answer(200, [gzip.compress(b"x" * 1_000)[:-9]], {"content-encoding": "gzip"}, chunked=True),
        Answer(200, b"not gzip at all", {"content-encoding": "gzip"}),
    ],
)
def test_body_that_is_cut_off_is_never_handed_out(transport: Transport, answer: Answer) -> None:
    with Wire(in_turn(answer)) as wire, pytest.raises(NetworkError, match="cut off"):
        transport.request(wire.url + "/")


@pytest.mark.parametrize("size", [0, 1, 999_999, 1_000_001, 3_000_000])
@pytest.mark.parametrize("chunked", [True, False])
@pytest.mark.parametrize("compressed", [True, False])
def test_body_of_any_size_arrives_whole(transport: Transport, size: int, chunked: bool, compressed: bool) -> None:
    content = os.urandom(size)
    sent = gzip.compress(content, 1) if compressed else content
    headers = {"content-encoding": "gzip"} if compressed else {}
    pieces = [sent[start : start + 300_000] for start in range(0, len(sent), 300_000)]

    with Wire(in_turn(Answer(200, pieces if chunked else sent, headers, chunked=chunked))) as wire:
        response, body = transport.request(wire.url + "/")

    assert body == content
    assert response.wire_bytes == len(sent)


def test_error_text_holds_nothing_of_the_exchange(transport: Transport) -> None:
    with Wire(in_turn(Answer(200, b"Subject: private", announced=99, cut=True))) as wire:
        with pytest.raises(NetworkError) as caught:
            transport.request(wire.url + "/", headers={"authorization": "Bearer secret"})

    assert "private" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_many_idle_connections_are_not_kept(transport: Transport) -> None:
    small = Transport(max_connections=2)
    together = threading.Barrier(5, timeout=5)

    def script(_: Seen) -> Answer:
        together.wait()
        return Answer(200, b"")

    with Wire(script) as wire, ThreadPoolExecutor(5) as pool:
        list(pool.map(lambda _: small.request(wire.url + "/"), range(5)))
        first = {seen.connection for seen in wire.seen}
        list(pool.map(lambda _: small.request(wire.url + "/"), range(5)))

    assert len(first) == 5
    assert len({seen.connection for seen in wire.seen[5:]} & first) <= 2
    small.close()


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate that no authority has signed, for 127.0.0.1, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    cert = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert_file.write_bytes(cert.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return cert_file, key_file


def test_unknown_certificate_is_refused_without_asking_again(certificate: tuple[Path, Path]) -> None:
    clock = Clock()
    with Wire(in_turn(Answer(200, b"{}")), certificate) as wire:
        with pytest.raises(ServerError, match="certificate"):
            make_client(wire.url, Tokens("t"), clock).get_profile()

    assert wire.seen == []
    assert clock.naps == []


def test_known_certificate_is_accepted(certificate: tuple[Path, Path]) -> None:
    trusting = Transport(tls=ssl.create_default_context(cafile=str(certificate[0])))

    with Wire(in_turn(Answer(200, b"over TLS")), certificate) as wire:
        for _ in range(3):
            assert trusting.request(wire.url + "/")[1] == b"over TLS"

    assert len({seen.connection for seen in wire.seen}) == 1
    trusting.close()


def test_gzip_is_asked_for_except_on_this_machine() -> None:
    """Gmail compresses only for a user agent that says gzip as well."""
    far = service("https://gmail.example.com").users.getProfile(userId="me").headers  # type: ignore[attr-defined]
    near = service("http://127.0.0.1:1").users.getProfile(userId="me").headers  # type: ignore[attr-defined]

    assert far["accept-encoding"] == "gzip"
    assert "gzip" in far["user-agent"]
    assert "accept-encoding" not in near
    assert "gzip" not in near["user-agent"]


def test_compressed_answers_of_gmail_are_understood(transport: Transport) -> None:
    profile = {"emailAddress": "ada@example.com", "messagesTotal": 1, "threadsTotal": 1, "historyId": "7"}
    body = gzip.compress(json.dumps(profile).encode())
    with Wire(in_turn(Answer(200, body, {"content-encoding": "gzip"}))) as wire:
        client = make_client(wire.url, Tokens("t"), Clock(), transport=transport)

        assert client.get_profile().history_id == 7


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("chunked", [True, False])
def test_body_larger_than_any_message_is_given_up(compressed: bool, chunked: bool) -> None:
    small = Transport(largest_body=2_000_000)
    body = gzip.compress(bytes(90_000_000)) if compressed else bytes(2_000_001)
    headers = {"content-encoding": "gzip"} if compressed else {}

    with Wire(in_turn(Answer(200, [body] if chunked else body, headers, chunked=chunked))) as wire:
        with pytest.raises(NetworkError, match="too large"):
            small.request(wire.url + "/")
