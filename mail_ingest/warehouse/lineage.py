"""Which columns each column of an analyst relation is made of, read out of its SQL.

    select of a file + columns of what it reads -> column -> columns of those relations

The parents of a column are the columns in its expression, followed through common table expressions down to the relations
that the file reads. Columns that only join rows, leave some out or put them in order are no parents, but where there is nothing
else: rows that are counted (`count(*)`) come from the columns of `where` and `group by` of the same select, which decide what
is counted where, and a row's number comes from the columns that order it. Nothing is opened for it: texts and names of columns
are enough.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlglot
from sqlglot import exp
from sqlglot.optimizer.qualify import qualify
from sqlglot.optimizer.scope import Scope, build_scope

from mail_ingest.warehouse.marts import Relation

#: A relation's name with its schema, and a column of it.
Parent = tuple[str, str]
#: The dialect in which the files are read here; they are written in what it has in common with DuckDB's.
_DIALECT = "postgres"


def column_parents(relation: Relation, columns: Mapping[str, Mapping[str, str]]) -> Mapping[str, Sequence[Parent]]:
    """The parents of every column of a relation, in its order; none for what is made of constants.

    `columns` are names and types of the columns of whatever may be read, by relation.
    """
    schema: dict[str, Any] = {}
    for name in relation.reads:
        database, table = name.split(".")
        tables = schema.setdefault(database, {})
        tables[table] = dict(columns[name])
    tree = qualify(
        sqlglot.parse_one(relation.select, dialect=_DIALECT),
        schema=schema,
        dialect=_DIALECT,
        infer_schema=False,
        quote_identifiers=False,
        identify=False,
    )
    if not isinstance(tree, exp.Query):
        raise ValueError(f"{relation.name} is no select")
    walk = _Walk(build_scope(tree))
    return {name: sorted(walk.parents(tree, place)) for place, name in enumerate(columns[relation.name])}


class _Walk:
    """One way down from the outermost select; what was found of inner ones is remembered."""

    def __init__(self, root: Scope | None) -> None:
        self._scopes = {id(scope.expression): scope for scope in root.traverse()} if root is not None else {}
        self._found: dict[tuple[int, int], frozenset[Parent]] = {}

    def parents(self, query: exp.Query, place: int) -> frozenset[Parent]:
        """The parents of the column at a place, from 0, of a select or a union of selects."""
        key = (id(query), place)
        if key not in self._found:
            if isinstance(query, exp.SetOperation):
                parts = [self.parents(query.left, place), self.parents(query.right, place)]
            else:
                parts = [self._of_column(query, column) for column in _deciding(query, place)]
            self._found[key] = frozenset[Parent]().union(*parts)
        return self._found[key]

    def _of_column(self, query: exp.Query, column: exp.Column) -> frozenset[Parent]:
        source = self._scopes[id(query)].sources.get(column.table)
        if isinstance(source, exp.Table) and source.db:
            return frozenset([(f"{source.db}.{source.name}", column.name)])
        if isinstance(source, Scope) and isinstance(source.expression, exp.Query):
            return self.parents(source.expression, source.expression.named_selects.index(column.name))
        # a function that makes rows out of nothing, such as generate_series
        return frozenset()


def _deciding(query: exp.Query, place: int) -> list[exp.Column]:
    """The columns that the selected one depends on, within its own select."""
    selected = query.selects[place]
    ordering = {
        id(column)
        for window in selected.find_all(exp.Window)
        if window.this.find(exp.Column)
        for column in window.find_all(exp.Column)
    } - {id(column) for window in selected.find_all(exp.Window) for column in window.this.find_all(exp.Column)}
    columns = [column for column in selected.find_all(exp.Column) if id(column) not in ordering]
    if any(isinstance(count.this, exp.Star) for count in selected.find_all(exp.Count)):
        for clause in ("where", "group"):
            found = query.args.get(clause)
            columns += found.find_all(exp.Column) if found is not None else []
    return columns
