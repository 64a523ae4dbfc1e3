"""``webdataset``: tars of a bounded size, read one after another by many trainers at once.

Conventions
    ``dataset/<kind>/<split>-000000.tar``. An example's members follow one another: ``<pair id>.input_drums.flac`` ..., ``<pair id>.json``
    with its labels (``stemwright.datagen.dataset.writers.as_written``: the pair's row, the joint gain, what was measured), in the order of
    their names. Times, owners and modes are fixed (1970, root, 0644), so the same examples give the same bytes.

References
    POSIX.1-1988, ustar interchange format. The naming of members is that of WebDataset (Aizman, Maltby, Breuel 2019).
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from stemwright.datagen.dataset.writers.packing import ShardWriter
from stemwright.datagen.dataset.writers.shard_plan import ShardContent
from stemwright.manifests.pair_records import SignalFile
from stemwright.manifests.records import Member
from stemwright.manifests.shards import in_dataset


class Tar:
    """One tar of examples."""

    suffix = ".tar"

    def suits(self, file: Path, content: ShardContent) -> bool:
        """A tar of the same sound files and labels is the same tar."""
        del file, content
        return True

    def assemble(self, file: Path, content: ShardContent) -> list[Member]:
        """Writes the tar, example by example."""
        members, at = [], 0
        with file.open("wb") as tar:
            for name, data, path in _entries(content):
                header = _header(name, len(data))
                tar.write(header + data + bytes(-len(data) % tarfile.BLOCKSIZE))
                if path is not None:
                    members.append(Member(path=path, start_byte=at + len(header), num_bytes=len(data)))
                at += len(header) + len(data) + -len(data) % tarfile.BLOCKSIZE
            tar.write(bytes(2 * tarfile.BLOCKSIZE))
        return members


class WebDatasetWriter(ShardWriter):
    """Tar shards."""

    format_name = "webdataset"
    assembler = Tar()
    loading = """import webdataset

data = webdataset.WebDataset("dataset/{kind}/{split}-{{000000..{last:06d}}}.tar", shardshuffle=False)
example = next(iter(data))  # the bytes of each signal by role and name, "json" with the labels; .decode(...) as you like

from stemwright import PairDataset

inputs, targets, mask = PairDataset("dataset", kind="{kind}", split="{split}")[0]  # in any order, without reading the shard up to it"""


def _entries(content: ShardContent) -> Iterator[tuple[str, bytes, str | None]]:
    """(name, bytes, what the row calls it) of each member; labels are called nothing."""
    for pair, example in content.examples:
        named: dict[str, SignalFile | None] = {f"{pair.id}.{PurePosixPath(file.audio.path).name}": file for file in example.signals}
        named[f"{pair.id}.json"] = None
        for name, file in sorted(named.items()):
            if file is None:
                yield name, content.labels(pair, example).encode(), None
            else:
                yield name, content.loose.read(file), in_dataset(file.audio.path)


def _header(name: str, num_bytes: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = num_bytes, 0o644, 0
    return info.tobuf(tarfile.USTAR_FORMAT)
