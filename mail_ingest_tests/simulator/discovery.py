"""The discovery document of the Gmail API as JSON Schema."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import googleapiclient.discovery_cache
import jsonschema

_FORMATS: dict[str, dict[str, Any]] = {
    "uint64": {"type": "string", "pattern": "^[0-9]{1,20}$"},
    "int64": {"type": "string", "pattern": "^-?[0-9]{1,19}$"},
    "byte": {"type": "string", "pattern": "^[A-Za-z0-9_-]*={0,2}$"},
}


@cache
def document() -> dict[str, Any]:
    """The copy that comes with google-api-python-client."""
    folder = Path(googleapiclient.discovery_cache.__file__).parent / "documents"
    parsed: dict[str, Any] = json.loads((folder / "gmail.v1.json").read_text())
    return parsed


@cache
def methods() -> dict[str, dict[str, Any]]:
    """All methods by the name used here: without `gmail.users.`."""
    found = {}

    def collect(resource: dict[str, Any]) -> None:
        for method in resource.get("methods", {}).values():
            found[method["id"].removeprefix("gmail.users.")] = method
        for below in resource.get("resources", {}).values():
            collect(below)

    collect(document())
    return found


@cache
def _validator(schema: str) -> jsonschema.Draft202012Validator:
    definitions = {name: _object(body) for name, body in document()["schemas"].items()}
    return jsonschema.Draft202012Validator({"$ref": f"#/$defs/{schema}", "$defs": definitions})


def _object(body: dict[str, Any]) -> dict[str, Any]:
    properties = {name: _value(value) for name, value in body.get("properties", {}).items()}
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _value(value: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in value:
        return {"$ref": f"#/$defs/{value['$ref']}"}
    if value["type"] == "array":
        return {"type": "array", "items": _value(value["items"]), "minItems": 1}
    if value["type"] == "object":
        return _object(value)
    if value.get("format") in _FORMATS:
        return _FORMATS[value["format"]]
    return {"type": value["type"], **({"enum": value["enum"]} if "enum" in value else {})}


def check_answer(method: str, answer: Any) -> None:
    """Fails unless the answer has the fields and types that the method declares; empty arrays count as wrong."""
    schema = methods()[method].get("response", {}).get("$ref")
    assert schema is not None, f"{method} declares no answer"
    _validator(schema).validate(answer)
