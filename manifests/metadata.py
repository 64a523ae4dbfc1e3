"""What is said about a recording beyond the columns of a track: its year, its genre, anything that a list of songs has, as text by name.

Conventions
    Names are those of the columns, in lower case. Only what is not empty is there. In JSON an object, in Parquet its JSON text, since
    every list has other columns; ``Track.metadata`` and, for each source of a pair, ``Provenance.metadata`` have it. Where the list has no
    year or genre, those of the tags of the file are there under these names.
    ``year_of`` and ``genre_of`` read what people and programs write there. A text that could be two years, or none, is no year: a guess
    would be counted like a fact.

References
    ID3v2.4 (TDOR, TDRC), ID3v2.3 (TORY, TYER), Vorbis comments (DATE), MP4 as ffmpeg names them, Picard's tag mapping (ORIGINALDATE,
    originalyear). ISO 8601.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainSerializer, SerializationInfo
from pydantic_core import to_json

EARLIEST_YEAR, LATEST_YEAR = 1000, 2100  # a tag may give the year of a work: of chant as of an announced release
LONGEST_GENRE, MOST_GENRES = 100, 16  # characters of one; genres of a song
SHOWN = 40  # characters of what is no year, in a note
# By precedence: the first release before this one's, which may be of a reissue; ASF and QuickTime names last.
ORIGINAL_YEARS = ("originaldate", "originalyear", "original_date", "original_year", "original date", "original year", "tdor", "tory")
YEARS = (
    *ORIGINAL_YEARS,
    "wm/originalreleaseyear",
    "wm/originalreleasetime",
    "year",
    "date",
    "release_year",
    "release_date",
    "tyer",
    "tdrc",
)
GENRES = ("genre", "genres", "wm/genre")
_DATE = re.compile(r"([0-9]{4})(?:[-/.][0-9]{1,2}(?:[-/.][0-9]{1,2})?(?:[T ][0-9:.,Z+ -]*)?)?|([0-9]{4})\.0+")
_COMPACT = re.compile(r"([0-9]{4})(0[1-9]|1[0-2])(0[1-9]|[12][0-9]|3[01])")
_FOUR_DIGITS = re.compile(r"(?<![0-9])[0-9]{4}(?![0-9a-z])", re.IGNORECASE)  # "1990s" is ten years
_BETWEEN_GENRES = re.compile(r"[;\0]| / ")  # not a comma: "Folk, World, & Country" is one

Year = Annotated[int, Field(ge=EARLIEST_YEAR, le=LATEST_YEAR)]
Genre = Annotated[str, Field(min_length=1, max_length=MOST_GENRES * (LONGEST_GENRE + 2))]


def is_none(value: Any) -> bool:
    """Whether a column has no value, which the text of a row then leaves out: rows of earlier versions keep their digests."""
    return value is None


def year_of(text: str) -> int | None:
    """The year that a date or a remark names; None where it names none, several, or one that no recording or work has.

    >>> from stemwright.manifests.metadata import year_of
    >>> [year_of(text) for text in ("1998-05-01T12:00", "c. 1975", "12 May 1984", "19xx", "20240", "1998-2003")]
    [1998, 1975, 1984, None, None, None]
    """
    plain = text.strip()
    if found := _DATE.fullmatch(plain) or _COMPACT.fullmatch(plain):
        year = int(found[1] or found[2])
    else:
        years = {int(each) for each in _FOUR_DIGITS.findall(plain[:LONGEST_GENRE])}
        year = years.pop() if len(years) == 1 else 0
    return year if EARLIEST_YEAR <= year <= LATEST_YEAR else None


def genre_of(text: str) -> str | None:
    """The genres that a text names, each once, with "; " between; None where there is none, or what is there is no name of a genre.

    >>> from stemwright.manifests.metadata import genre_of
    >>> genre_of("Hip-Hop/Rap;  Soul ;soul")
    'Hip-Hop/Rap; Soul'
    """
    names: dict[str, str] = {}
    for part in _BETWEEN_GENRES.split(text):
        name = " ".join("".join(" " if unicodedata.category(c) in ("Cc", "Cs") else c for c in part).split())
        if name and len(name) <= LONGEST_GENRE:
            names.setdefault(name.casefold(), name)
    return "; ".join(list(names.values())[:MOST_GENRES]) or None


def year_and_genre(listed: Mapping[str, str], tags: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    """The columns ``year``, ``genre`` and ``metadata`` of a track from a list of songs, or where its field is empty from the tags of its
    file (lower-case keys); and notes on what is neither a year nor a genre: such a song has none.
    """
    found: dict[str, Any] = {}
    notes = []
    for column, names, read in (("year", YEARS, year_of), ("genre", GENRES, genre_of)):
        sources = [[source[name] for name in names if source.get(name, "").strip()] for source in (listed, tags)]
        texts = sources[0] or sources[1]  # what the list says is not replaced by a tag, which it may be there to correct
        values = [read(text) for text in texts]
        found[column] = next((value for value in values if value is not None), None)
        if texts and values[0] is None:
            shown = texts[0] if len(texts[0]) <= SHOWN else f"{texts[0][:SHOWN]}..."
            what = f"a year from {EARLIEST_YEAR} to {LATEST_YEAR}" if column == "year" else f"a genre of at most {LONGEST_GENRE} characters"
            instead = f"{found[column]} of another tag or column is used" if found[column] is not None else "left out"
            notes.append(f"its {column} is {shown!r}; expected {what}: {instead}")
    said = {name: str(found[name]) for name in ("year", "genre") if found[name] is not None and name not in listed}
    return {**found, "metadata": dict(sorted({**said, **listed}.items()))}, notes


def _as_mapping(value: Any) -> Any:
    values = json.loads(value) if isinstance(value, str) else value
    return dict(sorted(values.items())) if isinstance(values, dict) else values


def _as_text_in_arrow(value: dict[str, str], info: SerializationInfo) -> Any:
    return to_json(value).decode() if info.context == "arrow" else value


Metadata = Annotated[
    dict[str, str],
    BeforeValidator(_as_mapping),
    PlainSerializer(_as_text_in_arrow),
    Field(description="year, genre, and the other columns of the CSV that lists the songs, text by name; JSON text in Parquet"),
]
