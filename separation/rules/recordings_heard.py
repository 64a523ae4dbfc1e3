"""What rules are measured of in a recording: its file, with given stems or separated ones.

Conventions
    Those of ``stemwright.separation.balance.recordings``. The mixture is the file's own, at its own sample rate.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from stemwright.manifests.metadata import year_and_genre
from stemwright.manifests.sound import containers
from stemwright.manifests.sound.decoding import load_song
from stemwright.separation.balance.own_stems import multitrack_files
from stemwright.separation.balance.recordings import measure_recording
from stemwright.separation.balance.track_balance import TrackBalance
from stemwright.separation.rules.quantities import Heard

PAN_MARGIN = 0.1  # of separated stems, where their balance states no interval of the pan


def hear_recording(
    path: Path, separator: Any, *, stems: Path | None = None, on_share: Callable[[float], None] | None = None
) -> tuple[TrackBalance, Heard]:
    """The balance of a recording, and what rules are measured of; arguments and errors as in ``measure_recording``."""
    found = measure_recording(path, separator, stems=stems, on_share=on_share)
    mixture, sample_rate = load_song(mixture_file(path))
    given = stems is not None or path.is_dir()
    return found, Heard(mixture, sample_rate, found.loudness, found.stems, 0.0 if given else PAN_MARGIN)


def mixture_file(path: Path) -> Path:
    """The file of a recording's mixture: its own, or the one in its folder."""
    return multitrack_files(path)[0] if path.is_dir() else path


def tagged_year_and_genre(path: Path) -> tuple[int | None, str | None]:
    """The year and the genre that the tags of a recording name; None: they name none."""
    found, _ = year_and_genre({}, containers.tags(mixture_file(path)))
    return found["year"], found["genre"]
