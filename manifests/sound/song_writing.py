"""Songs as files for listeners and editors: WAV, FLAC, MP3, AAC in mp4, Opus, Vorbis. The files of a corpus are written by ``writing``.

Conventions
    Audio is float [C, T], full scale 1.0. ``.wav`` is 32-bit float and ``.flac`` 24 bit unless ``bits`` says otherwise.
    Float WAV holds any peak; every other format ends at full scale (``SongFormat.ceiling``), and a higher peak is refused, never clipped.
    16 bit is dithered: triangular noise of one step to each side, whose error is then white and independent of the music. A sample that
    16 bits hold exactly is kept as it is: a song of 16 bits of which nothing was changed is written back bit for bit, and silence is
    silence. The noise is drawn from one seed, so the same audio gives the same bytes. At full scale the noise ends with the range.
    24 bit is rounded: its step is 40 dB below the noise of any converter.
    A lossy file decodes to the length of the song: its container states the delay and padding of the encoder. mp4 can state a delay to
    the sample, but players do not cut its end: silence goes before the song until the end of the last packet is the end of the song, and
    is stated as delay. What a decoder makes of the file is read back before it is written: ``write_song`` returns notes on what differs.
    Vorbis of a second or two, which is a single page, does not come back to the sample and is refused.
    Tags are those of ``containers.tags``: title, artist, album, date, genre, track, copyright, comment.

References
    Lipshitz, Wanner, Vanderkooy 1992, Quantization and dither, J. AES 40(5): triangular dither of two steps' width makes the first two
    moments of the error independent of the signal. RIFF INFO: Microsoft, Multimedia Programming Interface 1.0 (1991), chapter 2.
"""

from __future__ import annotations

import io
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stemwright.manifests.decibels import gain_to_db
from stemwright.manifests.disk.durable import remove_earlier, write_bytes
from stemwright.manifests.sound.formats import Audio
from stemwright.manifests.sound.lossy_coding import coding_rate, decoded, encoded, nearest_bit_rate
from stemwright.manifests.sound.resampling import resample
from stemwright.manifests.sound.writing import check_shape, encode
from stemwright.manifests.usage import UsageError

LOSSY = {".mp3": "mp3", ".m4a": "aac", ".opus": "opus", ".ogg": "vorbis"}
USUAL_KBPS = {"mp3": 320.0, "aac": 256.0, "opus": 192.0, "vorbis": 256.0}
CALLED = {"mp3": "MP3", "aac": "AAC", "opus": "Opus", "vorbis": "Vorbis"}
FLOAT = 32
BITS = {".wav": (16, 24, FLOAT), ".flac": (16, 24)}
USUAL_BITS = {".wav": FLOAT, ".flac": 24}
SONG_SUFFIXES = (*BITS, *LOSSY)
# tag -> its name in libsndfile, and in RIFF INFO
TAGS = {
    "title": ("title", b"INAM"),
    "artist": ("artist", b"IART"),
    "album": ("album", b"IPRD"),
    "date": ("date", b"ICRD"),
    "genre": ("genre", b"IGNR"),
    "track": ("tracknumber", b"ITRK"),
    "copyright": ("copyright", b"ICOP"),
    "comment": ("comment", b"ICMT"),
}
OVERSHOOT_DB = 0.1  # of a decoded file above full scale: less is inaudible where a player clips it


@dataclass(frozen=True)
class SongFormat:
    """How a song is written: the suffix, the bits of a sample (32: float) or None, the codec and its bit rate in kbit/s or None."""

    suffix: str
    bits: int | None = None
    codec: str | None = None
    bit_rate_kbps: float | None = None

    @property
    def ceiling(self) -> float:
        """The highest sample that the file holds: 1.0, or infinite."""
        return math.inf if self.bits == FLOAT else 1.0

    @property
    def name(self) -> str:
        """What a message calls it, such as "16-bit FLAC"."""
        if self.codec:
            return CALLED[self.codec]
        return ("float " if self.bits == FLOAT else f"{self.bits}-bit ") + self.suffix[1:].upper()


