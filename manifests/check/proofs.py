"""Sums of stems that a check measured before: a result holds for the same bytes, in any corpus and at any time.

Decoding and summing takes most of a check, at a third of the speed of comparing checksums. Every check compares all checksums; where those
of a mixture and of its stems are the ones that an earlier check decoded, and the sum was right, the sum is right.

Conventions
    A proof is the SHA-256 of all that a sum depends on: the checksums, what is played of a file, the gain, the limit, and the versions of
    the decoders. Only sums within the limit are proved; others are measured each time. Proofs are of no one corpus: they are cached in the
    user's cache as lines of 16 hexadecimal digits, appended one by one; any other line is ignored.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path

from stemwright.manifests import __version__
from stemwright.manifests.disk.folders import cache_folder
from stemwright.manifests.disk.regular import regular
from stemwright.manifests.records import Part, Stem, Track, content_id

FILE = "sums.txt"
LINE = re.compile(r"[0-9a-f]{16}")


class Proofs:
    """The proofs in a file, which need not exist."""

    def __init__(self, path: Path) -> None:
        self._path, self._lock, self._proofs = path, threading.Lock(), set[int]()
        with suppress(OSError, ValueError):  # no file, or no text
            self._proofs = {int(line, 16) for line in regular(path).read_text("ascii").splitlines() if LINE.fullmatch(line)}

    @classmethod
    def of_user(cls) -> Proofs:
        """Those in the user's cache."""
        return cls(cache_folder() / FILE)

    def __contains__(self, proof: str) -> bool:
        return int(proof, 16) in self._proofs

    def add(self, proof: str) -> None:
        """Keeps a proof, now and in the file; where that cannot be written, now only."""
        with self._lock:
            self._proofs.add(int(proof, 16))
            with suppress(OSError):
                self._path.parent.mkdir(parents=True, exist_ok=True)
                with self._path.open("a", encoding="ascii") as file:
                    file.write(f"\n{proof}\n")  # the first newline ends a line that a killed process left incomplete


def proof_of(track: Track, stems: Sequence[Stem], limit_dbfs: float) -> str:
    """The proof that some stems sum to the mixture of their track. It holds while every file has the checksum of its row."""
    return content_id(
        {
            "mixture": track.model_dump(mode="json", include={"mixture", "audio", "references", "delay_frames"}),
            "stems": sorted([stem.audio.sha256, stem.audio.stream] for stem in stems),
            "sample_rate": stems[0].audio.sample_rate,
            "gain_db": stems[0].gain_db,
            "limit_dbfs": limit_dbfs,
            "decoders": _versions(),
        }
    )


def proof_of_parts(stem: Stem, parts: Sequence[Part], limit_dbfs: float) -> str:
    """The proof that parts sum to their stem, as ``proof_of``."""
    return content_id(
        {
            "stem": [stem.audio.sha256, stem.gain_db],
            "parts": sorted([part.audio.sha256, part.gain_db] for part in parts),
            "limit_dbfs": limit_dbfs,
            "decoders": _versions(),
        }
    )


@cache
def _versions() -> dict[str, str]:
    """The versions of what decodes, resamples and sums."""
    return {name: metadata.version(name) for name in ("av", "soundfile", "soxr", "numpy")} | {"stemwright": __version__}
