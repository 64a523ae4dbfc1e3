"""Writers: the one place that knows what a dataset looks like on disk.

    folder        one folder for each example, one sound file for each signal
    webdataset    tars of a bounded size, as ``webdataset.WebDataset`` reads them
    huggingface   Parquet files with the sound in their cells, as ``datasets.load_dataset`` reads them
    musdb         a tree of the shape of MUSDB18-HQ, as ``musdb.DB(root, is_wav=True)`` reads it

A writer has two duties: ``write`` puts the signals of one pair into the files that ``paths`` names and returns the example's row (in a
worker, for many pairs at once); ``finish`` makes of them what the format wants and adds what makes the
dataset complete by itself (in one process, when all examples are there).

Conventions
    The row of an example calls each signal ``dataset/<split>/<kind>/<pair id>/<role>_<name>.flac``. A format with shards packs these files
    in ``finish`` and removes them; ``stemwright.manifests.shards`` finds them again. So a changed format is packed again, but not rendered
    again. A peak that 24 bits cannot hold takes one gain for all signals of the example, a whole number of hundredths of a dB, kept in its
    row. A signal that is a gain curve is always 32-bit float, and takes no gain. Float files take peaks as they are: no gain there.
    A file under its final name is complete: each is written under a hidden name beside it and renamed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from stemwright.datagen.dataset.writers.base import DATASET, DatasetWriter
from stemwright.datagen.dataset.writers.folder import FolderWriter
from stemwright.datagen.dataset.writers.huggingface import HuggingFaceWriter
from stemwright.datagen.dataset.writers.musdb import MusdbWriter, title_of
from stemwright.datagen.dataset.writers.webdataset import WebDatasetWriter

if TYPE_CHECKING:
    from stemwright.datagen.dataset.dataset_config import DatasetConfig
    from stemwright.manifests.records import Track
    from stemwright.manifests.sound.formats import Encoding

__all__ = ["DATASET", "WRITERS", "DatasetWriter", "FolderWriter", "HuggingFaceWriter", "MusdbWriter", "WebDatasetWriter", "writer_of"]

WRITERS: dict[str, Callable[..., DatasetWriter]] = {
    "folder": FolderWriter,
    "webdataset": WebDatasetWriter,
    "huggingface": HuggingFaceWriter,
    "musdb": MusdbWriter,
}


def writer_of(section: DatasetConfig, encoding: Encoding, tracks: Iterable[Track] = ()) -> DatasetWriter:
    """The writer that a configuration asks for. ``tracks`` give the folders of the MUSDB layout their names."""
    if section.format == "musdb":
        return MusdbWriter(encoding, {track.id: title_of(track) for track in tracks})
    if section.format == "folder":
        return FolderWriter(encoding)
    return WRITERS[section.format](encoding, shard_mb=section.shard_mb, shard_examples=section.shard_examples)
