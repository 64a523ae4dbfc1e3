"""The measured rates of stages on this machine, stored from runs that were long enough.

Conventions
    A rate is in seconds of audio a second of time, kept in the user's cache (``rates.json``), one for each stage with what it depends on:
    the model and the device, the number of processes. A later run replaces it. It is used in dry runs only, so a file that cannot be
    read or written is no error.
"""

from __future__ import annotations

import json
import math
from contextlib import suppress
from pathlib import Path

from stemwright.manifests.disk.durable import write_bytes
from stemwright.manifests.disk.folders import cache_folder

FILE = "rates.json"
LEAST_AUDIO_S, LEAST_SPENT_S = 10.0, 1.0  # a shorter run is mostly preparation


def remember(key: str, audio_s: float, spent_s: float) -> None:
    """Stores the rate of a run, unless the run was too short."""
    if audio_s < LEAST_AUDIO_S or spent_s < LEAST_SPENT_S:
        return
    with suppress(OSError):
        path = cache_folder() / FILE
        write_bytes(path, json.dumps({**_read(path), key: round(audio_s / spent_s, 4)}, indent=1, sort_keys=True).encode() + b"\n")


def known(key: str) -> float | None:
    """The rate that is kept under a key; None if none is."""
    return _read(cache_folder() / FILE).get(key)


def of_separation(separator: object) -> str:
    """The key of separating with a separator: its model and where it runs."""
    return f"separate {getattr(separator, 'origin', type(separator).__name__)} on {getattr(separator, 'device', 'cpu')}"


def of_stage(name: str, jobs: int) -> str:
    """The key of a stage with so many processes."""
    return f"{name} with {jobs}"


def _read(path: Path) -> dict[str, float]:
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    pairs = kept.items() if isinstance(kept, dict) else ()
    return {str(key): float(rate) for key, rate in pairs if isinstance(rate, int | float) and math.isfinite(rate) and rate > 0}
