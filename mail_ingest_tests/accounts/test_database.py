import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

import mail_ingest.accounts
from mail_ingest.accounts.database import SCHEMA_VERSION, open_database
from mail_ingest.accounts.tables import metadata
from mail_ingest.errors import ConfigError
from mail_ingest.shared_files import pieces

pytestmark = pytest.mark.first_use

MIGRATIONS = Path(mail_ingest.accounts.__file__).parent / "migrations"


def test_newest_migration_is_the_version_that_the_code_expects() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))

    assert ScriptDirectory.from_config(config).get_heads() == [SCHEMA_VERSION]


def test_migrations_build_the_tables_that_the_code_describes(tmp_path: Path) -> None:
    engine = open_database(f"sqlite:///{tmp_path / 'control.sqlite'}")

    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": "control_version"})
        differences = compare_metadata(context, metadata)
    engine.dispose()

    assert differences == []


def test_database_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "control.sqlite"
    open_database(f"sqlite:///{path}").dispose()
    with sqlite3.connect(path) as connection:
        connection.execute("update control_version set version_num = '9999'")

    with pytest.raises(ConfigError, match="newer version"):
        open_database(f"sqlite:///{path}")

    with sqlite3.connect(path) as connection:
        assert connection.execute("select version_num from control_version").fetchone() == ("9999",)


def test_open_permissions_are_tightened(tmp_path: Path) -> None:
    path = tmp_path / "control.sqlite"
    path.touch(mode=0o644)
    path.chmod(0o644)

    open_database(f"sqlite:///{path}").dispose()

    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_folder_may_hold_percent_signs_and_spaces(tmp_path: Path) -> None:
    path = tmp_path / "100% of it" / "control.sqlite"

    open_database(f"sqlite:///{path}").dispose()

    assert path.exists()


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("nonsense", "no database URL"),
        ("mysql://root:hunter2@localhost/db", "'mysql'; it takes"),
        ("sqlite://", "it takes sqlite:///FILE"),
        ("sqlite:///:memory:", "it takes sqlite:///FILE"),
        ("postgresql://ada:hunter2@127.0.0.1:9/db?connect_timeout=1", "cannot be opened"),
    ],
)
def test_database_that_cannot_be_used_is_named_without_its_password(url: str, why: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_database(url)

    assert why in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_file_that_is_no_database_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "control.sqlite"
    path.write_bytes(b"not a database at all, but long enough to be looked at" * 20)

    with pytest.raises(ConfigError, match="cannot be opened"):
        open_database(f"sqlite:///{path}")

    assert path.read_bytes().startswith(b"not a database")


def test_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(ConfigError, match="cannot be opened"):
        open_database(f"sqlite:///{tmp_path / 'file' / 'control.sqlite'}")


def _read(path: Path) -> None:
    for name in (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")):
        assert b"".join(pieces(name, 1_000)) == b"".join(pieces(name, 7_000))


_TAKE = """
import sqlite3, sys
try:
    print(*sqlite3.connect(sys.argv[1], timeout=0).execute("pragma journal_mode = delete").fetchone())
except sqlite3.OperationalError as error:
    print(error)
"""


@pytest.mark.parametrize("look", [lambda path: open_database(f"sqlite:///{path}").dispose(), _read])
def test_looking_at_the_file_leaves_the_locks_of_others_in_this_process(
    tmp_path: Path, look: Callable[[Path], None]
) -> None:
    """Without them another process takes the log away, and what it does not know of is lost."""
    path = tmp_path / "control.sqlite"
    engine = open_database(f"sqlite:///{path}")
    with engine.connect() as connection:
        connection.exec_driver_sql("select count(*) from accounts").scalar()

    look(path)

    taken = subprocess.run([sys.executable, "-c", _TAKE, str(path)], capture_output=True, text=True, check=True)
    assert taken.stdout == "database is locked\n"
    engine.dispose()
