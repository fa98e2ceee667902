"""Headers of generated messages: correspondents, subjects, threading and the trace headers of delivered mail."""

import random
from base64 import b64encode
from email.header import Header
from email.utils import formataddr
from functools import cache, lru_cache
from time import gmtime

from mail_ingest.simulator.made import vocabulary
from mail_ingest.simulator.made.plan import Kind
from mail_ingest.simulator.mail import ids
from mail_ingest.simulator.mail.table import MessageTable

_PERSONS = 256
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_ODD_SUBJECTS = (
    "Grüße aus München",
    "Отчёт за квартал",
    "会議資料の確認",
    "Réunion de février",
    "项目更新 ✅",
    "🎉 Party!",
)


class People:
    """The correspondents of one account; the same seed gives the same people."""

    def __init__(self, address: str, seed: int) -> None:
        rng = random.Random(seed)
        self.address = address
        self.me = formataddr((address.partition("@")[0].title(), address))
        self.persons = [_person(rng) for _ in range(_PERSONS)]
        self.bulk = [_bulk_sender(rng) for _ in range(64)]
        self.lists = [f"{word}-talk" for word in rng.sample(vocabulary.ENGLISH[40:], 12)]

    def person(self, draw: int) -> str:
        """Some write far more often than others."""
        return self.persons[draw * draw >> 8]


@lru_cache(maxsize=256)
def correspondents(address: str, seed: int) -> People:
    """The same as `People`, made when bytes are asked for: 60 KB and a millisecond for a mailbox."""
    return People(address, seed)


def _person(rng: random.Random) -> str:
    given, family = rng.choice(vocabulary.GIVEN_NAMES), rng.choice(vocabulary.FAMILY_NAMES)
    return _address(given, family, rng.choice(vocabulary.DOMAINS))


@cache
def _address(given: str, family: str, domain: str) -> str:
    """Ten thousand mailboxes have the same few thousand correspondents."""
    local = f"{given}.{family}".encode("ascii", "ignore").decode().lower()
    return formataddr((f"{given} {family}", f"{local}@{domain}"))


def _bulk_sender(rng: random.Random) -> str:
    name, domain = rng.choice(vocabulary.SENDERS_OF_BULK), rng.choice(vocabulary.DOMAINS)
    return formataddr((f"{domain.partition('.')[0].title()} {name}", f"{name.lower()}@mail.{domain}"))


def message_id_header(number: int) -> str:
    """The `Message-ID` of a generated message, from its Gmail id."""
    return f"<{ids.to_hex(number)}.{number % 99991}@mail.example>"


