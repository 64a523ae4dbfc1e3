"""What a list of songs says about a recording beyond the columns of a track: its year, its genre, anything, as text by name.

Conventions
    Names are those of the columns, in lower case. Only what is not empty is there. In JSON an object, in Parquet its JSON text, since
    every list has other columns; ``Track.metadata`` and, for each source of a pair, ``Provenance.metadata`` have it.
"""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainSerializer, SerializationInfo
from pydantic_core import to_json


def _as_mapping(value: Any) -> Any:
    values = json.loads(value) if isinstance(value, str) else value
    return dict(sorted(values.items())) if isinstance(values, dict) else values


def _as_text_in_arrow(value: dict[str, str], info: SerializationInfo) -> Any:
    return to_json(value).decode() if info.context == "arrow" else value


Metadata = Annotated[
    dict[str, str],
    BeforeValidator(_as_mapping),
    PlainSerializer(_as_text_in_arrow),
    Field(description="other columns of the CSV that lists the songs (year, genre, ...), text by name; JSON text in Parquet"),
]
