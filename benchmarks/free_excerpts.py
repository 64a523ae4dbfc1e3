"""Songs of a folder that ``free_music.py`` made, and the middle of them: what benchmarks read of free music.

Conventions
    Songs come in the order of their folders' names. Audio is float32 [2, T], at the sample rate of the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

PARTS = ("drums", "bass", "other")  # the stems of modules whose instruments are grouped, and of scores


def songs_with(music: Path, collection: str, stems: Sequence[str] = PARTS) -> list[Path]:
    """The folders of the songs of a collection ("modules", "scores", ...) that have a mixture and all those stems."""
    needed = ("mixture", *stems)
    return [place for place in sorted((music / collection).iterdir()) if all((place / f"{name}.flac").is_file() for name in needed)]


def middle(place: Path, duration_s: float, stems: Sequence[str] = PARTS) -> tuple[dict[str, np.ndarray], int]:
    """The middle of a song, or all of it where it is shorter: its stems, and their sample rate."""
    info = soundfile.info(place / "mixture.flac")
    count = min(info.frames, round(duration_s * info.samplerate))
    start = (info.frames - count) // 2
    read = {name: soundfile.read(place / f"{name}.flac", count, start, dtype="float32", always_2d=True)[0].T for name in stems}
    return read, info.samplerate
