"""Whether bf16 is good enough for a model on this machine, and faster: measured once, on a test signal, and cached.

Halving the bits of matrix products about doubles the speed of some processors and GPUs; others have the instructions but are slower with
them. The error of the stems depends on the weights. So both are measured: both precisions separate the same synthetic segment, and bf16 is
taken if it is clearly faster and no stem differs from its fp32 version by more than -45 dB.

Conventions
    The error of a stem is its energy against that of the fp32 stem, or against a hundredth of the mixture's where the stem is quieter than
    that. On a processor time is processor time, which a busy machine disturbs less than the clock.
    Decisions are stored in the cache folder by weights, versions and processor. ``precision="fp32"`` never measures.
"""

from __future__ import annotations

import json
import math
import platform
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from stemwright.manifests.disk.durable import write_bytes, write_first
from stemwright.manifests.records import content_id
from stemwright.manifests.sound.formats import Audio

LIMIT_DB = -45.0
LEAST_SPEEDUP = 1.2  # below this gain, exact stems are preferred
QUIET = 0.01  # of the mixture's energy


class Trial(NamedTuple):
    """bf16 compared with fp32: the error of the worst stem in dB, and how many times as fast."""

    error_db: float
    speedup: float


def processor() -> str:
    """The processor's name as the operating system reports it."""
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def processor_has_bf16() -> bool:
    """Whether the processor computes in bf16 natively, as far as the operating system says (Linux)."""
    flags = _cpuinfo("flags").split() + _cpuinfo("Features").split()
    return bool({"avx512_bf16", "amx_bf16", "bf16"} & set(flags))


def _cpuinfo(field: str) -> str:
    path = Path("/proc/cpuinfo")
    found = re.search(rf"^{field}\s*:\s*(.+)$", path.read_text(encoding="utf-8", errors="replace"), re.MULTILINE) if path.exists() else None
    return found.group(1).strip() if found else ""


def probe_signal(num_frames: int, num_channels: int, sample_rate: int) -> Audio:
    """A synthetic segment [C, T] of deviation 1: decaying chords over a bass, and bursts of noise, placed differently in the channels."""
    rng = np.random.Generator(np.random.PCG64(7))
    time = np.arange(num_frames) / sample_rate
    audio = 0.01 * rng.standard_normal((num_channels, num_frames))
    for beat in np.arange(0.0, num_frames / sample_rate, 0.25):
        since = np.clip(time - beat, 0.0, None)
        sounding = time >= beat
        side = rng.uniform(0.3, 1.0, size=(num_channels, 1))
        pitch = 55.0 * 2 ** (rng.integers(0, 36) / 12)
        for harmonic in range(1, 9):
            audio += side * sounding * np.exp(-4.0 * since) * np.sin(2 * np.pi * pitch * harmonic * since) / harmonic
        audio += side[::-1] * sounding * np.exp(-40.0 * since) * rng.standard_normal(num_frames)
    return np.asarray(audio / audio.std(), dtype=np.float32)


def error_db(stems: Audio, exact: Audio, mixture: Audio) -> float:
    """The worst stem's error in dB, for stems [S, C, T] against exact ones."""
    floor = QUIET * float(np.sum(np.square(mixture, dtype=np.float64)))
    errors = np.sum(np.square(stems.astype(np.float64) - exact), axis=(1, 2))
    energies = np.maximum(np.sum(np.square(exact, dtype=np.float64), axis=(1, 2)), floor)
    worst = float(np.max(errors / energies))
    return 10.0 * math.log10(worst) if worst > 0 else -math.inf


def bf16_is_better(key: object, cache: Path, measure: Callable[[], Trial]) -> bool:
    """Whether bf16 stays within the limit and is faster: from the cache under ``key``, or measured now."""
    path = cache / "precision" / f"{content_id([key, processor()])}.json"
    try:
        found = _kept(path)
    except (OSError, ValueError, KeyError, TypeError):
        found = _first(path, measure())
    return found.error_db <= LIMIT_DB and found.speedup >= LEAST_SPEEDUP


def _kept(path: Path) -> Trial:
    kept = json.loads(path.read_text(encoding="utf-8"))
    return Trial(float(kept["error_db"]), float(kept["speedup"]))


def _first(path: Path, measured: Trial) -> Trial:
    """Stores a trial, unless another process was first: times differ between measurements, and the names of stems depend on the decision.

    Where nothing can be written the trial applies to this process only.
    """
    measured = measured._replace(error_db=max(measured.error_db, -400.0))  # JSON has no infinity
    data = json.dumps(measured._asdict()).encode()
    with suppress(OSError):
        if not write_first(path, data):
            with suppress(ValueError, KeyError, TypeError):
                return _kept(path)
            write_bytes(path, data)  # the existing file cannot be read
    return measured
