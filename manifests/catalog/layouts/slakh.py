"""Slakh2100, its deduplicated edition Slakh2100-redux, and BabySlakh: a folder per song with ``metadata.yaml``, a mixture and ``stems``.

    [train | validation | test | omitted/]Track00001/metadata.yaml
    Track00001/mix.flac
    Track00001/stems/S00.flac

``metadata.yaml`` has for each stem ``inst_class`` (the MIDI instrument's class), ``is_drum``, ``midi_program_name`` and
``audio_rendered`` (false: there is no file).

Conventions
    Bass, and drums where ``is_drum`` says so; there are no vocals, all else is other. Guitars and pianos of their own are made by patterns:
    ``guitar = ["guitar"]`` in [songs.stems] matches the class.
    Songs of the folder omitted are refused: the data set's authors found them to be duplicates of others. The original edition has them
    among the others, and catalog finds by their sound those that are copies.
    The original edition, without folders of splits, has them by number: up to Track01500 train, up to Track01875 validation, then test.
    BabySlakh, the first twenty, has none: in a folder that is called so they are drawn.

References
    Manilow, Wichern, Seetharaman and Le Roux, "Cutting Music Source Separation Some Slakh", WASPAA 2019. http://www.slakh.com.
    github.com/ethman/slakh-utils, README: layout, metadata, splits. Licence: CC BY 4.0.
"""

from __future__ import annotations

import re
from pathlib import Path

from stemwright.manifests.catalog.layouts.base import Multitrack, MultitrackFile, mapping, read_yaml, sounds_below, text, yes_or_no
from stemwright.manifests.names import name_from
from stemwright.manifests.records import Refused, Split

EXPECTED = "a folder Track00001 with metadata.yaml, mix.flac and stems/S00.flac ..."
AUTOMATIC = True
RIGHTS = "CC BY 4.0"
TRACK = re.compile(r"Track(\d{5})", re.IGNORECASE)
SPLITS: dict[str, Split] = {"train": "train", "validation": "valid", "test": "test"}
LAST_TRAIN, LAST_VALID = 1500, 1875  # of the original edition


def is_song(folder: Path, names: frozenset[str]) -> bool:
    """Whether it is called Track and five digits, and has something of a song of Slakh."""
    return TRACK.fullmatch(folder.name) is not None and bool(names & {"metadata.yaml", "stems", "mix.flac", "mix.wav"})


def read(folder: Path) -> Multitrack:
    """The song of a folder. Raises Refused if its mixture, its metadata or a stem is missing, or it is one of the omitted."""
    if folder.parent.name.lower() == "omitted":
        raise Refused("omitted by Slakh2100-redux: a duplicate of another of its songs")
    mixture = next((name for name in ("mix.flac", "mix.wav") if (folder / name).is_file()), None)
    there = {Path(name).stem.upper(): name for name in sounds_below(folder / "stems")}
    lacking = [name for name, found in (("mix.flac", mixture), ("metadata.yaml", (folder / "metadata.yaml").exists())) if not found]
    if lacking or not there:
        raise Refused(f"is missing {', '.join(lacking or ['stems'])}; expected {EXPECTED}. Is the download complete?")
    listed = {name.upper(): mapping(stem) for name, stem in mapping(read_yaml(folder / "metadata.yaml").get("stems")).items()}
    if missing := sorted(name for name, stem in listed.items() if name not in there and yes_or_no(stem.get("audio_rendered")) is not False):
        raise Refused(f"metadata.yaml names stems {', '.join(missing)}, which are missing; is the download complete?")
    files = [_file(f"stems/{name}", number, listed.get(number, {})) for number, name in sorted(there.items())]
    unknown = [number for number in sorted(there) if number not in listed]
    notes = (f"metadata.yaml does not name {', '.join(unknown)}: counted to other",) if unknown else ()
    return Multitrack(tuple(files), mixture, title=folder.name, rights=RIGHTS, split=_split(folder), notes=notes)


def _file(path: str, number: str, stem: dict[str, object]) -> MultitrackFile:
    instrument, programme = text(stem.get("inst_class")), text(stem.get("midi_program_name"))
    is_drum = yes_or_no(stem.get("is_drum"))
    part = "drums" if is_drum or name_from(instrument or "") == "drums" else "bass" if name_from(instrument or "") == "bass" else "other"
    called = f"{number} {'Drums' if is_drum else instrument}" if instrument or is_drum else number
    return MultitrackFile(path, tuple(label for label in (called, number, instrument, programme) if label), part, bleed=False)


def _split(folder: Path) -> Split | None:
    above = folder.parent.name.lower()
    if above in SPLITS:
        return SPLITS[above]
    if "baby" in above:
        return None
    number = int(TRACK.fullmatch(folder.name)[1])  # type: ignore[index]  # as is_song found
    return "train" if number <= LAST_TRAIN else "valid" if number <= LAST_VALID else "test"
