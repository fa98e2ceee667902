"""The wheel holds all that is needed: installed into an empty environment it runs from any folder."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile
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

    sql = {str(path.relative_to(ROOT)) for path in (ROOT / "sql").rglob("*.sql")}
    assert {f"mail_ingest/{name}" for name in sql} <= set(names)
    assert any("migrations/versions/" in name for name in names)
    assert not any(name.startswith("mail_ingest_tests/") for name in names)


@pytest.mark.timeout(600)
def test_the_installed_wheel_syncs_from_any_folder(
    wheel: Path, box: Mailbox, environment: dict[str, str], tmp_path: Path
) -> None:
    box.generate(5, seed=1)
    venv.create(tmp_path / "empty", with_pip=True)
    python = tmp_path / "empty" / "bin" / "python"
    installed = _run(python, "-m", "pip", "install", "--quiet", "--constraint", ROOT / "constraints.txt", wheel)
    assert installed.returncode == 0, installed.stderr
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    variables = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    variables |= {**environment, "ADA_TOKEN": box.token}
    command = tmp_path / "empty" / "bin" / "mail-ingest"

    for arguments in (["--version"], ["account", "add", ADDRESS, "--token-env", "ADA_TOKEN"], ["sync"], ["verify"]):
        done = _run(command, *arguments, cwd=folder, env=variables)
        assert done.returncode == 0, done.stderr

    code = "import mail_ingest, mail_ingest.definitions; print(mail_ingest.__file__)"
    imported = _run(python, "-c", code, cwd=folder, env=variables)
    assert imported.returncode == 0, imported.stderr
    assert str(tmp_path / "empty") in imported.stdout
