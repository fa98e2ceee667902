"""The wheel holds all that is needed: installed into an empty environment it runs from any folder."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
import venv
import zipfile
from collections.abc import Iterable
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from mail_ingest.simulator import Mailbox
from mail_ingest_tests.conftest import ADDRESS

ROOT = Path(__file__).parent.parent


def _run(*command: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload,no-any-return]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    done = _run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, ROOT)
    if done.returncode and "No matching distribution" in done.stderr:
        pytest.skip("no package index can be reached to build the wheel")
    assert done.returncode == 0, done.stderr
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_sql_and_migrations_and_no_tests(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    [entries] = [name for name in names if name.endswith("/entry_points.txt")]

    sql = {str(path.relative_to(ROOT)) for path in (ROOT / "sql").rglob("*.sql")}
    assert {f"mail_ingest/{name}" for name in sql} <= set(names)
    assert any("migrations/versions/" in name for name in names)
    assert not any(name.startswith("mail_ingest_tests/") for name in names)
    assert "mail-ingest = mail_ingest.cli:main" in zipfile.ZipFile(wheel).read(entries).decode()


def test_every_import_is_of_a_declared_dependency() -> None:
    """What the other packages bring along today, they may leave out tomorrow."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    brings = packages_distributions()
    package = set((ROOT / "mail_ingest").rglob("*.py"))
    # the modules that only deploy/celery/dagster.yaml and its workers name, and those of a deployment that is pushed
    of_celery = set((ROOT / "mail_ingest" / "defs").glob("celery*.py"))
    of_push = {ROOT / "mail_ingest" / "accounts" / "subscription.py", ROOT / "mail_ingest" / "simulator" / "pubsub.py"}
    assert of_celery | of_push <= package

    for paths, extra in ((package - of_celery - of_push, ""), (of_celery, "celery"), (of_push, "push")):
        lines = project["dependencies"] + project["optional-dependencies"].get(extra, [])
        declared = {_normalized(re.split(r"[^A-Za-z0-9._-]", line)[0]) for line in lines}
        undeclared = {
            name: sorted(brings.get(name, ()))
            for name in _imported(paths)
            if not {_normalized(found) for found in brings.get(name, ())} & declared
        }

        assert undeclared == {}


@pytest.mark.early
def test_the_wheel_alone_syncs_from_any_folder(
    wheel: Path, box: Mailbox, environment: dict[str, str], tmp_path: Path
) -> None:
    box.generate(5, seed=1)
    folder = tmp_path / "unpacked"
    zipfile.ZipFile(wheel).extractall(folder)
    _syncs([sys.executable, "-m", "mail_ingest.cli"], box, {**environment, "PYTHONPATH": str(folder)}, tmp_path)

    _imports_from(folder, [sys.executable], {**os.environ, "PYTHONPATH": str(folder)}, tmp_path)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_the_installed_wheel_syncs_from_any_folder(
    wheel: Path, box: Mailbox, environment: dict[str, str], tmp_path: Path
) -> None:
    box.generate(5, seed=1)
    folder = tmp_path / "empty"
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    installed = _run(python, "-m", "pip", "install", "--quiet", "--constraint", ROOT / "constraints.txt", wheel)
    assert installed.returncode == 0, installed.stderr
    _syncs([str(folder / "bin" / "mail-ingest")], box, environment, tmp_path)

    variables = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    _imports_from(folder, [str(python)], variables, tmp_path)


def _imported(paths: Iterable[Path]) -> set[str]:
    """Top-level modules that files import, but the package's own and the standard library's."""
    found = set()
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                found.add((node.module or "").partition(".")[0])
    return found - sys.stdlib_module_names - {"mail_ingest"}


def _normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _syncs(command: list[str], box: Mailbox, environment: dict[str, str], tmp_path: Path) -> None:
    variables = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    variables |= {**environment, "ADA_TOKEN": box.token}
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for arguments in (["--version"], ["account", "add", ADDRESS, "--token-env", "ADA_TOKEN"], ["sync"], ["verify"]):
        done = _run(*command, *arguments, cwd=elsewhere, env=variables)
        assert done.returncode == 0, done.stderr


def _imports_from(folder: Path, python: list[str], variables: dict[str, str], tmp_path: Path) -> None:
    code = "import mail_ingest, mail_ingest.definitions; print(mail_ingest.__file__)"
    imported = _run(*python, "-c", code, cwd=tmp_path, env=variables)
    assert imported.returncode == 0, imported.stderr
    assert imported.stdout.startswith(str(folder))
