"""Rows as the JSON text that their ids and the digest of their table are over, from Arrow columns, without a record being made.

A million pairs take four minutes to be made into records, checked and written as JSON, and 15 s by columns. So a batch of rows is checked
and written here, and only one that these columns cannot vouch for is made into records, which say what is wrong with it.

Conventions
    ``texts`` gives exactly what pydantic gives of the records, or None: a value that its type does not allow, a type or a validator that is
    not known here, columns of another version, settings or metadata whose JSON text is not as it is written, sends.
    None is never a verdict.
    What a record's columns are, and what they may be, is read from pydantic's own core schema of its type.
    Of a text, ``seals`` are the ids that the contents of the rows give them (``Record.seal_id``), as numbers (``id_numbers``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from itertools import pairwise
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from stemwright.manifests.column_types import (
    SAFE_PATH,
    BothTextColumns,
    Column,
    FlagColumn,
    JsonColumn,
    ListColumn,
    NumberColumn,
    OmittingColumns,
    OptionalColumn,
    RowColumns,
    TextColumn,
    UnknownError,
    are_fed,
    in_order,
    joined_parts,
    none_too_long,
    require,
    settings_in_order,
)
from stemwright.manifests.id_numbers import Ids
from stemwright.manifests.names import LONGEST_PART
from stemwright.manifests.records import UNSTATED, Record, Scalar
from stemwright.manifests.table_rows import arrow_schema

if TYPE_CHECKING:
    import pyarrow

ID_TEXT = len('{"id":"0123456789abcdef",')  # what a row's text begins with


def texts(record_type: type[Record], batch: pyarrow.RecordBatch, without: frozenset[str] = frozenset()) -> pyarrow.StringArray | None:
    """The JSON text of each row [N], without some columns; None where records have to be made of the batch."""
    try:
        return joined_parts(_checked(record_type, batch).parts(_as_struct(batch), without), batch.num_rows)
    except UnknownError:
        return None


def are_records(record_type: type[Record], batch: pyarrow.RecordBatch) -> bool:
    """Whether every row is one of the type, as it is; False where records have to be made of the batch to know it."""
    try:
        _checked(record_type, batch)
    except UnknownError:
        return False
    return True


def seals(record_type: type[Record], batch: pyarrow.RecordBatch, rows: pyarrow.StringArray) -> Ids:
    """The id that its content gives each row [N], from the texts of the whole rows."""
    if record_type.USED:
        found = texts(record_type, batch, record_type.USED | {"id"})
        assert found is not None  # so were the whole rows
        return np.array([int.from_bytes(hashlib.sha256(row).digest()[:8], "big") for row in _slices(found)], np.uint64)
    begun, numbers = hashlib.sha256(b"{"), np.zeros(len(rows), np.uint64)
    for number, row in enumerate(_slices(rows)):
        hashed = begun.copy()
        hashed.update(row[ID_TEXT:])
        numbers[number] = int.from_bytes(hashed.digest()[:8], "big")
    return numbers


def _slices(rows: pyarrow.StringArray) -> Iterator[memoryview]:
    """The bytes of texts, without a copy."""
    _, offsets, data = rows.buffers()
    ends = np.frombuffer(offsets, np.int32)[rows.offset : rows.offset + len(rows) + 1].tolist()
    view = memoryview(data or b"")
    return (view[start:end] for start, end in pairwise(ends))


def joined_by_commas(rows: pyarrow.StringArray) -> bytes:
    """The texts of rows as those of a JSON array, without its brackets."""
    return b",".join(_slices(rows))


def _as_struct(batch: pyarrow.RecordBatch) -> pyarrow.StructArray:
    return batch.to_struct_array()


def _checked(record_type: type[Record], batch: pyarrow.RecordBatch) -> RowColumns:
    """The column of a type whose rows these are. Raises UnknownError if that cannot be said of them."""
    import pyarrow as pa

    column = _column_of(record_type)
    if column is None or not batch.schema.equals(_schema(record_type)):
        raise UnknownError
    try:
        batch.validate(full=True)  # among others that each text is UTF-8
    except pa.ArrowInvalid as error:
        raise UnknownError from error
    column.check(_as_struct(batch))
    return column


@cache
def _schema(record_type: type[Record]) -> pyarrow.Schema:
    return arrow_schema(record_type)


# Validators of ours that are known here, by the names of their functions: as conditions of rows, as patterns of texts, as JSON texts.
CONDITIONS: Mapping[str, Callable[[Any], bool]] = MappingProxyType({"_not_too_long": none_too_long, "_sends_are_fed": are_fed})
PATTERNS: Mapping[str, TextColumn] = MappingProxyType({"inside": TextColumn((SAFE_PATH,), LONGEST_PART // 4)})
MAPPINGS: Mapping[str, JsonColumn] = MappingProxyType(
    {"_in_order": JsonColumn(Scalar, settings_in_order), "_as_mapping": JsonColumn(str, in_order)}
)
KNOWN = {  # what a core schema of a kind may say for its rows to be known here; more means another condition
    "str": {"pattern", "max_length"},
    "int": {"ge", "le", "gt", "lt"},
    "float": {"ge", "le", "gt", "lt", "allow_inf_nan"},
    "bool": set[str](),
    "literal": {"expected"},
    "tuple": {"items_schema", "variadic_item_index", "max_length"},
}


@cache
def _column_of(record_type: type[Record]) -> RowColumns | None:
    """The column of a type of records; None if it has columns, or validators, that are not known here."""
    schema: Any = record_type.__pydantic_core_schema__
    defined = {each["ref"]: each for each in schema.get("definitions", ())}
    try:
        found = _column(schema, defined)
    except UnknownError:
        return None
    return found if isinstance(found, RowColumns) and next(iter(record_type.model_fields)) == "id" else None


def _column(schema: Any, defined: Mapping[str, Any]) -> Column:
    kind = schema["type"]
    if kind == "definition-ref":
        return _column(defined[schema["schema_ref"]], defined)
    if kind in ("definitions", "default"):
        return _column(schema["schema"], defined)
    if kind == "nullable":
        return OptionalColumn(_column(schema["schema"], defined))
    if kind == "model":
        fields = schema["schema"]
        require(fields["type"] == "model-fields" and not fields.get("computed_fields"))
        omitted = [name for name, field in fields["fields"].items() if "serialization_exclude_if" in field]
        named = {
            name: (field.get("serialization_alias", name), _column(field["schema"], defined))
            for name, field in fields["fields"].items()
            if name not in omitted
        }
        return _row_columns(named, schema.get("serialization"), omitted)
    if kind.startswith("function-"):
        return _validated(schema, defined)
    require(kind in KNOWN and schema.keys() <= {"type", "metadata", "ref", *KNOWN[kind]})
    if kind == "tuple":
        require(schema.get("variadic_item_index") == 0 and len(schema["items_schema"]) == 1)
        return ListColumn(_column(schema["items_schema"][0], defined), schema.get("max_length"))
    if kind in ("int", "float"):
        return NumberColumn({name: schema[name] for name in ("ge", "le", "gt", "lt") if name in schema})
    if kind == "bool":
        return FlagColumn()
    return TextColumn([schema["pattern"]] if "pattern" in schema else (), schema.get("max_length"), schema.get("expected", ()))


def _row_columns(named: Mapping[str, tuple[str, Column]], serialization: Any, omitted: Sequence[str]) -> RowColumns:
    """The columns of a record, of which its own serializer may omit some; ``omitted`` are omitted where they are empty."""
    if serialization is None:
        return RowColumns(named, empty=omitted)
    function = serialization.get("function")
    require(getattr(function, "__module__", "").startswith("stemwright.manifests."))
    require(getattr(function, "__name__", "") == "_without_unstated")
    return OmittingColumns(named, UNSTATED, "quantity")


def _validated(schema: Any, defined: Mapping[str, Any]) -> Column:
    """The column of a type with a validator."""
    function = schema["function"]["function"]
    name = getattr(function, "__name__", "")
    require(getattr(function, "__module__", "").startswith("stemwright.manifests."))
    if name in MAPPINGS:
        return MAPPINGS[name]
    inner = _column(schema["schema"], defined)
    if name in PATTERNS and isinstance(inner, TextColumn):
        return BothTextColumns(inner, PATTERNS[name])
    require(name in CONDITIONS and isinstance(inner, RowColumns))
    assert isinstance(inner, RowColumns)
    return RowColumns(inner.columns, [*inner.conditions, CONDITIONS[name]], inner.empty)
