"""Statements that Django compiles once and runs many times with other values.

The ORM compiles every statement anew, which takes ten times what running it takes. Where that matters, a statement is
written in the ORM's terms as always, with a `Slot` in the place of each value that is known only when it runs.
"""

from collections.abc import Callable, Mapping
from contextlib import closing
from operator import attrgetter, methodcaller
from typing import Any, TypeVar

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Expression, Field, ForeignKey, Model, QuerySet
from django.db.models.sql import InsertQuery, UpdateQuery
from django.db.models.sql.compiler import SQLCompiler

T = TypeVar("T")


class Slot(Expression):
    """A value of this field's type, given when the statement runs."""

    def __init__(self, name: str, field: "Field[Any, Any]") -> None:
        super().__init__(output_field=field)
        self.name = name

    def as_sql(self, *_args: Any, **_kwargs: Any) -> Any:
        return "%s", [self]


def slot(model: type[Model], name: str) -> Slot:
    """For the model's column of this name."""
    field = model._meta.get_field(name)
    assert isinstance(field, Field)
    return Slot(field.attname, field)


def _connection() -> BaseDatabaseWrapper:
    """Not Django's proxy of it, which looks the thread's connection up at each access."""
    return connections[DEFAULT_DB_ALIAS]


class _Prepared:
    def __init__(self, compiler: Callable[[], SQLCompiler]) -> None:
        self._make = compiler
        self._compiled: dict[str, tuple[SQLCompiler, str, tuple[Any, ...]]] = {}

    def _compile(self, vendor: str) -> tuple[SQLCompiler, str, tuple[Any, ...]]:
        if vendor not in self._compiled:
            compiler = self._make()
            statement: Any = compiler.as_sql()
            sql, params = statement[0] if isinstance(statement, list) else statement  # of an INSERT a list of one
            if vendor == "sqlite":
                sql = sql.replace("%s", "?").replace("%%", "%")
            self._compiled[vendor] = compiler, sql, tuple(params)
        return self._compiled[vendor]

    def _execute(self, values: Mapping[str, Any], read: Callable[[Any], T]) -> T:
        """What `read` makes of the cursor once the statement was executed."""
        connection = _connection()
        _, sql, params = self._compile(connection.vendor)
        given = [
            each.output_field.get_db_prep_save(values[each.name], connection) if isinstance(each, Slot) else each
            for each in params
        ]
        connection.ensure_connection()
        with connection.wrap_database_errors, closing(self._cursor(connection)) as cursor:
            cursor.execute(sql, given)
            return read(cursor)

    def _cursor(self, connection: BaseDatabaseWrapper) -> Any:
        # With SQLite the driver's own: Django's rewrites the placeholders at each call.
        return connection.connection.cursor() if connection.vendor == "sqlite" else connection.cursor()


class Select(_Prepared):
    """`rows` as of a queryset with values_list; `queryset` is called once."""

    def __init__(self, queryset: Callable[[], "QuerySet[Any, Any]"]) -> None:
        super().__init__(lambda: queryset().query.get_compiler(connection=_connection()))

    def rows(self, **values: Any) -> list[tuple[Any, ...]]:
        found = self._execute(values, methodcaller("fetchall"))
        compiler, _, _ = self._compile(_connection().vendor)
        return [tuple(row) for row in compiler.results_iter([found], tuple_expected=True)]


class Update(_Prepared):
    """`run` gives the number of rows that were changed, as QuerySet.update does."""

    def __init__(self, queryset: Callable[[], "QuerySet[Any, Any]"], changes: Callable[[], Mapping[str, Any]]) -> None:
        def compiler() -> SQLCompiler:
            query: Any = queryset().query.chain(UpdateQuery)
            query.add_update_values(changes())
            made: SQLCompiler = query.get_compiler(connection=_connection())
            return made

        super().__init__(compiler)

    def run(self, **values: Any) -> int:
        return int(self._execute(values, attrgetter("rowcount")))


class Insert(_Prepared):
    """Inserts new objects, `rows` at a time, as `save` does without signals.

    `computed`: columns that the database computes. `raw`: dates that are set by themselves otherwise are those given.
    """

    def __init__(
        self,
        model: type[Model],
        computed: Callable[[], Mapping[str, Any]] = dict,
        *,
        rows: int = 1,
        raw: bool = False,
    ) -> None:
        self._fields = model._meta.concrete_fields
        self._rows = rows
        self._raw = raw

        def compiler() -> SQLCompiler:
            def slots(row: int) -> dict[str, Slot]:
                return {field.attname: Slot(f"{field.attname} {row}", _value_field(field)) for field in self._fields}

            query: Any = InsertQuery(model)
            query.insert_values(self._fields, [model(**{**slots(row), **computed()}) for row in range(rows)], raw=True)
            made: SQLCompiler = query.get_compiler(connection=_connection())
            return made

        super().__init__(compiler)

    def run(self, *instances: Model, **values: Any) -> None:
        """`values`: of the slots in `computed`."""
        assert len(instances) == self._rows
        for row, instance in enumerate(instances):
            values |= {f"{field.attname} {row}": self._value(field, instance) for field in self._fields}
        self._execute(values, attrgetter("rowcount"))
        for instance in instances:
            instance._state.adding, instance._state.db = False, DEFAULT_DB_ALIAS

    def _value(self, field: "Field[Any, Any]", instance: Model) -> Any:
        return getattr(instance, field.attname) if self._raw else field.pre_save(instance, True)


def _value_field(field: "Field[Any, Any]") -> "Field[Any, Any]":
    """Of a foreign key the field that it points to."""
    return field.target_field if isinstance(field, ForeignKey) else field
