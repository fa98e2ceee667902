"""The deployment's name guards both databases: a process of another one writes to neither, whatever it is told to do."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from mail_ingest.accounts.database import SCHEMA_VERSION, open_database
from mail_ingest.cli.app import app
from mail_ingest.errors import ConfigError
from mail_ingest.ingest import Engine
from mail_ingest.simulator import Mailbox, Simulator
from mail_ingest_tests.accounts.test_migrations import make_version, plain_engine
from mail_ingest_tests.conftest import ADDRESS
from mail_ingest_tests.truth import sync

ADMIN = "admin@example.com"
#: Every command that writes to the control database, the warehouse or the archive.
COMMANDS = {
    "add": ["account", "add", "bob@example.com", "--token-env", "ADA_TOKEN"],
    "pause": ["account", "pause", ADDRESS],
    "resume": ["account", "resume", ADDRESS],
    "set": ["account", "set", ADDRESS, "--group", "sales"],
    "remove": ["account", "remove", ADDRESS, "--keep-data"],
    "erase": ["account", "remove", ADDRESS, "--erase"],
    "discover": ["account", "discover", "--service-account", "key.json", "--admin", ADMIN],
    "rotate": ["key", "rotate"],
    "sync": ["sync"],
    "backfill": ["backfill", "--from", "2024-01", "--to", "2024-02"],
    "list": ["backfill", "--from", "2024-01", "--estimate", "--list"],
    "retry": ["retry"],
    "reparse": ["reparse"],
    "verify": ["verify"],
}
#: Those that open the warehouse.
OF_THE_WAREHOUSE = ("erase", "sync", "backfill", "list", "retry", "reparse", "verify")


@pytest.fixture
def production(
    engine: Engine,
    environment: dict[str, str],
    gmail: Simulator,
    box: Mailbox,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Engine]:
    """A home that production has made; this process is another deployment's from then on."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    key = gmail.service_account(["gmail.readonly", "admin.directory.user.readonly"])
    Path("key.json").write_text(json.dumps(key))
    monkeypatch.setenv("MAIL_INGEST_DIRECTORY_URL", gmail.url)
    gmail.directory.add(ADMIN, is_admin=True)
    box.generate(5, seed=2)
    sync(engine)
    engine.close()
    gmail.reset_ledger()
    monkeypatch.setenv("MAIL_INGEST_ENV", "development")
    yield engine


def _refused(arguments: list[str]) -> str:
    with pytest.raises(ConfigError) as refused:
        app(arguments, standalone_mode=False)
    return str(refused.value)


def _contents(home: Path) -> dict[str, str]:
    """Hashes of everything that is kept: databases, keys, archive."""
    kept = [path for path in home.rglob("*") if path.is_file() and path.parent.name != "locks"]
    return {
        str(path.relative_to(home)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in kept
        if not path.name.endswith((".lock", "-shm", "-wal"))
    }


def test_no_command_writes_to_the_control_database_of_another_deployment(
    production: Engine, gmail: Simulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # the warehouse is its own, so that nothing but the control database can refuse
    monkeypatch.setenv("MAIL_INGEST_WAREHOUSE", f"duckdb:///{tmp_path / 'own.duckdb'}")
    before = _contents(production.settings.home)

    for name, arguments in COMMANDS.items():
        said = _refused(arguments)
        assert "the control database belongs to the deployment 'local'" in said, name
        assert "MAIL_INGEST_ENV is 'development'" in said, name

    assert _contents(production.settings.home) == before
    assert gmail.calls() == 0
    assert [account.state for account in production.registry.list()] == ["active"]


def test_no_command_writes_to_the_warehouse_of_another_deployment(
    production: Engine, gmail: Simulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MAIL_INGEST_CONTROL", f"sqlite:///{tmp_path / 'own.sqlite'}")
    app(["account", "add", ADDRESS, "--token-env", "ADA_TOKEN"], standalone_mode=False)
    before = _contents(production.settings.home)

    for name in OF_THE_WAREHOUSE:
        assert "belongs to the deployment 'local', this process runs as 'development'" in _refused(COMMANDS[name]), name

    assert _contents(production.settings.home) == before
    assert gmail.calls() == 0


def test_a_removed_account_is_not_erased_by_another_deployment(
    production: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its name is forgotten last, after the archive: the refusal must not come then."""
    production.registry.remove(ADDRESS)
    production.registry.close()
    monkeypatch.setenv("MAIL_INGEST_WAREHOUSE", f"duckdb:///{tmp_path / 'own.duckdb'}")
    packs = production.archive.packs(ADDRESS)

    assert "the control database belongs to" in _refused(COMMANDS["erase"])

    assert packs
    assert production.archive.packs(ADDRESS) == packs


def test_an_older_control_database_is_brought_forward_by_its_own_deployment_alone(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'control.sqlite'}"
    make_version(url, "0003")
    older = plain_engine(url)
    with older.begin() as connection:
        connection.execute(text("insert into deployment (id, name, named_at) values (1, 'production', '2026-01-01')"))
    older.dispose()

    with pytest.raises(
        ConfigError, match="belongs to the deployment 'production', and MAIL_INGEST_ENV is 'development'"
    ):
        open_database(url, "development")

    again = open_database(url, "production")
    with again.connect() as connection:
        assert connection.execute(text("select version_num from control_version")).scalar() == SCHEMA_VERSION
    again.dispose()


@pytest.mark.warehouses("postgres")
def test_a_postgres_warehouse_is_guarded_as_well(
    production: Engine, gmail: Simulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MAIL_INGEST_CONTROL", f"sqlite:///{tmp_path / 'own.sqlite'}")
    app(["account", "add", ADDRESS, "--token-env", "ADA_TOKEN"], standalone_mode=False)

    for name in ("sync", "erase"):
        assert "belongs to the deployment 'local', this process runs as 'development'" in _refused(COMMANDS[name])
    assert gmail.calls() == 0
