"""Writers: the only modules that define how a dataset is stored on disk.

    folder        one folder for each example, one sound file for each signal
    webdataset    tars of a bounded size, as ``webdataset.WebDataset`` reads them
    huggingface   Parquet files with the sound in their cells, as ``datasets.load_dataset`` reads them
    musdb         a tree of the shape of MUSDB18-HQ, as ``musdb.DB(root, is_wav=True)`` reads it

A writer has two duties: ``write`` puts the signals of one pair into the files that ``paths`` names and returns the example's row (in a
worker, for many pairs at once); ``finish`` makes of them what the format requires and adds what makes the
dataset complete by itself (in one process, when all examples are there).

To add a format: one file with a subclass of ``packing.LooseWriter`` (sound files by themselves) or ``packing.ShardWriter`` (packed), which
states its name, its encodings, how it is opened and its options; and one line in ``WRITERS``, or an entry point of the group
``stemwright.formats`` in another package.

Conventions
    The row of an example calls each signal ``dataset/<split>/<kind>/<pair id>/<role>_<name>.flac``. A format with shards packs these files
    in ``finish`` and removes them; ``stemwright.manifests.shards`` finds them again. So a changed format is packed again, but not rendered
    again. A peak that 24 bits cannot hold takes one gain for all signals of the example, a whole number of hundredths of a dB, kept in its
    row. A signal that is a gain curve is always 32-bit float, and takes no gain. Float files take peaks as they are: no gain there.
    A file under its final name is complete: each is written under a hidden name beside it and renamed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from stemwright.datagen.dataset.writers.base import DATASET, DatasetWriter
from stemwright.manifests.registry import Registry, requires

if TYPE_CHECKING:
    from stemwright.manifests.records import Track
    from stemwright.manifests.sound.formats import Encoding

__all__ = ["DATASET", "WRITERS", "DatasetWriter", "writer_of"]

WRITERS: Registry[type[DatasetWriter]] = Registry(
    "format",
    "stemwright.formats",
    {
        "folder": "stemwright.datagen.dataset.writers.folder:FolderWriter",
        "webdataset": "stemwright.datagen.dataset.writers.webdataset:WebDatasetWriter",
        "huggingface": "stemwright.datagen.dataset.writers.huggingface:HuggingFaceWriter",
        "musdb": "stemwright.datagen.dataset.writers.musdb:MusdbWriter",
    },
    check=requires(
        format_name=str,
        encodings=tuple,
        loading=str,
        from_section=callable,
        check=callable,
        cache_key=callable,
        paths=callable,
        write=callable,
        finish=callable,
    ),
)


def writer_of(section: Any, encoding: Encoding, tracks: Callable[[], Iterable[Track]] = tuple) -> DatasetWriter:
    """The writer that ``[dataset]`` selects. ``tracks`` gives the rows of the tracks to a format that names its folders after them."""
    return WRITERS[section.format].from_section(section, encoding, tracks)
