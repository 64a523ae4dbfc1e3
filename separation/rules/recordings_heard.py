"""What rules are measured of in a recording: its file, with given stems or separated ones.

Conventions
    Those of ``stemwright.separation.balance.recordings``. The mixture is the file's own, at its own sample rate.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from stemwright.manifests.sound.decoding import load_song
from stemwright.separation.balance.own_stems import Files
from stemwright.separation.balance.recordings import DEFAULTS, RecordingOptions, measure_recording
from stemwright.separation.balance.track_balance import TrackBalance
from stemwright.separation.rules.quantities import Heard


def hear_recording(
    path: Path,
    separator: Any,
    *,
    stems: Path | Files | None = None,
    on_share: Callable[[float], None] | None = None,
    options: RecordingOptions = DEFAULTS,
) -> tuple[TrackBalance, Heard]:
    """The balance of a recording, and what rules are measured of; arguments and errors as in ``measure_recording``."""
    found = measure_recording(path, separator, stems=stems, on_share=on_share, options=options)
    mixture, sample_rate = load_song(Path(found.path))
    return found, Heard(mixture, sample_rate, found.loudness, found.stems)