def song_format(path: Path, bits: int | None = None, bit_rate_kbps: float | None = None) -> SongFormat:
    """The format of a file by its suffix. Raises UsageError for a suffix, bits or a bit rate that is not written."""
    suffix = path.suffix.lower()
    if suffix in BITS:
        if bit_rate_kbps is not None:
            raise UsageError(f"a bit rate is for {', '.join(LOSSY)}; {path.name} has bits: {_listed(BITS[suffix])}")
        if bits is not None and bits not in BITS[suffix]:
            raise UsageError(f"expected {_listed(BITS[suffix])} bits for {suffix}; got {bits}")
        return SongFormat(suffix, bits or USUAL_BITS[suffix])
    if suffix not in LOSSY:
        raise UsageError(f"expected an output file that ends in {_listed(SONG_SUFFIXES)}; got {str(path)!r}")
    if bits is not None:
        raise UsageError(f"bits are for {_listed(tuple(BITS))}; {path.name} has a bit rate in kbit/s")
    codec = LOSSY[suffix]
    if bit_rate_kbps is not None and not 8.0 <= bit_rate_kbps <= 512.0:
        raise UsageError(f"expected a bit rate of 8 to 512 kbit/s; got {bit_rate_kbps:g}")
    return SongFormat(suffix, None, codec, bit_rate_kbps or USUAL_KBPS[codec])


def _listed(values: tuple[Any, ...]) -> str:
    *others, last = map(str, values)
    return f"{', '.join(others)} or {last}" if others else last


def write_song(
    path: Path, audio: npt.NDArray[np.floating], sample_rate: int, how: SongFormat, tags: Mapping[str, str] | None = None
) -> tuple[str, ...]:
    """Writes [C, T], whole or not at all, and returns notes on what is not as it was given. Folders are made.

    Raises UsageError for what the format does not hold (more than two channels in a lossy one), ValueError for a peak above its ceiling.
    """
    check_channels(how, audio.shape[0])
    kept = {name: text.replace("\0", " ") for name, text in (tags or {}).items() if name in TAGS and text.strip()}
    audio, notes = np.asarray(audio, np.float32), tuple[str, ...]()
    if how.codec:
        data, notes = _lossy(audio, sample_rate, how, kept)
    elif how.suffix == ".flac":
        data = _flac(audio, sample_rate, how, kept)
    else:
        data = _with_info(_wav(audio, sample_rate, how), kept)
    remove_earlier(path)
    write_bytes(path, data)
    return notes


def check_channels(how: SongFormat, num_channels: int) -> None:
    """Raises UsageError if a format does not hold so many channels."""
    most = 2 if how.codec else 8 if how.suffix == ".flac" else 64
    if num_channels > most:
        others = ".wav" if num_channels > 8 else ".wav or .flac"
        raise UsageError(f"{how.name} is written with 1 or {most} channels; the song has {num_channels}: write {others}")


def dithered(audio: Audio) -> npt.NDArray[np.int16]:
    """[C, T] as 16-bit integers, with triangular dither but where a sample is one of them. Raises ValueError above full scale."""
    _check_peak(audio, "16-bit samples")
    scaled = audio.astype(np.float64) * 32768.0
    rng = np.random.default_rng(0)
    noise = rng.random(scaled.shape, np.float32) - rng.random(scaled.shape, np.float32)
    whole = np.rint(scaled)
    steps = np.where(whole == scaled, whole, np.rint(scaled + noise))
    return np.clip(steps, -32768, 32767).astype(np.int16)


def _check_peak(audio: Audio, what: str) -> None:
    peak = float(np.abs(audio).max(initial=0.0))
    if not np.isfinite(peak):
        raise ValueError("audio contains NaN or infinite samples")
    if peak > 1.0:
        raise ValueError(f"audio peaks at {gain_to_db(peak):+.2f} dBFS, which {what} cannot hold; scale it down, or write float WAV")


