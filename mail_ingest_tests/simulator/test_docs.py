"""docs/simulator.md says what is true."""

import dataclasses
import re
from pathlib import Path

import pytest

from mail_ingest.simulator.faults import KINDS
from mail_ingest.simulator.switches import Switches
from mail_ingest.simulator.wire.control import HELP
from mail_ingest.simulator.wire.control_verbs import VERBS

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "simulator.md").read_text()


@pytest.mark.parametrize("example", re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
def test_every_python_example_runs(example: str) -> None:
    exec(compile(example, "docs/simulator.md", "exec"), {})


def test_every_switch_is_described_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| `?([\w ]+)`? \|", PAGE, re.MULTILINE))
    words = {True: "on", False: "off"}

    for field in dataclasses.fields(Switches):
        default = getattr(Switches(), field.name)
        said = words[default] if isinstance(default, bool) else "empty" if default == set() else str(default)
        assert rows[field.name] == said, field.name


def test_every_verb_fault_and_control_endpoint_is_named() -> None:
    for verb in VERBS:
        assert f"box.{verb}" in PAGE, verb
    for kind in KINDS:
        assert f"`{kind}`" in PAGE
    for endpoint in HELP:
        path = endpoint.split()[-1].replace("ADDRESS/deleted", "ADDRESS/messages")
        assert path.partition("/ADDRESS/")[0] in PAGE, endpoint


def test_links_inside_the_page_lead_somewhere() -> None:
    headings = {
        re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")
        for title in re.findall(r"^## (.*)$", PAGE, re.MULTILINE)
    }

    assert set(re.findall(r"\]\(#([\w-]+)\)", PAGE)) <= headings
