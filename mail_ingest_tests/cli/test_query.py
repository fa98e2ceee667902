"""`mail-ingest query`: answers beside syncs, in four forms, and what it refuses; the same on DuckDB and Postgres."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from mail_ingest.errors import ConfigError
from mail_ingest.ingest import Engine
from mail_ingest.settings import load_settings
from mail_ingest.simulator import Mailbox, Simulator
from mail_ingest.warehouse import read
from mail_ingest.warehouse.reading import ask
from mail_ingest_tests.cli.conftest import Run
from mail_ingest_tests.conftest import ADDRESS
from mail_ingest_tests.crashes.processes import Gate, Processes, ended
from mail_ingest_tests.in_step import Steps

pytestmark = pytest.mark.warehouses("duckdb", "postgres")

PLANTED = "planted-subject"
_DIES = """
import os, signal, sys, duckdb
connection = duckdb.connect(sys.argv[1])
connection.execute("create table mail.left_behind as select 7 as number")
os.kill(os.getpid(), signal.SIGKILL)
"""
_PEAK = """
import re, sys
from pathlib import Path
from mail_ingest.cli import main
try:
    main()
finally:
    # getrusage would tell of the process that started this one as well
    peak_kb = re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]
    print(int(peak_kb) // 1024, file=sys.stderr)
"""
_HOLDS = """
import sys, time, duckdb
connection = duckdb.connect(sys.argv[1])
print("open", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def query(run: Run) -> Run:
    """Runs `mail-ingest query`."""
    return partial(run, "query")


def _three(box: Mailbox, sync: Callable[[], object]) -> None:
    for number in range(3):
        box.add(
            subject=f"{PLANTED}, {number}",
            sender="Grace <grace@example.org>",
            to=ADDRESS,
            body="Hello\r\n",
            labels=("INBOX", "UNREAD"),
            internal_date=datetime(2026, 1, 1 + number, 12, tzinfo=UTC),
        )
    sync()


@pytest.fixture
def synced(in_step: Callable[[Steps], Engine]) -> Engine:
    """A warehouse with three messages."""
    engine = in_step(_three)
    engine.close()
    return engine


_THREE = (
    "select subject, size_bytes > 0 as has_size, internal_date, received_on, cast(1.5 as numeric(4, 1)) as half, "
    "cast(null as varchar) as nothing from mail.messages order by internal_date"
)


def test_every_form_gives_the_same_rows(query: Run, synced: Engine, tmp_path: Path) -> None:
    as_json = query(_THREE, "--format", "json")
    as_csv = query(_THREE, "--format", "csv")
    as_table = query(_THREE)
    as_parquet = query(_THREE, "--format", "parquet", "--output", "three.parquet")

    for done in (as_json, as_csv, as_table, as_parquet):
        assert (done.returncode, done.stderr) == (0, "")
    rows = json.loads(as_json.stdout)
    assert rows[0] == {
        "subject": f"{PLANTED}, 0",
        "has_size": True,
        "internal_date": "2026-01-01T12:00:00Z",
        "received_on": "2026-01-01",
        "half": 1.5,
        "nothing": None,
    }
    read_back = list(csv.DictReader(io.StringIO(as_csv.stdout)))
    assert read_back[2] == {
        "subject": f"{PLANTED}, 2",
        "has_size": "true",
        "internal_date": "2026-01-03T12:00:00Z",
        "received_on": "2026-01-03",
        "half": "1.5",
        "nothing": "",
    }
    lines = as_table.stdout.splitlines()
    assert lines[0].split() == list(rows[0])
    assert lines[1].split() == [*f"{PLANTED}, 0".split(), "True", "2026-01-01", "12:00:00", "2026-01-01", "1.5"]
    parquet = pq.read_table(tmp_path / "three.parquet").to_pylist()
    assert [row["subject"] for row in parquet] == [row["subject"] for row in rows]
    assert parquet[0]["internal_date"] == datetime(2026, 1, 1, 12, tzinfo=UTC)
    assert sorted(path.name for path in tmp_path.glob("*three*")) == ["three.parquet"]


def test_a_table_ends_after_200_rows_and_says_how_many_are_left(query: Run, synced: Engine) -> None:
    done = query("select day from mail.business_calendar order by day limit 5250")

    assert len(done.stdout.splitlines()) == 202
    assert "5,050 more rows" in done.stdout.splitlines()[-1]


def test_intervals_are_written_as_text_and_refused_by_parquet(query: Run, synced: Engine, tmp_path: Path) -> None:
    sql = "select interval '1 day' as apart"

    assert query(sql, "--format", "csv").stdout.splitlines()[0] == '"apart"'
    assert "apart" in json.loads(query(sql, "--format", "json").stdout)[0]
    refused = query(sql, "--format", "parquet", "--output", "answer.parquet")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "cast the column 'apart'" in refused.stderr
    assert list(tmp_path.glob("*answer*")) == []


def test_sql_is_read_from_standard_input(query: Run, synced: Engine) -> None:
    done = query("-", "--format", "json", stdin="select count(*) as messages -- all of them\nfrom mail.messages;\n")

    assert json.loads(done.stdout) == [{"messages": 3}], done.stderr


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("delete from gmail.messages", "would change the warehouse"),
        ("create table mail.mine (a integer)", "would change the warehouse"),
        ("select 1; delete from gmail.messages", "several statements"),
        ("commit; delete from gmail.messages", "several statements"),
        ("select no_such_column from mail.messages", "no_such_column"),
        ("select * from mail.no_such_table", "no_such_table"),
        ("selec 1", 'syntax error at or near "selec"'),
        ("", "is empty"),
        ("/* nothing */", "or none"),
        ("select cast(subject as integer) from mail.messages", "left out"),
        ("select cast(subject as date) from mail.messages order by subject", "left out"),
    ],
)
def test_what_is_wrong_or_writes_exits_with_two_one_sentence_and_no_mail(
    query: Run, synced: Engine, sql: str, says: str
) -> None:
    done = query(sql)

    assert done.returncode == 2
    assert done.stdout == ""
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert PLANTED not in done.stderr
    assert query("select count(*) as n from gmail.messages", "--format", "csv").stdout.splitlines()[1] == "3"


