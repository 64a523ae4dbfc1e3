"""The types of columns that ``row_text`` knows: whether the values of an Arrow array are of a type, and their JSON text.

Conventions
    Of the values that a column is given none is missing, but of ``Optional``.
    A text is given in parts, which are texts, the same for each value, or arrays of texts, so that it is put together only once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import TypeAdapter
from pydantic_core import from_json, to_json

from stemwright.manifests.arrow_arrays import joined_lists, joined_texts, lists_of, numbers_in_arrow, text_in_arrow, texts_in_arrow
from stemwright.manifests.id_numbers import flags_of, plain
from stemwright.manifests.names import LONGEST_EXCERPT_S
from stemwright.manifests.records import finite

ESCAPED = r'["\\\x00-\x1f]'  # RFC 8259, section 7
SAFE_PATH = r"^[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$"  # of paths that ``names.inside`` accepts, the usual ones
Parts = list[Any]


class UnknownError(Exception):
    """Records have to be made of the rows."""


def require(condition: Any) -> None:
    """Raises UnknownError if something that rows have to fulfil is not so."""
    if not condition:
        raise UnknownError


def joined_parts(parts: Parts, count: int) -> Any:
    """The texts that consist of parts [N]."""

    if all(isinstance(part, str) for part in parts):
        return texts_in_arrow(["".join(parts)] * count)
    merged: Parts = []
    for part in parts:
        if merged and isinstance(part, str) and isinstance(merged[-1], str):
            merged[-1] += part
        else:
            merged.append(part)
    return merged[0] if len(merged) == 1 else joined_texts(*merged)


class Column:
    """A type of column: whether values are of it, and their JSON text. Of values none is missing."""

    def check(self, values: Any) -> None:
        """Raises UnknownError unless every value is known to be one."""
        raise NotImplementedError

    def parts(self, values: Any) -> Parts:
        """The text of the values, in parts."""
        raise NotImplementedError


class TextColumn(Column):
    """A text: of a pattern, of a number of characters at most, one of few."""

    def __init__(self, patterns: Sequence[str] = (), longest: int | None = None, allowed: Sequence[str] = ()) -> None:
        self._patterns, self._longest, self._allowed = patterns, longest, allowed
        self._plain = bool(allowed) or any(pattern == SAFE_PATH for pattern in patterns)

    def check(self, values: Any) -> None:
        """As ``Column.check``."""
        import pyarrow.compute as pc

        for pattern in self._patterns:
            require(pc.all(pc.match_substring_regex(values, pattern), min_count=0).as_py())
        if self._longest is not None and len(values):
            require(pc.max(pc.utf8_length(values)).as_py() <= self._longest)
        if self._allowed:
            require(pc.all(pc.is_in(values, texts_in_arrow(self._allowed)), min_count=0).as_py())

    def parts(self, values: Any) -> Parts:
        """As ``Column.parts``."""
        import pyarrow.compute as pc

        if self._plain or not pc.any(pc.match_substring_regex(values, ESCAPED), min_count=0).as_py():
            return ['"', values, '"']
        coded = values.dictionary_encode()
        written = texts_in_arrow([to_json(text).decode() for text in coded.dictionary.to_pylist()])
        return [written.take(coded.indices)]


class NumberColumn(Column):
    """A number in a range; a finite one."""

    def __init__(self, limits: Mapping[str, float]) -> None:
        self._limits = limits

    def check(self, values: Any) -> None:
        """As ``Column.check``."""
        numbers = plain(values)
        if not len(numbers):
            return
        low, high = numbers.min(), numbers.max()
        require(np.isfinite(low) and np.isfinite(high))  # NaN is the lowest and the highest
        require(low >= self._limits.get("ge", low) and high <= self._limits.get("le", high))
        require("gt" not in self._limits or low > self._limits["gt"])
        require("lt" not in self._limits or high < self._limits["lt"])

    def parts(self, values: Any) -> Parts:
        """As ``Column.parts``."""
        import pyarrow as pa

        numbers = plain(values)
        if not len(numbers):
            return [texts_in_arrow([])]
        if (numbers == numbers[0]).all() and numbers[0]:  # 0.0 equals -0.0
            return [to_json(numbers[0].item()).decode()]
        written = np.frombuffer(to_json(numbers.tolist()), np.uint8)[1:-1]
        commas = written == ord(",")
        places = np.flatnonzero(commas)
        offsets = np.concatenate([[0], places - np.arange(len(places)), [len(written) - len(places)]]).astype(np.int32)
        return [pa.StringArray.from_buffers(len(numbers), pa.py_buffer(offsets), pa.py_buffer(written[~commas]))]


class FlagColumn(Column):
    """True or false."""

    def check(self, values: Any) -> None:
        """As ``Column.check``."""

    def parts(self, values: Any) -> Parts:
        """As ``Column.parts``."""
        import pyarrow.compute as pc

        return [pc.if_else(values, text_in_arrow("true"), text_in_arrow("false"))]


class JsonColumn(Column):
    """A mapping that is JSON text in Arrow, as records write it: its names in order, its values as they are written."""

    def __init__(self, of: Any, ordered: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        self._adapter, self._ordered = TypeAdapter(list[dict[str, of]]), ordered

    def check(self, values: Any) -> None:
        """As ``Column.check``."""
        distinct = values.unique().to_pylist()
        try:
            found = self._adapter.validate_python(
                [self._ordered(each) for each in from_json(f"[{','.join(distinct)}]", allow_inf_nan=False)]
            )
        except (ValueError, AttributeError, TypeError) as error:
            raise UnknownError from error
        require([to_json(each).decode() for each in found] == distinct)

    def parts(self, values: Any) -> Parts:
        """As ``Column.parts``."""
        return [values]


def settings_in_order(settings: dict[str, Any]) -> dict[str, Any]:
    """What ``records.EffectSettingsRow`` makes of settings."""
    return {name: finite(settings[name]) for name in sorted(settings)}


def in_order(values: dict[str, Any]) -> dict[str, Any]:
    """What ``metadata`` makes of metadata."""
    return dict(sorted(values.items()))


class OptionalColumn(Column):
    """A value that may be missing."""

    def __init__(self, inner: Column) -> None:
        self._inner = inner

    def check(self, values: Any) -> None:
        """As ``Column.check``."""
        self._inner.check(values.drop_null() if values.null_count else values)

    def parts(self, values: Any) -> Parts:
        """As ``Column.parts``."""
        import pyarrow as pa

        if not values.null_count:
            return self._inner.parts(values)
        if values.null_count == len(values):
            return ["null"]
        there = values.drop_null()
        written = joined_parts(self._inner.parts(there), len(there))
        with_null = pa.concat_arrays([written, texts_in_arrow(["null"])])
        is_there = flags_of(values.is_valid())
        return [with_null.take(numbers_in_arrow(np.where(is_there, np.cumsum(is_there) - 1, len(written))))]


class ListColumn(Column):
    """A list of values, of so many at most."""

    def __init__(self, inner: Column, longest: int | None) -> None:
        self._inner, self._longest = inner, longest

    def check(self, values: Any) -> None:
        """As ``Column.check``."""
        import pyarrow.compute as pc

        if self._longest is not None and len(values):
            require(pc.max(pc.list_value_length(values)).as_py() <= self._longest)
        items = pc.list_flatten(values)
        require(isinstance(self._inner, OptionalColumn) or not items.null_count)
        self._inner.check(items)

    def parts(self, values: Any) -> Parts:
        """As ``Column.parts``."""
        import pyarrow.compute as pc

        items = pc.list_flatten(values)
        if not len(items):
            return ["[]"]
        lists = lists_of(plain(pc.list_value_length(values)), joined_parts(self._inner.parts(items), len(items)))
        return ["[", joined_lists(lists, ","), "]"]


class RowColumns(Column):
    """Records, by the names of their columns, with what is to be true of them together.

    ``empty`` are columns that a record leaves out of its text where they are empty or missing, as they are in all of these rows.
    """

    def __init__(
        self, columns: Mapping[str, tuple[str, Column]], conditions: Sequence[Callable[[Any], bool]] = (), empty: Sequence[str] = ()
    ) -> None:
        self.columns, self.conditions, self.empty = columns, conditions, empty

    def check(self, values: Any) -> None:
        """As ``Column.check``."""
        import pyarrow as pa
        import pyarrow.compute as pc

        for name, (_, column) in self.columns.items():
            found = pc.struct_field(values, name)
            require(isinstance(column, OptionalColumn) or not found.null_count)
            column.check(found)
        for name in self.empty:
            found = pc.struct_field(values, name)
            is_list = pa.types.is_list(found.type)
            require(not found.null_count and not len(pc.list_flatten(found)) if is_list else found.null_count == len(found))
        for condition in self.conditions:
            require(condition(values))

    def parts(self, values: Any, without: frozenset[str] = frozenset()) -> Parts:
        """As ``Column.parts``."""
        import pyarrow.compute as pc

        found: Parts = []
        for name, (written, column) in self.columns.items():
            if name not in without:
                found += [f'{"," if found else "{"}"{written}":', *column.parts(pc.struct_field(values, name))]
        return [*found, "}"] if found else ["{}"]


class OmittingColumns(RowColumns):
    """Records whose text has some of the columns only where a text column among these is not empty."""

    def __init__(self, columns: Mapping[str, tuple[str, Column]], unstated: frozenset[str], stated_by: str) -> None:
        super().__init__(columns)
        self._unstated, self._stated_by = unstated, stated_by

    def parts(self, values: Any, without: frozenset[str] = frozenset()) -> Parts:
        """As ``Column.parts``."""
        import pyarrow.compute as pc

        count = len(values)
        stated = pc.not_equal(pc.struct_field(values, self._stated_by), "")
        whole = joined_parts(super().parts(values, without), count)
        short = joined_parts(super().parts(values, without | self._unstated), count)
        return [pc.if_else(stated, whole, short)]


def none_too_long(pairs: Any) -> bool:
    """The condition of the same name of ``pair_records.Pair``."""
    import pyarrow.compute as pc

    frames, rates = (plain(pc.struct_field(pairs, name)) for name in ("num_frames", "sample_rate"))
    return bool((frames <= LONGEST_EXCERPT_S * rates).all())


def are_fed(signals: Any) -> bool:
    """The condition ``pair_records.Signal._sends_are_fed``, of signals whose column of sends is empty."""
    del signals
    return True


class BothTextColumns(Column):
    """A text of two conditions."""

    def __init__(self, one: TextColumn, other: TextColumn) -> None:
        self._one, self._other = one, other

    def check(self, values: Any) -> None:
        """As ``Column.check``."""
        self._one.check(values)
        self._other.check(values)

    def parts(self, values: Any) -> Parts:
        """As ``Column.parts``."""
        return self._other.parts(values)
