"""Query strings, checked against what a method declares, as strictly as Google's front end does."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal
from urllib.parse import parse_qsl

from mail_ingest.simulator.wire import errors

STANDARD_PARAMETERS = frozenset(
    {
        "$.xgafv", "access_token", "alt", "callback", "fields", "key", "oauth_token", "prettyPrint", "quotaUser",
        "uploadType", "upload_protocol", "upload_id",
    }
)  # fmt: skip
"""Accepted by every method (discovery document, `parameters`)."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One query parameter of a method."""

    kind: Literal["string", "uint32", "uint64", "boolean", "enum"] = "string"
    choices: tuple[str, ...] = ()
    repeated: bool = False
    enum_name: str = ""
    """Type name that Google prints when the value is not one of the choices."""


_LIMITS = {"uint32": 1 << 32, "uint64": 1 << 64}


class Params(dict[str, Any]):
    """Checked values by name: text, int, bool, or a list of text. Not to be changed: instances are shared."""

    def text(self, name: str) -> str | None:
        value = self.get(name)
        return value if isinstance(value, str) else None

    def texts(self, name: str) -> list[str]:
        return list(self.get(name, ()))

    def number(self, name: str, default: int) -> int:
        return int(self.get(name, default))

    def flag(self, name: str, default: bool = False) -> bool:
        return bool(self.get(name, default))


@lru_cache(maxsize=8_192)
def parse_query(query: str, declared: "Declared") -> Params:
    """The parameters of one request; raises the 400 that Google sends for unknown names and bad values."""
    values = Params()
    for name, text in parse_qsl(query, keep_blank_values=True):
        spec = declared.by_name.get(name)
        if spec is None:
            if name not in STANDARD_PARAMETERS:
                raise errors.unknown_parameter(name)
            values[name] = text
            continue
        value = _checked(name, spec, text)
        if spec.repeated:
            values.setdefault(name, []).append(value)
        else:
            values[name] = value
    if values.get("alt", "json") not in ("json", "media", "proto"):
        raise errors.bad_value("alt", "type.googleapis.com/google.api.AltType", values["alt"])
    return values


class Declared:
    """Parameters of one method by name; hashable, so that parsed query strings can be kept."""

    __slots__ = ("by_name",)

    def __init__(self, parameters: Mapping[str, Parameter] | Iterable[tuple[str, Parameter]] = ()) -> None:
        self.by_name = dict(parameters)


def _checked(name: str, spec: Parameter, text: str) -> Any:
    if spec.kind == "string":
        return text
    field = _snake(name)
    if spec.kind == "boolean":
        if text.lower() not in ("true", "false", "1", "0", ""):
            raise errors.bad_value(field, "TYPE_BOOL", text)
        return text.lower() in ("true", "1", "")
    if spec.kind == "enum":
        if text.lower() not in {choice.lower() for choice in spec.choices}:
            raise errors.bad_value(field, f"type.googleapis.com/{spec.enum_name}", text)
        return next(choice for choice in spec.choices if choice.lower() == text.lower())
    if not (text.isascii() and text.isdigit() and int(text) < _LIMITS[spec.kind]):
        raise errors.bad_value(field, f"TYPE_{spec.kind.upper()}", text)
    return int(text)


def _snake(name: str) -> str:
    return "".join("_" + letter.lower() if letter.isupper() else letter for letter in name)
