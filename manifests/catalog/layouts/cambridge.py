"""Raw multitracks as the library of "Mixing Secrets" (Cambridge Music Technology) gives them: a folder of numbered files, no mixture.

    Artist_Title_Full/01_Kick.wav
    Artist_Title_Full/02_SnareUp.wav
    Artist_Title_Full/03_SnareDown.wav

Conventions
    A song is a folder in which most of the sound files are numbered from 01 upwards; or one in which only such a folder is.
    The names of its stems are those of the files without the number, word by word: 01_KickIn is kick_in. There is no mixture, so it is
    summed only with songs.mixture = "sum": what is summed then is raw tracks as they were recorded, without faders and pans. All files are
    taken to start at once.
    A preview of the mix ("..._Full_Preview.mp3") in the folder is no stem, and no mixture either, since raw tracks do not sum to it: it is
    left out with a note.
    This layout is only read where --kind names it, since an album is a folder of numbered files, too.

References
    Senior, "Mixing Secrets for the Small Studio", its multitrack library: https://cambridge-mt.com/ms/mtk/.
"""

from __future__ import annotations

import re
from pathlib import Path

from stemwright.manifests.catalog.layouts.base import Multitrack, MultitrackFile, sounds_below
from stemwright.manifests.catalog.stem_map import spaced, without_number
from stemwright.manifests.records import Refused

EXPECTED = "a folder of numbered files: 01_Kick.wav, 02_SnareUp.wav ..."
AUTOMATIC = False
NUMBERED = re.compile(r"\d{2,3}[\s._-]+\S")
PREVIEW = re.compile(r"(full|un|re)?[\s_-]*(mix[\s_-]*)?preview|full[\s_-]*mix", re.IGNORECASE)
FEWEST, MOST_UNNUMBERED = 2, 0.5
ENDS = re.compile(r"[\s_-]*(full|edit|multitracks?|stems)$", re.IGNORECASE)  # of the folder's name: the edition of a download
SUFFIXES = (".wav", ".flac", ".aif", ".aiff", ".mp3", ".m4a", ".ogg")


def is_song(folder: Path, names: frozenset[str]) -> bool:
    """Whether there are two numbered sound files, and at least as many as others."""
    del folder
    sounds = [name for name in names if name.lower().endswith(SUFFIXES)]
    numbered = [name for name in sounds if NUMBERED.match(name)]
    return len(numbered) >= FEWEST and len(numbered) >= MOST_UNNUMBERED * len(sounds)


def read(folder: Path) -> Multitrack:
    """The song of a folder. Raises Refused if its files are all previews."""
    found = sounds_below(folder)
    previews = [name for name in found if PREVIEW.search(Path(name).stem) and not NUMBERED.match(name)]
    files = [MultitrackFile(name, _labels(Path(name).stem)) for name in found if name not in previews]
    if not files:
        raise Refused(f"has no numbered files; expected {EXPECTED}")
    artist, title = _artist_and_title(ENDS.sub("", folder.name))
    notes = (f"{', '.join(previews)}: a preview of the mix, so neither a stem nor the mixture of raw tracks",) if previews else ()
    return Multitrack(files=tuple(files), title=title, artist=artist, notes=notes)


def _labels(name: str) -> tuple[str, ...]:
    plain = without_number(name)
    return (spaced(plain), plain, name)


def _artist_and_title(name: str) -> tuple[str | None, str]:
    """The halves of "Artist_Title" or "Artist - Title"; a name without either is a title."""
    artist, dash, title = name.partition(" - ") if " - " in name else name.partition("_")
    return (spaced(artist).strip(), spaced(title).strip()) if dash and artist and title else (None, name)
