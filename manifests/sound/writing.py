"""Writing sound files.

Conventions
    24-bit FLAC holds round(x * 2^23), so what was read from 24 bits is written back bit for bit; a peak above full scale is refused,
    never clipped.
    Writing is by rename (``durable``): a file under its final name is complete. The same audio gives the same bytes.
"""

from __future__ import annotations

import errno
import hashlib
import io
import shutil
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from stemwright.manifests.decibels import gain_to_db
from stemwright.manifests.disk.durable import begin, hidden, leftovers, naming, put, remove, write_bytes
from stemwright.manifests.disk.regular import file_sha256
from stemwright.manifests.names import HIGHEST_RATE, LOWEST_RATE, MOST_CHANNELS
from stemwright.manifests.sound.float_wav import wav_header
from stemwright.manifests.sound.formats import SUFFIXES, Audio, Encoding
from stemwright.manifests.sound.resampling import resample

MP3_RATES = (32_000, 44_100, 48_000)  # of MPEG-1 layer III; lower ones exist, with lower quality and less support
FULL_SCALE = float(2**23)
FLAC_CHANNELS = 8  # RFC 9639, section 9.1.3


def encode(audio: Audio, sample_rate: int, encoding: Encoding) -> bytes:
    """The bytes of a sound file of [C, T], of which ``load`` takes the shape and the rate.

    Raises ValueError on what it does not take, on samples that are not finite, or on a peak that 24-bit samples cannot represent.
    """
    import soundfile

    check_shape(audio.shape, sample_rate, encoding)
    if encoding == "wav32f":
        samples = np.ascontiguousarray(audio.T, dtype="<f4")
        if not np.isfinite(samples).all():
            raise ValueError("audio contains NaN or infinite samples")
        return wav_header(sample_rate, audio.shape[0], audio.shape[1]) + samples.tobytes()
    buffer = io.BytesIO()
    soundfile.write(buffer, _to_int24(audio), sample_rate, subtype="PCM_24", format="FLAC")
    return buffer.getvalue()


def check_shape(shape: tuple[int, ...], sample_rate: int, encoding: Encoding) -> None:
    """Raises ValueError on a shape or a rate that ``load`` refuses, or that FLAC cannot hold."""
    most = MOST_CHANNELS if encoding == "wav32f" else FLAC_CHANNELS
    if len(shape) != 2:
        raise ValueError(f"audio is [channels, time]; got {len(shape)} axes, {list(shape)}; did you mean audio[None]?")
    if not 1 <= shape[0] <= most:
        hint = "; did you mean audio.T?" if 1 <= shape[1] <= most else "; write .wav" if 1 <= shape[0] <= MOST_CHANNELS else ""
        what = "of 1 to {} channels" if encoding == "wav32f" else "of 1 to {} channels in FLAC"
        raise ValueError(f"audio is [channels, time], {what.format(most)}; got {list(shape)}{hint}")
    if not LOWEST_RATE <= sample_rate <= HIGHEST_RATE:
        raise ValueError(f"sample_rate: expected {LOWEST_RATE:,} to {HIGHEST_RATE:,} Hz; got {sample_rate:g}")


def as_stored(audio: Audio, encoding: Encoding) -> Audio:
    """The samples that reading a file of this encoding gives: those of ``flac24`` are rounded to 24 bits."""
    if encoding == "wav32f":
        return audio
    scaled = np.rint(audio * np.float32(FULL_SCALE))
    return np.asarray(np.clip(scaled, -FULL_SCALE, FULL_SCALE - 1) / np.float32(FULL_SCALE), np.float32)


def encode_mp3(audio: Audio, sample_rate: int) -> bytes:
    """The bytes of an MP3 file of 160 kbit/s (stereo, 44.1 kHz): to listen to in a browser, never to train on. The same audio gives the
    same bytes.

    MP3 has no rate above 48 kHz: such audio is resampled to it. Raises ValueError on samples that are not finite or beyond full scale.
    """
    import soundfile

    peak = float(np.abs(audio).max(initial=0.0))
    if not peak <= 1.0:
        raise ValueError(f"audio peaks at {peak:g}; expected at most full scale, 1.0, since MP3 would clip it. Scale it down")
    rate = sample_rate if sample_rate in MP3_RATES else min((rate for rate in MP3_RATES if rate > sample_rate), default=max(MP3_RATES))
    buffer = io.BytesIO()
    samples = np.ascontiguousarray(resample(audio, sample_rate, rate).T)
    soundfile.write(buffer, samples, rate, format="MP3", subtype="MPEG_LAYER_III", bitrate_mode="CONSTANT", compression_level=0.5)
    return buffer.getvalue()


