"""Answers in another shape than the documented one: fields that come, go, or change their name or kind on demand."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from mail_ingest.simulator.faults import Call

Change = Literal["add", "remove", "rename", "replace", "number", "string", "object", "list"]
CHANGES: tuple[Change, ...] = ("add", "remove", "rename", "replace", "number", "string", "object", "list")


@dataclass(frozen=True, slots=True)
class AnswerChange:
    """One field that is not as documented. See `Simulator.change_answers`."""

    path: str
    change: Change
    to: Any = "added"
    account: str | None = None
    message_id: str | None = None

    def __post_init__(self) -> None:
        if self.change not in CHANGES:
            raise ValueError(f"unknown change {self.change!r}: one of {', '.join(CHANGES)}")

    def apply(self, call: Call, answer: dict[str, Any]) -> None:
        """Changes the field, in place, wherever the answer has what it stands in."""
        if self.account not in (None, call.account) or self.message_id not in (None, call.resource):
            return
        if not self.path.startswith(f"{call.method}."):
            return
        *above, name = self.path.removeprefix(f"{call.method}.").split(".")
        for holder in _holders(answer, above):
            self._apply(holder, name)

    def _apply(self, holder: dict[str, Any], name: str) -> None:
        if self.change == "add":
            holder[name] = self.to
        if name not in holder:
            return
        match self.change:
            case "remove":
                del holder[name]
            case "rename":
                holder[str(self.to)] = holder.pop(name)
            case "replace":
                holder[name] = self.to
            case "number":
                holder[name] = int(holder[name])
            case "string":
                holder[name] = str(holder[name])
            case "object":
                holder[name] = {"value": holder[name]}
            case "list":
                holder[name] = [holder[name]]


def _holders(value: Any, above: list[str]) -> Iterator[dict[str, Any]]:
    """The objects below these names; lists are gone through element by element."""
    if isinstance(value, list):
        for item in value:
            yield from _holders(item, above)
    elif isinstance(value, dict):
        if not above:
            yield value
        elif above[0] in value:
            yield from _holders(value[above[0]], above[1:])
