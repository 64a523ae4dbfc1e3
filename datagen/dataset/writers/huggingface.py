"""``huggingface``: Parquet files with the sound in their cells and a card that names them: ``datasets.load_dataset(folder, kind)``.

Conventions
    ``dataset/<kind>/<split>-000000.parquet``; one row an example: id, track_id, text, what places and scales it, ``labels`` (the JSON text
    that ``webdataset`` has as a member), and a column ``<role>_<name>`` for each signal, ``{"bytes", "path"}``, empty where an example has
    no such signal.
    The kinds are configurations of the card, since they have different columns.
    Sound is stored neither compressed nor as a dictionary, so that the file contains it byte for byte; it would not get smaller.
    A group of rows holds at most 100 rows and, unless a single row is larger, 32 * 10^6 bytes of sound.

References
    The ``huggingface`` entry of the schema's metadata names the features, as ``datasets`` itself writes it.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from stemwright.datagen.dataset.writers import card
from stemwright.datagen.dataset.writers.kinds import KindsById, columns_of
from stemwright.datagen.dataset.writers.packing import ShardWriter
from stemwright.datagen.dataset.writers.shard_plan import ShardContent
from stemwright.manifests.disk import mirror
from stemwright.manifests.pair_records import Example, Pair
from stemwright.manifests.records import Member
from stemwright.manifests.shards import in_dataset, read

if TYPE_CHECKING:
    import pyarrow

GROUP_ROWS = 100
GROUP_BYTES = 32e6
PLAIN_COLUMNS = {  # beside the sound: column -> (type in Arrow, type in datasets)
    "id": ("string", "string"),
    "track_id": ("string", "string"),
    "text": ("string", "string"),
    "start_frame": ("int64", "int64"),
    "num_frames": ("int64", "int64"),
    "sample_rate": ("int64", "int64"),
    "gain_db": ("float64", "float64"),
    "labels": ("string", "string"),
}


def features(signals: Sequence[tuple[str, str]]) -> dict[str, dict[str, Any]]:
    """The columns of a kind as ``datasets`` calls them. ``signals`` are (role, name)."""
    plain = {name: {"dtype": dtype, "_type": "Value"} for name, (_, dtype) in PLAIN_COLUMNS.items()}
    return {**plain, **{f"{role}_{name}": {"_type": "Audio"} for role, name in signals}}


class ParquetShard:
    """One Parquet file of examples."""

    suffix = ".parquet"

    def suits(self, file: Path, content: ShardContent) -> bool:
        """All files of a kind must have the same columns."""
        import pyarrow.parquet as pq

        with mirror.opened(file) as parquet:
            return list(pq.read_schema(parquet).names) == list(features(content.signals))

    def assemble(self, file: Path, content: ShardContent) -> list[Member]:
        """Writes the file, one group of rows after another."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        schema = _schema(content.signals)
        sounds = [name for name in schema.names if name not in PLAIN_COLUMNS]
        compression = dict.fromkeys(PLAIN_COLUMNS, "zstd") | {f"{name}.{part}": "none" for name in sounds for part in ("bytes", "path")}
        members: list[Member] = []
        with pa.OSFile(str(file), "wb") as sink:
            options: dict[str, Any] = {"compression": compression, "use_dictionary": False, "write_statistics": list(PLAIN_COLUMNS)}
            with pq.ParquetWriter(sink, schema, **options) as writer:
                for rows, paths in _groups(content):
                    start = sink.tell()
                    writer.write_table(pa.Table.from_pylist(rows, schema=schema), row_group_size=len(rows))
                    sink.flush()
                    members += _found(file, start, sounds, rows, paths)
        return members