def save(path: Path | str, audio: npt.NDArray[np.floating], sample_rate: int, *, encoding: Encoding | None = None) -> str:
    """Writes float [C, T], full scale 1.0, whole or not at all, and returns the SHA-256 of the file.

    ``.flac`` is written in 24 bit and ``.wav`` in 32-bit float, unless ``encoding`` ("flac24" or "wav32f") says otherwise. Folders are
    made. Raises ValueError for another suffix, NaN or infinity, and, in FLAC, a peak above full scale: nothing is clipped; and for a
    shape or a rate that ``load`` refuses: 1 to 64 channels (8 in FLAC), 4 to 768 kHz.

    >>> import numpy, stemwright as sw
    >>> _ = sw.save("noise.flac", numpy.random.default_rng(0).normal(0, 0.1, (2, 4410)), 44_100)
    >>> sw.load("noise.flac")[0].shape
    (2, 4410)
    """
    path = Path(path)
    by_suffix = {suffix: name for name, suffix in SUFFIXES.items()}
    if encoding is None and path.suffix.lower() not in by_suffix:
        raise ValueError(f"expected a sound file that ends in {' or '.join(by_suffix)}; got {str(path)!r}")
    data = encode(audio, sample_rate, encoding or by_suffix[path.suffix.lower()])
    write_bytes(path, data)
    return hashlib.sha256(data).hexdigest()


class Writer:
    """Writes a sound file block by block: a context manager that renames into place on success and leaves nothing on failure.

    ``write(block)`` takes float32 [C, t]. ``sha256`` and ``num_bytes`` are set once the file is in place.
    """

    def __init__(self, path: Path | str, sample_rate: int, num_channels: int, *, encoding: Encoding = "flac24") -> None:
        self.path = Path(path)
        self.sample_rate, self.num_channels, self.encoding = sample_rate, num_channels, encoding
        self.num_frames = self.num_bytes = 0
        self.sha256 = ""
        self._temporary = hidden(self.path)

    def __enter__(self) -> Writer:
        self._temporary = begin(self.path)
        if self.encoding == "wav32f":
            self._file: Any = self._temporary.open("wb")
            self._file.write(wav_header(self.sample_rate, self.num_channels, 0))
        else:
            import soundfile

            self._file = soundfile.SoundFile(
                self._temporary, "w", samplerate=self.sample_rate, channels=self.num_channels, subtype="PCM_24", format="FLAC"
            )
        return self

    def write(self, block: Audio) -> None:
        """Appends [C, t]. Raises OSError on a full disk, ValueError as ``encode`` does."""
        if block.shape[0] != self.num_channels:
            raise ValueError(f"{self.path.name} has {self.num_channels} channels; got a block of {block.shape[0]}")
        self.num_frames += block.shape[1]
        if self.encoding == "wav32f":
            with naming(self.path):
                self._file.write(np.ascontiguousarray(block.T, dtype="<f4").tobytes())
            return
        import soundfile

        try:
            self._file.write(_to_int24(block))
        except soundfile.LibsndfileError as error:
            raise self._as_os_error(error) from error

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if kind is None and self.encoding == "wav32f":
                self._file.seek(0)
                self._file.write(wav_header(self.sample_rate, self.num_channels, self.num_frames))
            self._file.close()
            if kind is None:
                self.sha256, self.num_bytes = file_sha256(self._temporary), self._temporary.stat().st_size
                put(self._temporary, self.path)
        finally:
            remove([self._temporary])

    def _as_os_error(self, error: Exception) -> OSError:
        full = shutil.disk_usage(self.path.parent).free < 1 << 20
        return OSError(errno.ENOSPC if full else errno.EIO, "No space left on device" if full else str(error), str(self.path))


def remove_leftovers(folder: Path) -> int:
    """Removes the unfinished files that killed processes left below a folder; returns how many."""
    found = leftovers(folder)
    remove(found)
    return len(found)


def _to_int24(audio: Audio) -> npt.NDArray[np.int32]:
    """[C, T] as interleaved 32-bit integers whose upper 24 bits are round(x * 2^23)."""
    scaled = np.rint(audio.T * np.float32(FULL_SCALE))
    peak = float(np.abs(scaled).max(initial=0.0))
    if not peak <= FULL_SCALE:
        what = (
            "contains NaN or infinite samples"
            if not np.isfinite(peak)
            else f"peaks at {gain_to_db(peak / FULL_SCALE):+.2f} dBFS, which 24-bit samples cannot represent"
        )
        raise ValueError(f"audio {what}; scale it down, record the gain, or write float WAV")
    return np.ascontiguousarray(np.clip(scaled, -FULL_SCALE, FULL_SCALE - 1).astype(np.int32) << 8)
