"""Arrow arrays from numpy and from lists of texts: pyarrow's own ways import pandas, which takes 0.2 s and 46 MB."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pyarrow


def numbers_in_arrow(numbers: npt.NDArray[Any]) -> pyarrow.Array:
    """Whole numbers in Arrow, of the same number of bits.

    >>> import numpy as np
    >>> from stemwright.manifests.arrow_arrays import numbers_in_arrow
    >>> numbers_in_arrow(np.array([3, 1])).to_pylist()
    [3, 1]
    """
    import pyarrow as pa

    kind = pa.int32() if numbers.dtype == np.int32 else pa.int64()
    return pa.Array.from_buffers(kind, len(numbers), [None, pa.py_buffer(np.ascontiguousarray(numbers))])


def texts_in_arrow(texts: Sequence[str]) -> pyarrow.StringArray:
    """Texts in Arrow.

    >>> from stemwright.manifests.arrow_arrays import texts_in_arrow
    >>> texts_in_arrow(["drums", ""]).to_pylist()
    ['drums', '']
    """
    import pyarrow as pa

    parts = [text.encode() for text in texts]
    ends = np.cumsum([0, *map(len, parts)], dtype=np.int32)
    return pa.StringArray.from_buffers(len(parts), pa.py_buffer(ends), pa.py_buffer(b"".join(parts)))


@lru_cache(1024)
def text_in_arrow(text: str) -> pyarrow.StringScalar:
    """A text that functions of Arrow take for all rows."""
    return texts_in_arrow([text])[0]


def joined_texts(*parts: Any) -> pyarrow.StringArray:
    """The texts that consist of parts: arrays of texts, and texts that are the same in each row."""
    import pyarrow.compute as pc

    return pc.binary_join_element_wise(*(text_in_arrow(part) if isinstance(part, str) else part for part in parts), text_in_arrow(""))


def joined_lists(lists: pyarrow.ListArray, joint: str) -> pyarrow.StringArray:
    """The texts of each list with a joint between them."""
    import pyarrow.compute as pc

    return pc.binary_join(lists, text_in_arrow(joint))


def lists_of(lengths: npt.NDArray[Any], items: pyarrow.Array) -> pyarrow.ListArray:
    """Lists of these lengths [N], whose items follow one another."""
    import pyarrow as pa

    ends = np.zeros(len(lengths) + 1, np.int32)
    np.cumsum(lengths, out=ends[1:])
    return pa.ListArray.from_arrays(numbers_in_arrow(ends), items)