def _integers(audio: Audio, bits: int) -> npt.NDArray[Any]:
    """[T, C] as integers of 16 bits, or in the upper 24 of 32."""
    if bits == 16:
        return np.ascontiguousarray(dithered(audio).T)
    _check_peak(audio, "24-bit samples")
    steps = np.clip(np.rint(audio.T * np.float32(2**23)), -(2**23), 2**23 - 1)
    return np.ascontiguousarray(steps.astype(np.int32) << 8)


def _wav(audio: Audio, sample_rate: int, how: SongFormat) -> bytes:
    import soundfile

    if how.bits == FLOAT:
        return encode(audio, sample_rate, "wav32f")
    check_shape(audio.shape, sample_rate, "wav32f")
    assert how.bits is not None
    buffer = io.BytesIO()
    soundfile.write(buffer, _integers(audio, how.bits), sample_rate, subtype=f"PCM_{how.bits}", format="WAV")
    return buffer.getvalue()


def _with_info(data: bytes, tags: Mapping[str, str]) -> bytes:
    """A WAV file with its tags in a LIST chunk behind the samples."""
    if not tags:
        return data
    entries = b""
    for name, text in tags.items():
        value = text.encode("utf-8") + b"\0"
        entries += TAGS[name][1] + struct.pack("<I", len(value)) + value + b"\0" * (len(value) % 2)
    data += b"\0" * (len(data) % 2) + b"LIST" + struct.pack("<I", len(entries) + 4) + b"INFO" + entries
    if len(data) - 8 > 0xFFFFFFFF:
        raise ValueError("so many samples and tags do not fit a WAV file (4 GiB); write .flac")
    return data[:4] + struct.pack("<I", len(data) - 8) + data[8:]


def _flac(audio: Audio, sample_rate: int, how: SongFormat, tags: Mapping[str, str]) -> bytes:
    import soundfile

    check_shape(audio.shape, sample_rate, "flac24")
    assert how.bits is not None
    buffer = io.BytesIO()
    with soundfile.SoundFile(buffer, "w", samplerate=sample_rate, channels=len(audio), format="FLAC", subtype=f"PCM_{how.bits}") as file:
        for name, text in tags.items():
            setattr(file, TAGS[name][0], text)
        file.write(_integers(audio, how.bits))
    return buffer.getvalue()


def _lossy(audio: Audio, sample_rate: int, how: SongFormat, tags: Mapping[str, str]) -> tuple[bytes, tuple[str, ...]]:
    """The bytes of a lossy file, and notes on its rate, length and peak as it is decoded."""
    assert how.codec is not None
    assert how.bit_rate_kbps is not None
    check_shape(audio.shape, sample_rate, "flac24")
    _check_peak(audio, how.name)
    rate = coding_rate(how.codec, sample_rate)
    at_rate = resample(audio, sample_rate, rate)
    kbps = nearest_bit_rate(how.codec, how.bit_rate_kbps, sample_rate)
    named = {TAGS[name][0]: text for name, text in tags.items()} if how.codec == "vorbis" else dict(tags)
    data = encoded(at_rate, rate, how.codec, kbps, tags=named)
    found, notes = decoded(data, how.codec), list[str]()
    if rate != sample_rate:
        notes.append(f"resampled from {sample_rate:,} to {rate:,} Hz: {how.name} does not have the rate of the song")
    late = found.shape[1] - at_rate.shape[1]
    if late and how.codec == "vorbis":
        raise UsageError(
            f"{how.name} does not keep the length of this song: expected {at_rate.shape[1]:,} frames, got {found.shape[1]:,} when it was "
            "decoded. That happens to very short and to silent songs; write .opus, .flac or .wav"
        )
    if late:
        notes.append(f"{how.name} ends {late:,} frames after the song, which is shorter than its packets: silence")
    if (over_db := gain_to_db(float(np.abs(found).max(initial=0.0)))) > OVERSHOOT_DB:
        notes.append(f"{how.name} decodes to a peak of {over_db:+.2f} dBFS: a player of 16 bits clips what is above full scale")
    return data, tuple(notes)
