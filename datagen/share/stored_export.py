"""Exporting into a store: what an export folder holds, under the same names, and nothing that is there already is replaced.

    s3://BUCKET/PREFIX/manifest.json ...        the tables without sound, as in a folder
    s3://BUCKET/PREFIX/dataset/mix/train-000000.tar ...        the dataset, under the names that its own tables and card use

Conventions
    The dataset's table of examples is put last: once it is there, the dataset is complete. An export that was stopped goes on; one that is
    complete stays as it is, and another needs a prefix of its own.
    The tables that ``PairDataset`` reads are written in groups of GROUP_ROWS rows, so that one column of a million rows is a few requests.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from stemwright.datagen.run.corpus import CorpusError
from stemwright.manifests import shards
from stemwright.manifests.disk.bulk import STORAGE
from stemwright.manifests.disk.mirror import is_mirrored
from stemwright.manifests.disk.regular import regular
from stemwright.manifests.disk.stores import Address
from stemwright.manifests.pair_records import Example
from stemwright.manifests.progress import OnProgress
from stemwright.manifests.shards import DATASET
from stemwright.manifests.table_rows import TableRows

GROUP_ROWS = 1 << 18
LAST = ("pairs.parquet", "examples.parquet")  # in this order
UPLOADS = 8


def check_free(place: Address) -> None:
    """Raises CorpusError if a prefix holds a complete export, or what is none."""
    found = {each.key for each in place.store.list(place.prefix)}
    if place.below(f"{DATASET}/{LAST[-1]}").prefix in found:
        raise CorpusError(f"{place} holds a complete dataset, which others may be reading; export to another prefix")
    ours = (place.below("manifest.json").prefix, f"{place.below(DATASET).prefix}/")
    if found and not any(key.startswith(ours) for key in found):
        raise CorpusError(f"{place} holds other objects ({min(found)}); give an empty prefix")


def put_export(place: Address, tables: Path, files: dict[str, Path], on_progress: OnProgress | None = None) -> None:
    """Puts an export into a store: the folder of its tables, and the files of its dataset by their paths there. Raises StoreError."""
    plain = {path.name: path for path in sorted(tables.iterdir()) if path.is_file()}
    plain |= {f"{DATASET}/{name}": path for name, path in files.items() if name not in LAST}
    with ThreadPoolExecutor(UPLOADS) as pool:
        for done, name in enumerate(pool.map(lambda each: _put(place, *each), plain.items()), 1):
            if on_progress:
                on_progress(done, len(plain), name)
    for name in (name for name in LAST if name in files):
        regrouped = tables / f".{name}"
        regroup(files[name], regrouped)
        _put(place, f"{DATASET}/{name}", regrouped)


def _put(place: Address, name: str, source: Path) -> str:
    """Puts a file, unless an object of its size is there from an export that was stopped."""
    target = place.below(name)
    if target.store.size(target.prefix) != regular(source).stat().st_size:
        target.store.put(target.prefix, source, create=False)
    return name


def regroup(source: Path, target: Path) -> None:
    """Writes a table again with the same rows and metadata, GROUP_ROWS to a group."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = pq.ParquetFile(regular(source))
    metadata = {key: value for key, value in (file.metadata.metadata or {}).items() if key != b"ARROW:schema"}
    schema = file.schema_arrow.with_metadata(metadata)
    with pq.ParquetWriter(target, schema, compression="zstd") as writer:
        for group in _groups(file):
            writer.write_table(pa.Table.from_batches(group, schema=file.schema_arrow).replace_schema_metadata(metadata), GROUP_ROWS)


def _groups(file: object) -> Iterator[list[object]]:
    waiting, count = [], 0
    for batch in file.iter_batches(1 << 14):  # type: ignore[attr-defined]
        waiting.append(batch)
        count += batch.num_rows
        if count >= GROUP_ROWS:
            yield waiting
            waiting, count = [], 0
    if waiting:
        yield waiting


def dataset_files(dataset: Path) -> Iterator[str]:
    """The files of a dataset that are ours: what a user has put beside them, or behind a link, is not exported."""
    examples = TableRows(dataset / "examples.parquet", Example) if (dataset / "examples.parquet").exists() else ()
    sounds = (file.audio.path for example in examples for file in example.signals)
    ours = shards.DatasetFiles(sounds, shards.read(dataset))
    for place, folders, names in os.walk(dataset):
        folders.sort()
        found = (Path(place, name).relative_to(dataset).as_posix() for name in sorted(names))
        yield from (name for name in found if name in ours and name != STORAGE)


def stored_shards(dataset: Path) -> dict[str, Path]:
    """The shards of a dataset that are in a store, by their paths in the dataset: where each is in the mirror."""
    places = shards.Places(dataset)
    return {path: file for path in places.shard_paths if is_mirrored(file := places.file_of(path))}
