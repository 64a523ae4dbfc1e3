"""Separated stems that are kept beside a balance, so that a second run measures without separating again, and gets the same figures.

Conventions
    A folder holds ``STEM.wav`` in 32-bit float, on the mixture's own scale, and ``stems.json``, which says by which model they were
    separated and the length of the mixture: by it they are known as separated stems, whose levels are estimates. Parts of a stem
    are in a folder of its name, ``drums/kick.wav``. Stems at the separator's
    sample rate stay there; the mixture is resampled to it, as when it was separated.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stemwright.manifests.disk.durable import make_folder, remove_earlier, write_bytes
from stemwright.manifests.names import checked_name
from stemwright.manifests.records import Refused
from stemwright.manifests.sound.decoding import load_song
from stemwright.manifests.sound.formats import Audio
from stemwright.manifests.sound.writing import save
from stemwright.separation.balance.basis import OF_STEM
from stemwright.separation.balance.own_stems import Files

FACTS = "stems.json"
FORMAT = 1
LONGEST_FACTS = 1 << 16  # bytes: more is not what was written here


@dataclass(frozen=True)
class SavedStems:
    """Stems in a folder, the origin and rate with which they were written, the number of their frames, and the key of the separator that
    made them ("" where that is not known), by which its calibration is found."""

    files: dict[str, Path]
    origin: str
    sample_rate: int
    num_frames: int
    key: str = ""

    def load(self, mixture: Audio, sample_rate: int) -> dict[str, Audio]:
        """The stems {name: [C, T]} of a mixture. Raises Refused if they are of another length, and so of another recording."""
        expected = mixture.shape[1] * self.sample_rate / sample_rate
        if abs(self.num_frames - expected) > 2:
            place = next(iter(self.files.values())).parent
            lasts_s, expected_s = self.num_frames / self.sample_rate, mixture.shape[1] / sample_rate
            raise Refused(
                f"the stems in {place} last {lasts_s:.3f} s and this recording {expected_s:.3f} s: they were separated from another; "
                "leave out --stems to separate it"
            )
        return {name: load_song(path)[0] for name, path in self.files.items()}


def save_stems(folder: Path, stems: Mapping[str, Audio], sample_rate: int, origin: str, key: str = "") -> None:
    """Writes separated stems {name: [C, T]} into a folder; files of those names are replaced. Raises ValueError for a name that is none."""
    make_folder(folder)
    facts = folder / FACTS
    remove_earlier(facts)
    write_bytes(facts, b"{}\n")  # until all are written: stems of which some are older must not be taken for one separation
    for name, audio in stems.items():
        save(folder / _file_name(name), audio, sample_rate, encoding="wav32f")
    num_frames = next(iter(stems.values())).shape[1]
    said: dict[str, object] = {"format": FORMAT, "origin": origin, "sample_rate": sample_rate, "num_frames": num_frames}
    if key:
        said["separator"] = key
    said["stems"] = [name for name in stems if OF_STEM not in name]
    if parts := [name for name in stems if OF_STEM in name]:
        said["parts"] = parts
    write_bytes(facts, (json.dumps(said, indent=1) + "\n").encode())


def _file_name(name: str) -> str:
    """The file of a stem, or of a part of one, in its folder. Raises ValueError for a name that is none."""
    return f"{OF_STEM.join(map(checked_name, name.split(OF_STEM, 1)))}.wav"


def saved_stems(files: Files) -> SavedStems | None:
    """The stems of these files, and the parts beneath them, if they are what ``save_stems`` wrote; None if they are not.

    Raises Refused if a part is missing.
    """
    folders = {path.parent for path, _ in files.values()}
    facts = next(iter(folders)) / FACTS if len(folders) == 1 else None
    if facts is None or not facts.is_file() or facts.stat().st_size > LONGEST_FACTS:
        return None
    try:
        said = json.loads(facts.read_bytes())
        origin, sample_rate, num_frames, names = str(said["origin"]), int(said["sample_rate"]), int(said["num_frames"]), list(said["stems"])
        key = str(said.get("separator", ""))
        parts = {str(name): facts.parent / _file_name(str(name)) for name in said.get("parts", [])}
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    if said.get("format") != FORMAT or set(names) != set(files):
        return None
    if missing := next((path for path in parts.values() if not path.is_file()), None):
        raise Refused(f"{facts} names {missing}, and there is no such file; leave out --stems to separate again")
    return SavedStems({name: files[name][0] for name in names} | parts, origin, sample_rate, num_frames, key)
