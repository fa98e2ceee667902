"""The page on threats is true: every stop names a test, and every test that it names is there."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest

from mail_ingest_tests import supply_chain
from mail_ingest_tests.fuzz.drawn import breaks_at, minimised
from mail_ingest_tests.fuzz.seeds import seeds
from mail_ingest_tests.fuzz.targets import TARGETS

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "threats.md").read_text()
NAMED = set(re.findall(r"`(test_\w+)`", PAGE))


#: Marks of tests that are not run wherever the others are.
_NOT_RUN = re.compile(r"pytest\.mark\.(?:long|browser|skip|xfail)\b")
#: What says nothing about what a stop is about.
_COMMON = {
    "the",
    "and",
    "for",
    "not",
    "are",
    "who",
    "all",
    "any",
    "one",
    "its",
    "nor",
    "with",
    "than",
    "that",
    "what",
    "they",
    "from",
}


def _tests() -> dict[str, list[ast.FunctionDef]]:
    """The tests that the page names, by name."""
    found: dict[str, list[ast.FunctionDef]] = {}
    for path in (ROOT / "mail_ingest_tests").rglob("test_*.py"):
        source = path.read_text()
        if NAMED.isdisjoint(re.findall(r"^def (test_\w+)", source, re.MULTILINE)):
            continue
        for node in ast.parse(source).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                found.setdefault(node.name, []).append(node)
    return found


def _asserts(test: ast.FunctionDef) -> bool:
    """Whether a test can fail by what it finds: it asserts, expects an error, or calls what asserts by its name."""
    for node in ast.walk(test):
        called = node.func if isinstance(node, ast.Call) else None
        name = called.attr if isinstance(called, ast.Attribute) else called.id if isinstance(called, ast.Name) else ""
        if isinstance(node, ast.Assert) or name == "raises" or name.startswith("assert_"):
            return True
    return False


def test_every_test_on_the_page_is_there_once_is_run_with_the_others_and_can_fail() -> None:
    there = _tests()

    assert len(NAMED) > 40
    assert NAMED - there.keys() == set()
    assert [name for name in NAMED if len(there[name]) > 1] == [], "nobody knows which of them is meant"
    tests = [there[name][0] for name in NAMED]
    assert [test.name for test in tests if any(_NOT_RUN.search(ast.unparse(by)) for by in test.decorator_list)] == []
    # the machine asserts, not the test that draws what it does
    drawn = {"test_any_sequence_of_changes_troubles_and_deaths_converges"}
    assert {test.name for test in tests if not _asserts(test)} == drawn


def _words(text: str) -> set[str]:
    return {word.rstrip("s") for word in re.findall(r"[a-z]{3,}", text.lower().replace("_", " "))} - _COMMON


def test_every_stop_has_a_word_in_common_with_the_name_of_a_test() -> None:
    """A test that is about something else does not pass for it."""
    strangers = []
    for stop, tests in re.findall(r"^\| ([^|]+) \| ([^|]*`test_[^|]*) \|$", PAGE, re.MULTILINE):
        told = _words(stop)
        if told.isdisjoint(_words(" ".join(re.findall(r"`test_(\w+)`", tests)))):
            strangers.append(stop)

    assert strangers == []


def test_every_stop_names_a_test_and_every_attacker_what_is_left() -> None:
    stops = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| stops")]
    assert len(stops) > 25
    assert [line for line in stops if "`test_" not in line.rpartition(" | ")[2] and "`test_" not in line] == []
    attackers = re.findall(r"^## (?!What the product)(.+)\n((?:(?!^## ).*\n)+)", PAGE, re.MULTILINE)
    assert len(attackers) == 6
    assert [name for name, text in attackers if "*Has*" not in text or "**Not stopped.**" not in text] == []


def test_make_targets_on_the_page_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make (\w+)`", PAGE)) <= targets


@pytest.mark.parametrize("target", TARGETS)
def test_what_fuzzing_begins_with_breaks_nothing(target: str) -> None:
    given = list(seeds(target))

    assert sum(map(len, given)) < 20_000
    assert [data for data in given if breaks_at(TARGETS[target], data)] == []


def test_what_breaks_a_target_is_made_small() -> None:
    def run(data: bytes) -> None:
        if b"a" in data and b"b" in data.partition(b"a")[2]:
            raise ValueError

    assert minimised(run, b"x" * 300 + b"a" + b"y" * 300 + b"b" + b"z" * 99) == b"ab"


def test_the_audit_finds_what_is_not_pinned_and_strange_licences(monkeypatch: pytest.MonkeyPatch) -> None:
    found = supply_chain.installed()
    pinned = supply_chain.pins((ROOT / "constraints.txt").read_text())
    assert supply_chain.differences({**pinned, "dlt": "0.1"}, found)[0].endswith("constraints.txt names 0.1")
    del pinned["duckdb"]
    assert any("duckdb" in line and "does not name it" in line for line in supply_chain.differences(pinned, found))
    monkeypatch.setattr(supply_chain, "license_of", lambda _: "GPL-3.0-only")
    assert len(supply_chain.strange_licenses(found)) > 100


def test_packages_that_nobody_was_asked_about_do_not_pass_for_sound() -> None:
    skipped = {"name": "a", "skip_reason": "not found"}
    broken = {"name": "b", "version": "1", "vulns": [{"id": "CVE-1", "fix_versions": ["2"]}]}
    sound = {"name": "c", "version": "1", "vulns": []}

    for answer in ("", "{}", json.dumps({"dependencies": [skipped]})):
        assert supply_chain.advisories(answer)[0].startswith("pip-audit: NOT REACHED")
    told, found = supply_chain.advisories(json.dumps({"dependencies": [skipped, broken, sound]}))
    assert "asked about 2 of 3 pins" in told
    assert found == ["b 1: CVE-1, mended in 2"]


def test_a_bill_of_materials_holds_no_place_of_this_machine() -> None:
    document = {"components": [{"name": "x", "externalReferences": [{"url": "file:///home/x"}, {"url": "https://x"}]}]}

    assert supply_chain.without_places(document) == {
        "components": [{"name": "x", "externalReferences": [{"url": "https://x"}]}]
    }