class HuggingFaceWriter(ShardWriter):
    """Parquet shards."""

    format_name = "huggingface"
    assembler = ParquetShard()
    loading = """import datasets  # 5.2 decodes audio with torchcodec 0.13 or newer: pip install "datasets[audio]"

data = datasets.load_dataset("dataset", "{kind}", split="{split}")
data[0]["{column}"].get_all_samples().data  # [C, T]; data[0]["labels"] is JSON: every signal with its chain"""

    @classmethod
    def card_head(cls, dataset: Path, pairs: Sequence[Pair], examples: Sequence[Example]) -> dict[str, Any]:
        """Which files hold which kind and split, and the columns and sizes of each kind."""
        kinds, groups = card.split_counts(pairs), KindsById(pairs)
        signals: dict[str, set[tuple[str, str]]] = {kind: set() for kind in kinds}
        for example in examples:
            kind, _ = groups.names[groups.number(example.pair_id)]
            signals[kind].update((file.role, file.name) for file in example.signals)
        infos = [_info(kind, sorted(signals[kind])) for kind in kinds]
        sizes = dict(columns_of(read(dataset), "path", "num_bytes"))
        sized = [{**info, **_sizes(sizes, info["config_name"], kinds[info["config_name"]])} for info in infos]
        return {**super().card_head(dataset, pairs, examples), "dataset_info": sized}


def _info(kind: str, signals: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """What the card says about the columns of a kind, whose signals are (role, name)."""
    columns = [{"name": name, "dtype": dtype} for name, (_, dtype) in PLAIN_COLUMNS.items()]
    columns += [{"name": f"{role}_{name}", "dtype": "audio"} for role, name in signals]
    return {"config_name": kind, "features": columns}


def _sizes(sizes: Mapping[str, int], kind: str, splits: dict[str, int]) -> dict[str, Any]:
    """How large the splits of a kind are; ``datasets`` ignores an entry that lacks one of these."""
    num_bytes = {name: sum(size for path, size in sizes.items() if path.startswith(f"{kind}/{name}-")) for name in splits}
    listed = [{"name": name, "num_bytes": num_bytes[name], "num_examples": count} for name, count in splits.items()]
    return {"splits": listed, "download_size": sum(num_bytes.values()), "dataset_size": sum(num_bytes.values())}


def _groups(content: ShardContent) -> Iterator[tuple[list[dict[str, Any]], list[dict[str, str]]]]:
    """Rows of the file, and for each row what the examples' table calls its sound files, by column; so many as make one group."""
    rows: list[dict[str, Any]] = []
    paths: list[dict[str, str]] = []
    group_bytes = 0
    for pair, example in content.examples:
        row: dict[str, Any] = {name: getattr(pair, name) for name in PLAIN_COLUMNS if hasattr(pair, name)}
        row |= {"gain_db": example.gain_db, "labels": content.labels(pair, example)}
        files = {f"{file.role}_{file.name}": file for file in example.signals}
        sound = {name: {"bytes": content.loose.read(file), "path": PurePosixPath(file.audio.path).name} for name, file in files.items()}
        size = sum(len(cell["bytes"]) for cell in sound.values())
        if rows and (len(rows) == GROUP_ROWS or group_bytes + size > GROUP_BYTES):
            yield rows, paths
            rows, paths, group_bytes = [], [], 0
        rows.append(row | sound)
        paths.append({name: in_dataset(file.audio.path) for name, file in files.items()})
        group_bytes += size
    if rows:
        yield rows, paths


def _found(
    file: Path, start: int, sounds: Sequence[str], rows: Sequence[dict[str, Any]], paths: Sequence[dict[str, str]]
) -> Iterator[Member]:
    """Where in the file the sounds of the group are that was just written from ``start`` on: column by column, row by row."""
    with file.open("rb") as parquet:
        parquet.seek(start)
        group = parquet.read()
    at = 0
    for name in sounds:
        for row, named in zip(rows, paths, strict=True):
            if name not in named:
                continue
            data = row[name]["bytes"]
            head = struct.pack("<I", len(data)) + data[:64]  # PLAIN: the length, then the bytes
            at = group.index(head, at)
            while group[at + 4 : at + 4 + len(data)] != data:
                at = group.index(head, at + 1)
            yield Member(path=named[name], start_byte=start + at + 4, num_bytes=len(data))
            at += 4 + len(data)


def _schema(signals: Sequence[tuple[str, str]]) -> pyarrow.Schema:
    import pyarrow as pa

    sound = pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])
    fields = [pa.field(name, getattr(pa, kind)()) for name, (kind, _) in PLAIN_COLUMNS.items()]
    fields += [pa.field(f"{role}_{name}", sound) for role, name in signals]
    return pa.schema(fields, metadata={"huggingface": json.dumps({"info": {"features": features(signals)}})})
