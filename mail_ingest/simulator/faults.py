"""Things that go wrong on demand, and hooks that run around a request."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

FaultKind = Literal["error", "drop", "truncate", "slow", "html503", "timeout"]
KINDS: tuple[FaultKind, ...] = ("error", "drop", "truncate", "slow", "html503", "timeout")


OUTSIDE_THE_API = ("batch", "token", "directory.users.list", "secrets.access")
"""Endpoints outside the Gmail API, which only faults naming them concern."""


@dataclass(frozen=True, slots=True)
class Call:
    """A request as hooks and faults see it."""

    method: str
    """`messages.get`, `history.list`, ... or one of `OUTSIDE_THE_API`."""
    account: str
    params: str
    resource: str
    """The id in the path."""


@dataclass(slots=True)
class Fault:
    """One planned failure. See `Simulator.fail_next`."""

    kind: FaultKind = "error"
    status: int = 429
    reason: str = "rateLimitExceeded"
    message: str | None = None
    method: str | None = None
    account: str | None = None
    message_id: str | None = None
    times: int = 1
    after: int = 0
    retry_after: datetime | None = None
    retry_after_header: int | None = None
    window_start: bool = False
    seconds: float = 1.0
    served: int = 0
    """How often it has struck."""

    def matches(self, call: Call) -> bool:
        if self.method is None and call.method in OUTSIDE_THE_API:
            return False
        return (
            self.method in (None, call.method)
            and self.account in (None, call.account)
            and self.message_id in (None, call.resource)
        )


Hook = Callable[..., Any]


@dataclass(slots=True)
class HookHandle:
    """A registered hook; `remove` ends it."""

    hook: Hook
    method: str | None
    account: str | None
    times: int | None
    after: int
    _registry: list["HookHandle"]
    runs: int = 0

    def remove(self) -> None:
        if self in self._registry:
            self._registry.remove(self)

    def matches(self, call: Call) -> bool:
        return self.method in (None, call.method) and self.account in (None, call.account)

    def run(self, call: Call, answer: bytes | None = None) -> None:
        """Calls the function with as much as it takes: nothing, the call, or the call and the body of the answer."""
        self.runs += 1
        taken = len(inspect.signature(self.hook).parameters)
        self.hook(*(call, answer)[:taken])


@dataclass(slots=True)
class Disturbances:
    """Planned faults and hooks of one server. Callers hold the simulator's lock."""

    faults: list[Fault] = field(default_factory=list)
    before: list[HookHandle] = field(default_factory=list)
    after: list[HookHandle] = field(default_factory=list)

    def take_fault(self, call: Call) -> Fault | None:
        """The first fault planned for this call; counts down `after` and `times` of all that match."""
        for fault in self.faults:
            if not fault.matches(call):
                continue
            if fault.after > 0:
                fault.after -= 1
                continue
            fault.served += 1
            fault.times -= 1
            if fault.times == 0:
                self.faults.remove(fault)
            return fault
        return None

    def take_hooks(self, hooks: list[HookHandle], call: Call) -> list[HookHandle]:
        """The hooks due for this call, in order of registration."""
        due = []
        for handle in list(hooks):
            if not handle.matches(call):
                continue
            if handle.after > 0:
                handle.after -= 1
                continue
            due.append(handle)
            if handle.times is not None:
                handle.times -= 1
                if handle.times == 0:
                    hooks.remove(handle)
        return due