def _date(date_ms: int) -> str:
    at = gmtime(date_ms // 1000)
    return (
        f"{_DAYS[at.tm_wday]}, {at.tm_mday:02d} {_MONTHS[at.tm_mon - 1]} {at.tm_year} "
        f"{at.tm_hour:02d}:{at.tm_min:02d}:{at.tm_sec:02d} +0000"
    )


def _subject(thread_id: int, is_reply: bool) -> str:
    """Belongs to the thread, so that replies repeat it."""
    odd = thread_id % 23
    if odd < len(_ODD_SUBJECTS):
        text = Header(_ODD_SUBJECTS[odd], "utf-8").encode()
    else:
        words = [vocabulary.ENGLISH[40 + (thread_id >> shift) % (len(vocabulary.ENGLISH) - 40)] for shift in (3, 9, 15)]
        text = " ".join(words).capitalize()
    return f"Re: {text}" if is_reply else text


def message_headers(table: MessageTable, slot: int, kind: Kind, people: People, draw: bytes) -> bytes:
    """All headers but the content ones, each line ending in CRLF. `draw` is the message's 32 bytes of chance."""
    number = table.ids[slot]
    date = _date(table.dates[slot])
    parent = table.previous[slot]
    subject = _subject(table.thread_id(slot), parent >= 0)
    lines = []
    if kind is Kind.SENT or kind is Kind.DRAFT:
        sender, recipient = people.me, people.person(draw[20])
    elif kind is Kind.CHAT:
        sender, recipient = people.person(draw[20]), people.me
    else:
        sender = people.bulk[draw[20] % 64] if kind in (Kind.BULK, Kind.SPAM) else people.person(draw[20])
        recipient = people.me
        lines.append(_trace(sender, people.address, date, draw))
    lines.append(f"MIME-Version: 1.0\r\nDate: {date}\r\nMessage-ID: {message_id_header(number)}\r\n")
    if parent >= 0:
        root = message_id_header(table.thread_id(slot))
        above = message_id_header(table.ids[parent])
        references = above if root == above else f"{root}\r\n {above}"
        lines.append(f"In-Reply-To: {above}\r\nReferences: {references}\r\n")
    lines.append(f"Subject: {subject}\r\nFrom: {sender}\r\n")
    if kind is Kind.LIST:
        name = people.lists[draw[21] % len(people.lists)]
        lines.append(
            f"To: {name}@lists.example\r\nCc: {people.me}\r\nList-Id: <{name}.lists.example>\r\n"
            f"List-Post: <mailto:{name}@lists.example>\r\nPrecedence: list\r\nX-Mailman-Version: 2.1.39\r\n"
            f"List-Unsubscribe: <mailto:{name}-leave@lists.example>\r\n"
        )
    else:
        lines.append(f"To: {recipient}\r\n")
        if draw[22] < 40:
            lines.append(f"Cc: {people.person(draw[23])},\r\n {people.person(draw[24])}\r\n")
    if kind in (Kind.BULK, Kind.SPAM):
        lines.append(
            "Precedence: bulk\r\nAuto-Submitted: auto-generated\r\n"
            f"List-Unsubscribe: <https://mail.example/u/{draw[25:31].hex()}>\r\n"
            "List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"
        )
    return "".join(lines).encode()


def _trace(sender: str, address: str, date: str, draw: bytes) -> str:
    """What mail servers on the way added; lengths as in delivered mail, signatures mere noise."""
    mark = draw.hex()
    noise = b64encode(draw + draw[::-1]).decode()
    sender_address = sender.rpartition("<")[2].rstrip(">")
    domain = sender_address.partition("@")[2]
    return (
        f"Delivered-To: {address}\r\n"
        f"Received: by 2002:a05:{mark[:4]}:{mark[4:8]}:b0:2ff:e1a0:58a8 with SMTP id {mark[8:20]}csp{draw[0]}x;\r\n"
        f"        {date}\r\n"
        f"X-Google-Smtp-Source: {noise}\r\n"
        f"X-Received: by 2002:a05:{mark[20:24]}:{mark[24:28]}:b0:7ba:e420:7ffc with SMTP id {mark[28:44]};\r\n"
        f"        {date}\r\n"
        f"ARC-Seal: i=1; a=rsa-sha256; t={mark[:10]}; cv=none;\r\n        d=mx.example; s=arc-20240605;\r\n"
        f"        b={noise}\r\n         {noise}\r\n"
        f"Return-Path: <{sender_address}>\r\n"
        f"Received: from mx.{domain} (mx.{domain}. [192.0.2.{draw[1]}])\r\n"
        f"        by mx.example with ESMTPS id {mark[30:52]}\r\n"
        f"        for <{address}>\r\n        (version=TLS1_3 cipher=TLS_AES_128_GCM_SHA256 bits=128/128);\r\n"
        f"        {date}\r\n"
        f"Received-SPF: pass (mx.example: domain of {sender_address} designates 192.0.2.{draw[1]} as permitted sender)"
        f" client-ip=192.0.2.{draw[1]};\r\n"
        "Authentication-Results: mx.example;\r\n"
        f"       dkim=pass header.i=@{domain} header.s=s1 header.b={mark[:8]};\r\n"
        f"       spf=pass smtp.mailfrom={sender_address};\r\n       dmarc=pass (p=NONE) header.from={domain}\r\n"
        f"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;\r\n        d={domain}; s=s1; t={mark[:10]};\r\n"
        f"        h=to:subject:message-id:date:from:mime-version:from:to:cc:subject;\r\n        bh={noise[:44]};\r\n"
        f"        b={noise}\r\n         {noise}\r\n         {noise}==\r\n"
    )