def test_errors_late_in_an_answer_quote_no_mail_either(synced: Engine) -> None:
    late = (
        "select case when number < 25000 then 1 else cast(subject as integer) end as late "
        "from mail.messages cross join (select day - date '1990-01-01' as number from mail.business_calendar) as days "
        "cross join (values (1), (2)) as twice (a)"
    )

    with pytest.raises(ConfigError) as raised, ask(synced.settings, late):
        pytest.fail("it was answered")

    assert "left out" in str(raised.value)
    assert PLANTED not in str(raised.value)
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__


@pytest.mark.first_use
def test_nothing_is_made_where_nothing_was_synced(query: Run, tmp_path: Path) -> None:
    done = query("select 1")

    assert done.returncode == 2
    assert "There is no warehouse yet" in done.stderr
    assert list(tmp_path.rglob("*.duckdb*")) == []


def test_a_frame_has_the_rows_and_takes_parameters(
    synced: Engine, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    frame = read("select subject, internal_date from mail.messages where subject = ?", [f"{PLANTED}, 1"])

    assert frame["subject"].tolist() == [f"{PLANTED}, 1"]
    assert frame["internal_date"][0].to_pydatetime() == datetime(2026, 1, 2, 12, tzinfo=UTC)
    with pytest.raises(ConfigError, match="parameters"):
        read("select subject from mail.messages where subject = ?", ["a", "b"])


def test_a_long_fetch_lets_queries_in(
    engine: Engine, environment: dict[str, str], box: Mailbox, gmail: Simulator, query: Run, tmp_path: Path
) -> None:
    box.generate(30, seed=81, mean_size_bytes=2_000)
    processes = Processes(environment, tmp_path)
    gate = Gate(gmail, "messages.get", ADDRESS, after=5)
    try:
        syncing = processes.cli("sync")
        gate.wait_until_reached(syncing)

        began = time.monotonic()
        # analyst tables are brought up to date when the sync ends
        counts = (
            "select (select count(*) from gmail.message_states) as messages, "
            "(select count(*) from gmail.messages) as bought"
        )
        done = query(counts, "--format", "json", "--wait", "10")

        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == [{"messages": 30, "bought": 0}]
        assert time.monotonic() - began < 10
        assert syncing.poll() is None, "the fetch was over before"
        gate.open()
        assert ended(syncing)[0] == 0
        assert json.loads(query(counts, "--format", "json").stdout) == [{"messages": 30, "bought": 30}]
    finally:
        gate.open()
        processes.end()


@pytest.mark.warehouses("duckdb")
def test_a_load_is_waited_for_and_after_that_the_exit_code_is_three(
    synced: Engine, query: Run, environment: dict[str, str], tmp_path: Path
) -> None:
    processes = Processes(environment, tmp_path)
    try:
        loading = subprocess.Popen(
            [sys.executable, "-c", _HOLDS, str(synced.settings.duckdb_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert loading.stdout is not None
        assert loading.stdout.readline() == "open\n"
        impatient = query("select 1", "--wait", "0.3")
        assert impatient.returncode == 3
        assert "did not let go within 0.3 s" in impatient.stderr

        patient = processes.cli("query", "select count(*) as n from mail.messages", "--format", "csv", "--wait", "60")
        with pytest.raises(subprocess.TimeoutExpired):
            patient.wait(3)
        loading.communicate("close\n")

        assert ended(patient) == (0, '"n"\n3\n')
    finally:
        processes.end()
        loading.kill()


@pytest.mark.warehouses("duckdb")
def test_the_file_is_free_as_soon_as_the_answer_is_there(synced: Engine) -> None:
    with ask(synced.settings, "select subject from mail.messages order by subject") as answer:
        with duckdb.connect(str(synced.settings.duckdb_path)) as writer:
            writer.execute("delete from gmail.messages")

        assert answer.table().to_pylist()[0]["subject"] == f"{PLANTED}, 0"


@pytest.mark.warehouses("duckdb")
def test_a_query_reads_and_writes_no_other_file(synced: Engine, tmp_path: Path) -> None:
    (tmp_path / "other.csv").write_text("a\n1\n")
    for sql in (
        f"select * from read_csv('{tmp_path / 'other.csv'}')",
        f"copy mail.messages to '{tmp_path / 'out.csv'}'",
        f"attach '{tmp_path / 'new.duckdb'}' as fresh",
    ):
        with pytest.raises(ConfigError, match="reach beyond"), ask(synced.settings, sql):
            pytest.fail("it was answered")
    assert not (tmp_path / "out.csv").exists()
    assert not (tmp_path / "new.duckdb").exists()


@pytest.mark.warehouses("postgres")
def test_a_role_that_may_only_read_can_ask(synced: Engine, environment: dict[str, str], warehouse_url: str) -> None:
    from mail_ingest_tests.postgres import execute, with_user

    execute(
        warehouse_url,
        "create role asks_only login password 'word'",
        "grant usage on schema mail to asks_only",
        "grant select on all tables in schema mail to asks_only",
    )
    try:
        url = with_user(warehouse_url, "asks_only", "word")
        settings = load_settings({**environment, "MAIL_INGEST_WAREHOUSE": url})
        with ask(settings, "select count(*) as n from mail.messages") as answer:
            assert answer.table().to_pylist() == [{"n": 3}]
        with pytest.raises(ConfigError, match="permission denied"), ask(settings, "select * from gmail.messages"):
            pytest.fail("it was answered")
    finally:
        execute(warehouse_url, "drop owned by asks_only", "drop role asks_only")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not tell a process's peak")
@pytest.mark.parametrize("form", ["csv", "json", "parquet"])
def test_a_large_answer_takes_bounded_memory(
    synced: Engine, environment: dict[str, str], tmp_path: Path, form: str, record_property: Callable[..., None]
) -> None:
    days = "select repeat('word ', 200) as words from mail.business_calendar cross join (values {}) as times (a)"

    def peak_mb(times: int) -> int:
        sql = days.format(", ".join(f"({number})" for number in range(times)))
        done = subprocess.run(
            [sys.executable, "-c", _PEAK, "query", sql, "--format", form, "--output", "answer"],
            env={**os.environ, **environment},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        return int(done.stderr.split()[-1])

    small, large = peak_mb(1), peak_mb(10)

    record_property("figure", f"query --format {form}: peak {small} MB for 26 MB of rows, {large} MB for 260 MB")
    assert large - small < 80


def test_a_pipe_that_closes_early_is_no_error(synced: Engine, environment: dict[str, str], tmp_path: Path) -> None:
    sql = "select repeat('word ', 200) as words from mail.business_calendar"
    process = subprocess.Popen(
        [sys.executable, "-m", "mail_ingest.cli", "query", sql, "--format", "csv"],
        env={**os.environ, **environment},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == '"words"\n'
    process.stdout.close()

    assert process.stderr.read() == ""
    assert process.wait(60) == 0


@pytest.mark.warehouses("duckdb")
def test_a_file_whose_writer_was_killed_is_read_as_it_was_committed(synced: Engine) -> None:
    path = str(synced.settings.duckdb_path)
    died = subprocess.run([sys.executable, "-c", _DIES, path], check=False)
    assert died.returncode == -9
    assert Path(f"{path}.wal").exists()

    with ask(synced.settings, "select number from mail.left_behind") as answer:
        assert answer.table().to_pylist() == [{"number": 7}]
    assert Path(f"{path}.wal").exists(), "the reader wrote to the warehouse"


@pytest.mark.warehouses("duckdb")
def test_importing_the_package_imports_neither_pandas_nor_arrow(warehouse_url: str) -> None:
    code = "import sys, mail_ingest.warehouse; print({'pandas', 'pyarrow', 'duckdb'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
