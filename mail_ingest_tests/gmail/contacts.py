"""Watches whom Python's sockets resolve and connect to, whichever library asks."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

Contacts = set[tuple[str, Any]]

_watchers: list[Contacts] = []


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.connect":
        for watcher in _watchers:
            watcher.add(("connect", arguments[1]))
    elif event in {"socket.getaddrinfo", "socket.gethostbyname"}:
        for watcher in _watchers:
            watcher.add(("resolve", arguments[0]))


sys.addaudithook(_watch)


@contextmanager
def watched() -> Iterator[Contacts]:
    """("resolve", host) and ("connect", address) of everything that happens inside."""
    seen: Contacts = set()
    _watchers.append(seen)
    try:
        yield seen
    finally:
        _watchers.remove(seen)
