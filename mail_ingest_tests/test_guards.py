"""The command that takes guards out still finds each of them, and the tests that should notice."""

from __future__ import annotations

import ast

import pytest

from mail_ingest_tests.guards import GUARDS, ROOT, Guard, without


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name)
def test_every_guard_stands_where_it_is_said_to_stand(guard: Guard) -> None:
    changed = without(guard, (ROOT / guard.path).read_text())

    if guard.path.endswith(".py"):
        ast.parse(changed)
    for test in guard.tests:
        path, _, name = test.partition("::")
        name = name.partition("[")[0]
        assert f"def {name}(" in (ROOT / "mail_ingest_tests" / path).read_text() or not name
