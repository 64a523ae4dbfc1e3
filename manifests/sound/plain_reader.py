"""WAV, AIFF, W64, CAF and FLAC as libsndfile reads them: exact, and the fastest that seeks.

Conventions
    Audio is float32 [C, T], full scale 1.0. Only files whose header states a length that is there are read here; others go to ffmpeg's
    libraries (``coded_reader``), which read to the end of a file whatever its header says.
    Where the whole of a FLAC from outside is read, its samples are compared with the MD5 that its header states: a mismatch is
    only noted, since each frame has a checksum of its own, which libsndfile verifies, and programs that cut or edit a FLAC may leave
    the header as it was. It takes as long again as decoding, so files of our own, whose rows have their checksums, are not compared.

References
    RFC 9639, 8.2: the MD5 is over the samples, interleaved, signed, little-endian, in whole bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from stemwright.manifests.records import Refused
from stemwright.manifests.sound.formats import Audio, info_of

OTHER_MD5 = "the MD5 of its samples is not the one in its header: it was edited or damaged after it was encoded"


class PlainReader:
    """A file that libsndfile has open. Raises Refused if it is none that it can read."""

    num_streams = 1

    def __init__(self, path: Path, md5: bytes = bytes(16)) -> None:
        import soundfile

        self.notes: list[str] = []
        self._md5, self._hash, self._num_hashed = md5, hashlib.md5(usedforsecurity=False) if any(md5) else None, 0
        self._path = path
        try:
            self._file: Any = soundfile.SoundFile(path)
        except soundfile.LibsndfileError as error:
            raise Refused(f"not a readable sound file ({str(error.error_string).rstrip('.')})") from error
        try:
            self.info = info_of(self._file)
        except Refused:
            self._file.close()
            raise

    def __enter__(self) -> PlainReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read(self, start_frame: int, num_frames: int | None) -> Audio:
        """[C, T] from ``start_frame``; shorter than requested only where the file ends."""
        return self._next(-1 if num_frames is None else num_frames, start_frame)

    def blocks(self, block_frames: int) -> Iterator[Audio]:
        """The whole file as [C, block_frames]; the last may be shorter."""
        # python-soundfile seeks after each read of a file in which it can, and then libsndfile decodes a frame of FLAC again.
        self._file.seekable = lambda: False
        while (block := self._next(block_frames)).shape[1]:
            yield block

    def _next(self, num_frames: int, start_frame: int = 0) -> Audio:
        import soundfile

        is_short = self._file.subtype == "PCM_16"  # numpy scales and transposes in one pass what libsndfile scales value by value
        try:
            if start_frame:
                self._file.seek(min(start_frame, self.info.num_frames))
            read = self._file.read(num_frames, dtype="int16" if is_short else "float32", always_2d=True)
            if self._hash is not None and not start_frame and len(read):
                self._add(read)
            read = read.T
            return np.multiply(read, np.float32(2.0**-15), order="C") if is_short else np.ascontiguousarray(read)
        except soundfile.LibsndfileError as error:
            phrase = str(error.error_string).rstrip(".")
            raise Refused(f"{self._path.name} cannot be decoded ({phrase}). Is it truncated?") from error

    def _add(self, read: np.ndarray) -> None:
        """Takes samples [T, C] as they are read, int16 or float32, for the MD5 of a FLAC; at the end compares it."""
        assert self._hash is not None
        self._hash.update(_in_three_bytes(read) if read.dtype == np.float32 else np.ascontiguousarray(read, "<i2").data)
        self._num_hashed += len(read)
        if self._num_hashed == self.info.num_frames and self._hash.digest() != self._md5:
            self.notes.append(OTHER_MD5)


def _in_three_bytes(read: np.ndarray) -> memoryview:
    """Samples of 24 bits, which are exact in float32, as three little-endian bytes each."""
    whole = (read * np.float32(2.0**23)).astype("<i4")
    return np.ascontiguousarray(whole.view(np.uint8).reshape(-1, 4)[:, :3]).data
