"""Builds the analyst tables: in full, or only what changed since the last build, with the same result.

    landing rows of new loads -> keys that changed, table by table in the order of their lineage -> rows of these keys

A table's file says by which columns it changes and from which relations (see `marts`). The rows of changed keys are
deleted, and inserted from the file's own select, in which the relations that changes come from are cut down to these keys.
Rows of a table that differ hand their keys on, as they were and as they are, so a message that moved renews both threads, and
one that was read renews no contact (see `handing`). Where only columns change that `updated from` names, rows are updated in
these, and their long texts are neither read nor written.

A full build happens where the definition of a table, of a view below it or of what people set has changed, or where a table
above it was built in full. Everything of one build is one transaction: readers see all of it or nothing.

What is noticed: every row that a load brought, whenever the load ended (see `loads`), and every row that vanished from a
table that is mirrored; rows that vanished from one that only grows have its readers built in full, unless their keys were
noted. What is not: a landing row that people change by hand; `rebuild` is for that.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from mail_ingest.warehouse import row_security
from mail_ingest.warehouse.configuration import Configuration, configuration_digests
from mail_ingest.warehouse.connection import Connection, Dialect, transaction
from mail_ingest.warehouse.handing import Snapshots, among_changed, readings, restricted
from mail_ingest.warehouse.loads import compare_loads, make_vanished, remember_loads
from mail_ingest.warehouse.marts import Relation, comment, kinds_of_relations
from mail_ingest.warehouse.memory import with_enough_memory
from mail_ingest.warehouse.statistics import refresh_statistics

logger = logging.getLogger(__name__)

SCHEMA = "mail_build"
#: Threads of DuckDB for rows of changed keys, which are looked for in whole tables: 2 take two thirds of the time of 1. A full
#: build has the one that its connection has, because each more holds row groups in memory.
_THREADS = 2


@dataclass(frozen=True)
class Build:
    """What a build did: tables built in full, and how many keys of the others were renewed."""

    full: tuple[str, ...] = ()
    changed: Mapping[str, int] = field(default_factory=dict)


class AnalystTables:
    """The tables among `relations`, of which the others must be there as views."""

    def __init__(self, relations: Sequence[Relation], configuration: Configuration, dialect: Dialect) -> None:
        self.relations = relations
        self.configuration = configuration
        self.dialect = dialect

    def build(self, connection: Connection) -> Build:
        """Brings the tables up to the landing tables, in one transaction. Costs a count of each where nothing changed."""
        return self._in_transaction(connection, is_full=False)

    def rebuild(self, connection: Connection) -> Build:
        """Builds every table in full, in one transaction."""
        return self._in_transaction(connection, is_full=True)

    def build_within(self, connection: Connection, *, is_full: bool = False) -> Build:
        """The build, for a caller who has begun a transaction."""
        return _Run(connection, self.relations, self.configuration, self.dialect).run(is_full=is_full)

    def _in_transaction(self, connection: Connection, *, is_full: bool) -> Build:
        def attempt() -> Build:
            refresh_statistics(connection, self.dialect)
            with transaction(connection):
                build = self.build_within(connection, is_full=is_full)
            if self.dialect == "postgres":
                # a session that is kept for the next use would keep the rows that changed as well
                connection.execute("discard temp")
            return build

        return with_enough_memory(connection, self.dialect, attempt)


class _Run:
    """One build, inside a transaction."""

    def __init__(
        self, connection: Connection, relations: Sequence[Relation], configuration: Configuration, dialect: str
    ) -> None:
        self._connection = connection
        self._by_name = {relation.name: relation for relation in relations}
        self._tables = [relation for relation in relations if relation.is_table]
        self._configuration = configuration
        self._dialect = dialect
        self._full: list[str] = []
        self._missing: set[str] = set()
        self._changed: dict[str, int] = {}

    def run(self, *, is_full: bool) -> Build:
        self._prepare()
        loads = compare_loads(self._connection, SCHEMA, self._landing_tables(), self._dialect)
        settings = configuration_digests(self._connection, self._configuration)
        for relation in self._tables:
            digest = self._digest(relation, settings)
            built = self._one("select digest from mail_build.relations where name = ?", [relation.name])
            if (
                is_full
                or built != digest
                or any(name in self._full for name in relation.reads)
                or any(name in loads.shrunk for name in relation.append_only)
            ):
                self._build_in_full(relation, digest)
            else:
                with self._threads():
                    self._renew(relation, loads.rows)
        if row_security.is_made(self._connection, self._dialect):
            row_security.secure_tables(self._connection, self._tables)
        remember_loads(self._connection, SCHEMA)
        return Build(tuple(self._full), self._changed)

    def _prepare(self) -> None:
        execute = self._connection.execute
        execute(f"create schema if not exists {SCHEMA}")
        execute(f"create table if not exists {SCHEMA}.relations (name varchar not null, digest varchar not null)")
        make_vanished(self._connection, SCHEMA)
        if self._dialect == "postgres":
            # one build at a time; freed with the transaction, however it ends
            execute("lock table mail_build.relations in exclusive mode")
        there = kinds_of_relations(self._connection)
        for relation in self._tables:
            execute(f"create schema if not exists {relation.schema}")
            if there.get(relation.name) == "VIEW":
                # from before there was a table
                execute(f"drop view if exists {relation.name} cascade")
            if there.get(relation.name) != "BASE TABLE":
                # made when those that it reads are what they should be
                self._missing.add(relation.name)
                execute(f"delete from {SCHEMA}.relations where name = ?", [relation.name])
        for relation in self._tables:
            columns = ", ".join(relation.changes_by)
            if columns and relation.name not in self._missing:
                for changed in (_changed(relation), f"{_changed(relation)}_in_part"):
                    execute(f"drop table if exists {changed}")
                    execute(f"create temporary table {changed} as select {columns} from {relation.name} limit 0")

    @contextmanager
    def _threads(self) -> Iterator[None]:
        if self._dialect != "duckdb":
            yield
            return
        usual = self._one("select current_setting('threads')")
        self._connection.execute(f"set threads = {_THREADS}")
        yield
        # where it fails the transaction takes no statement any more, and `with_enough_memory` does this after its end
        self._connection.execute(f"set threads = {usual}")

    def _landing_tables(self) -> list[str]:
        """The landing tables below the tables."""
        names: dict[str, None] = {}
        for relation in self._tables:
            for name in (*relation.reads, *relation.append_only):
                view = self._by_name.get(name)
                if view is not None and not view.is_table:
                    names.update(dict.fromkeys(read for read in view.reads if read not in self._by_name))
        return list(names)

    def _digest(self, relation: Relation, settings: Mapping[str, str]) -> str:
        """Of everything but other tables that the rows of a table follow from."""
        texts, seen = [self._dialect], set[str]()
        below = [relation.name]
        while below:
            name = below.pop()
            view = self._by_name.get(name)
            if view is None or name in seen or (view.is_table and view is not relation):
                continue
            seen.add(name)
            texts.append(view.select + repr((view.changes_by, view.indexes, view.order)))
            texts += [digest for setting, digest in sorted(settings.items()) if setting in view.text]
            below += sorted(view.reads)
        return hashlib.sha256("\n".join(texts).encode()).hexdigest()

    # -- in full -------------------------------------------------------------------------------------------------

    def _build_in_full(self, relation: Relation, digest: str) -> None:
        logger.debug("building %s in full", relation.name)
        if relation.name not in self._missing and self._has_the_columns(relation):
            # readers of Postgres go on reading the old rows meanwhile, and views of people's own stay
            self._connection.execute(f"delete from {relation.name}")
        else:
            self._connection.execute(f"drop table if exists {relation.name} cascade")
            self._create(relation)
        columns = ", ".join(relation.columns)
        order = f" order by {relation.order}" if relation.order and self._dialect == "duckdb" else ""
        self._connection.execute(
            f"insert into {relation.name} ({columns}) select {columns} from ({relation.select}) as rebuilt{order}"
        )
        comment(self._connection, relation, "table")
        if self._dialect == "postgres":
            for indexed in relation.indexes:
                # named by its columns, so that a table which stays gets those that its file has gained
                name = f"{relation.short_name}_{hashlib.sha256(indexed.encode()).hexdigest()[:8]}"
                self._connection.execute(f"create index if not exists {name} on {relation.name} ({indexed})")
            self._connection.execute(f"analyze {relation.name}")
        self._connection.execute("delete from mail_build.relations where name = ?", [relation.name])
        self._connection.execute("insert into mail_build.relations values (?, ?)", [relation.name, digest])
        self._full.append(relation.name)

    def _create(self, relation: Relation) -> None:
        """Makes the table, empty. DuckDB gets no indexes: its scans pass over row groups that cannot hold what is asked for,
        which `order` helps, and its indexes live in memory, all of them, whatever is read."""
        execute = self._connection.execute
        execute(f"create table {relation.name} as select * from ({relation.select}) as selected limit 0")
        comment(self._connection, relation, "table")
        if self._dialect == "postgres":
            execute(f"alter table {relation.name} add primary key ({', '.join(relation.key)})")

    def _has_the_columns(self, relation: Relation) -> bool:
        execute = self._connection.execute
        execute("drop table if exists expected_columns")
        execute(f"create temporary table expected_columns as select * from ({relation.select}) as selected limit 0")
        asked = (
            "select column_name, data_type from information_schema.columns where table_name = ? and table_schema {} ?"
        )
        expected = execute(asked.format("<>"), ["expected_columns", relation.schema]).fetchall()
        found = execute(asked.format("="), [relation.short_name, relation.schema]).fetchall()
        execute("drop table expected_columns")
        return set(expected) == set(found)

    # -- what changed --------------------------------------------------------------------------------------------

    def _renew(self, relation: Relation, rows: Mapping[str, int]) -> None:
        if not relation.changes_by:
            # it follows from what people set alone
            return
        self._collect(relation)
        if relation.updated_from:
            self._update(relation)
        self._replace(relation)
        if any(self._lost_rows(relation, mirror.name, mirror.condition, rows) for mirror in relation.mirrors):
            self._replace(relation)

    def _collect(self, relation: Relation) -> None:
        """Adds the keys that landing rows of new loads change. Those that tables change are there already."""
        columns = ", ".join(relation.changes_by)
        for source in relation.changes_from:
            if not self._by_name[source.name].is_table:
                named = ", ".join(source.columns)
                is_in_part = any(part.name == source.name for part in relation.updated_from)
                changed = f"{_changed(relation)}{'_in_part' if is_in_part else ''}"
                for condition in self._of_new_loads(source.name):
                    self._connection.execute(
                        f"insert into {changed} select {named} from {source.name} where {condition}"
                    )
        for name in relation.append_only:
            # of rows that were deleted on purpose; others would have had the table built in full
            self._add(relation, f"select {columns} from {SCHEMA}.vanished where table_name = '{name}'")
        for source in relation.changes_through:
            named = ", ".join(source.columns)
            for condition in self._of_new_loads(source.name):
                self._add(
                    relation,
                    f"select {columns} from {relation.name} where ({named}) in "
                    f"(select {named} from {source.name} where {condition})",
                )

    def _of_new_loads(self, view: str) -> list[str]:
        """Conditions that new rows of a staging view meet, one or the other."""
        [landing] = self._by_name[view].reads
        loads = "select load_id from new_loads where table_name = "
        conditions = [f"load_id in ({loads}'{landing}')"]
        if self._one("select 1 from new_loads where table_name = ? and load_id = ''", [landing]):
            # rows that no load brought
            conditions.append("load_id is null")
        return conditions

    def _add(self, relation: Relation, select: str) -> None:
        self._connection.execute(f"insert into {_changed(relation)} {select}")

    def _replace(self, relation: Relation) -> None:
        """Replaces the rows of the collected keys, and hands keys on to the tables that change from this one."""
        execute = self._connection.execute
        changed, columns = _changed(relation), ", ".join(relation.changes_by)
        is_known = " and ".join(f"{column} is not null" for column in relation.changes_by)
        self._take_keys(f"select distinct {columns} from {changed} where {is_known}")
        execute(f"delete from {changed}")
        count = self._count_keys()
        if not count:
            return
        snapshots = self._snapshots(relation)
        snapshots.take("rows_before")
        # what readers take of the new rows is looked up in them, not in the whole table; long texts are written only once
        execute("drop table if exists fresh_rows")
        select = restricted(relation, self._dialect)
        if not relation.updated_from:
            execute(f"create temporary table fresh_rows as {select}")
            select = f"select {', '.join(relation.columns)} from fresh_rows"
        # their places are known where the rows before were taken, and asking for these reads no column
        is_stale = among_changed(relation.changes_by, relation.changes_by, self._dialect)
        if self._dialect == "duckdb" and snapshots.has_rows:
            is_stale = "rowid in (select place_of_row from rows_before)"
        execute(f"delete from {relation.name} where {is_stale}")
        execute(f"insert into {relation.name} ({', '.join(relation.columns)}) {select}")
        if relation.updated_from:
            snapshots.take("fresh_rows")
        self._hand_on(snapshots, "fresh_rows")
        self._changed[relation.name] = self._changed.get(relation.name, 0) + count

    def _update(self, relation: Relation) -> None:
        """Updates some columns of rows that are there and for which nothing else changed; the others are left to be replaced."""
        [source] = relation.updated_from
        execute = self._connection.execute
        columns, updated = ", ".join(relation.changes_by), f"{_changed(relation)}_in_part"
        self._take_keys(
            f"select distinct {columns} from {updated} where ({columns}) in (select {columns} from {relation.name}) "
            f"and ({columns}) not in (select {columns} from {_changed(relation)})"
        )
        self._add(
            relation, f"select {columns} from {updated} where ({columns}) not in (select {columns} from changed_keys)"
        )
        execute(f"delete from {updated}")
        count = self._count_keys()
        if not count:
            return
        snapshots = self._snapshots(relation)
        snapshots.take("rows_before")
        named = ", ".join((*relation.key, *source.columns))
        execute("drop table if exists fresh_rows")
        execute(
            f"create temporary table fresh_rows as select {named} from ({restricted(relation, self._dialect)}) as rebuilt"
        )
        execute(
            f"update {relation.name} as stale set {', '.join(f'{name} = fresh.{name}' for name in source.columns)} "
            f"from fresh_rows as fresh where {' and '.join(f'stale.{name} = fresh.{name}' for name in relation.key)}"
        )
        execute("drop table fresh_rows")
        snapshots.take("fresh_rows")
        self._hand_on(snapshots, "fresh_rows")
        self._changed[relation.name] = count

    def _take_keys(self, select: str) -> None:
        """Makes `changed_keys`, which everything that is restricted to what changed reads."""
        self._connection.execute("drop table if exists changed_keys")
        self._connection.execute(f"create temporary table changed_keys as {select}")
        if self._dialect == "postgres":
            self._connection.execute("analyze changed_keys")

    def _count_keys(self) -> int:
        return int(str(self._one("select count(*) from changed_keys")))

    def _snapshots(self, relation: Relation) -> Snapshots:
        tables = [table for table in self._tables if table.name not in (*self._full, *self._missing)]
        return Snapshots(self._connection, relation, list(readings(relation, tables)), self._dialect)

    def _hand_on(self, snapshots: Snapshots, fresh: str) -> None:
        """Gives the tables that change from this one the keys of rows that differ, as they were and as they are."""
        for reader, select in snapshots.differences("rows_before", fresh):
            self._add(reader, select)

    def _lost_rows(self, relation: Relation, mirror: str, condition: str, rows: Mapping[str, int]) -> bool:
        """Collects the keys of rows that stand in a table and no longer in the view that it mirrors.

        All rows that came are in the table by now, so it lacks none: equal counts mean equal rows.
        """
        [landing] = self._by_name[mirror].reads
        if self._one(f"select count(*) from {relation.name} where {condition}") == rows[landing]:
            return False
        columns = ", ".join(relation.changes_by)
        same = " and ".join(f"mirrored.{column} = built.{column}" for column in relation.key)
        self._add(
            relation,
            f"select {columns} from {relation.name} as built where {condition} "
            f"and not exists (select 1 from {mirror} as mirrored where {same})",
        )
        return True

    def _one(self, query: str, parameters: Sequence[object] = ()) -> object:
        row = self._connection.execute(query, list(parameters)).fetchone()
        return row[0] if row else None


def _changed(relation: Relation) -> str:
    return f"changed_{relation.short_name}"
