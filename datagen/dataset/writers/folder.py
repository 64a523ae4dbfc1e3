"""``folder``: one folder for each example, one sound file for each signal.

Conventions
    ``dataset/<split>/<kind>/<pair id>/<role>_<name>.flac`` (or .wav), beside the tables of pairs and examples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stemwright.datagen.dataset.writers.base import loose_cache_key, loose_paths, write_loose
from stemwright.datagen.dataset.writers.packing import finish_loose
from stemwright.manifests.records import Example, Pair
from stemwright.manifests.sound.formats import Audio, Encoding


@dataclass(frozen=True)
class FolderWriter:
    """One folder for each example, one sound file for each signal."""

    encoding: Encoding = "flac24"

    def cache_key(self, pair: Pair) -> str:
        """The id of the work: of the pair, the encoding and this version."""
        return loose_cache_key(pair, self.encoding)

    def paths(self, pair: Pair) -> dict[tuple[str, str], str]:
        """One file for each signal."""
        return loose_paths(pair, self.encoding)

    def write(self, corpus: Path, pair: Pair, signals: Mapping[str, Audio]) -> Example:
        """Encodes and writes the signals. The same pair gives the same bytes."""
        return write_loose(corpus, pair, signals, self.encoding)

    def finish(self, corpus: Path, pairs: Sequence[Pair], examples: Sequence[Example], *, made_from: str = "") -> int:
        """Copies the tables into the dataset and removes the files of examples that are no longer planned."""
        return finish_loose(corpus, pairs, examples, "folder", made_from=made_from)
