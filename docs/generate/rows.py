"""The reference of rows: every table of a corpus and of its dataset, every column with what it holds, from the records themselves."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from generate.tables import cell, code, table
from stemwright.datagen.run.corpus import VERBS
from stemwright.manifests import dataset_rows, row_types
from stemwright.manifests.records import Record
from stemwright.manifests.table import arrow_schema

HEAD = """# Rows and files

Every table is a Parquet file that `pandas.read_parquet` opens; `import stemwright as sw; sw.read_table(path)` does the same. Columns that
hold records (an audio file, a signal, a chain) are structs; the settings of an effect, which differ from effect to effect, are JSON text.

An id is 16 hex digits. `id` is a hash of the finished row, so that an edited row gives itself away; a track's is a hash of its sound alone.
Paths are relative, with forward slashes. A level that does not exist (silence) is null, never a very low number.

## The folder of a corpus

```text
CORPUS/
├── config.toml            the configuration as it was run, defaults filled in
├── tracks.parquet         what each song is: content, rate, length, artist, split
├── stems.parquet          what was separated, by which model, on which scale, how well the sum closes
├── parts.parquet, part_estimates.parquet    where a further model takes drums apart: its parts, and what was measured of them
├── estimates.parquet      level of each stem against the mixture with an interval, pan, width, when it plays
├── track_estimates.parquet, features.parquet, profile.parquet, normalisations.parquet    where the configuration asks for them
├── statistics.parquet     numbers that another package adds to the profile
├── pairs.parquet          every pair with every setting that was drawn
├── redraws.parquet        pairs that were drawn again, because wet and dry sounded alike
├── examples.parquet       every rendered file with its checksum, loudness and peak
├── rejected.parquet       what was refused, and why
├── fingerprints/          of each song, by which copies of it are found; made again if they are deleted
├── stems/<model>/<track id>/   drums.flac  bass.flac  other.flac  vocals.flac  residual.flac   (they sum to the mixture)
└── dataset/               what a training job reads; complete by itself, can be moved
    ├── README.md  pairs.parquet  examples.parquet  (shards.parquet)
    ├── train/mix/<pair id>/       input_drums.flac ... target_mixture.flac
    ├── train/removal/<pair id>/   input_wet.flac  target_dry.flac
    └── valid/ ...  test/ ...
```

While a stage runs, its table is a journal, `NAME.jsonl.part`: one JSON line for each finished task. When the stage ends, the journal
becomes the Parquet file by rename. A killed run goes on from the journal. While a dataset with shards is rendered, its sounds are in
`dataset/.spool/`, from which they are packed.

This page is generated from the records that check the rows.

"""


def write(path: Path) -> None:
    """Writes the page."""
    parts = [HEAD, "## Tables of a corpus\n"]
    for name, record_type in row_types.ROW_TYPES.items():
        if name != "shards":
            parts.append(_table(f"{name}.parquet", record_type, name, f"Written by `stemwright {VERBS[name]}`." if name in VERBS else ""))
    parts.append("## Tables of a dataset\n")
    for name, record_type in dataset_rows.ROW_TYPES.items():
        parts.append(_table(f"dataset/{name}.parquet", record_type, f"dataset-{name}", ""))
    parts.append("## Records inside rows\n")
    parts += [_record(record_type) for record_type in sorted(_inner(), key=lambda each: each.__name__)]
    path.write_text("\n".join(parts), encoding="utf-8")


def _table(title: str, record_type: type[Record], anchor: str, note: str) -> str:
    anchor = anchor.replace("_", "-")
    about = " ".join([cell(" ".join((record_type.__doc__ or "").split())), note]).strip()
    return f"(table-{anchor})=\n### `{title}`\n\n{about}\n\n{_columns(record_type)}"


def _record(record_type: type[Record]) -> str:
    about = cell(" ".join((record_type.__doc__ or "").split()))
    return f"(record-{record_type.__name__.lower()})=\n### {record_type.__name__}\n\n{about}\n\n{_columns(record_type)}"


def _columns(record_type: type[Record]) -> str:
    rows = []
    for name, field, arrow in zip(record_type.model_fields, record_type.model_fields.values(), arrow_schema(record_type), strict=True):
        inner = next(_records(field.annotation), None)
        kind = f"[{inner.__name__}](#record-{inner.__name__.lower()})" if inner else code(_short(str(arrow.type)))
        kind = f"list of {kind}" if inner and str(arrow.type).startswith("list") else kind
        meaning = "hash of the row" if name == "id" and not field.description else field.description or ""
        rows.append([code(name), kind + (" or null" if arrow.nullable else ""), cell(re.sub(r"\bNone\b", "null", meaning))])
    return table(["column", "type", "holds"], rows)


def _short(arrow: str) -> str:
    for long, short in (("list<item: ", "list of "), (" not null>", ""), (">", ""), ("double", "float64")):
        arrow = arrow.replace(long, short)
    return arrow


def _records(annotation: object) -> Iterator[type[Record]]:
    if isinstance(annotation, type) and issubclass(annotation, Record):
        yield annotation
    for part in get_args(annotation):
        yield from _records(part)


def _inner() -> set[type[Record]]:
    found: set[type[Record]] = set()
    waiting = [*row_types.ROW_TYPES.values(), *dataset_rows.ROW_TYPES.values()]
    while waiting:
        for field in waiting.pop().model_fields.values():
            for record_type in _records(field.annotation):
                if record_type not in found:
                    found.add(record_type)
                    waiting.append(record_type)
    return found
