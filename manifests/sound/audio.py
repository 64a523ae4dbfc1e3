"""Sound files: the only module that opens them.

Conventions
    Audio is float32 [C, T], full scale 1.0; time is the last axis. Lengths and positions are in frames at the file's own rate.
    libsndfile reads WAV, FLAC, OGG, Opus and MP3; ffmpeg's libraries (PyAV) read m4a, aac and the streams of a STEM mp4.
    An excerpt equals the same frames of the whole file, except that an AAC encoder may leave noisy bands to the decoder to fill with
    noise of its own.
    24-bit FLAC holds round(x * 2^23), so what was read from 24 bits is written back bit for bit; a peak above full scale is refused,
    never clipped.
    Writing is by rename (``durable``): a file under its final name is complete. The same audio gives the same bytes
    (hence our own WAV header: libsndfile's float WAV carries the time of day).
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import shutil
import stat
import struct
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from stemwright.manifests.disk.durable import begin, hidden, leftovers, naming, put, remove, write_bytes
from stemwright.manifests.names import HIGHEST_RATE, LOWEST_RATE, MOST_CHANNELS, MOST_FRAMES
from stemwright.manifests.records import Refused
from stemwright.manifests.sound import quiet

Audio = npt.NDArray[np.float32]
Encoding = Literal["flac24", "wav32f"]

SUFFIXES: dict[Encoding, str] = {"flac24": ".flac", "wav32f": ".wav"}
AV_SUFFIXES = {".m4a", ".aac", ".mp4", ".m4b", ".mka", ".webm", ".wma", ".ac3"}
READABLE_SUFFIXES = {".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".caf", ".w64", ".rf64"} | AV_SUFFIXES
MP3_RATES = (32_000, 44_100, 48_000)  # of MPEG-1 layer III; lower ones exist, with lower quality and less support
FULL_SCALE = float(2**23)
SEEKABLE_AV_SUFFIXES = {".m4a", ".mp4", ".m4b"}  # other containers round their time stamps: there an excerpt is decoded from the start
# What ffmpeg may take a file for: containers of sound. Its playlists (ffconcat, HLS, DASH and others) would open other files and addresses.
AV_FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,aac,loas,latm,asf,ac3,eac3,ogg,flac,mp3,wav,w64,aiff,caf"
LONGEST_S = 3 * 3600.0  # of a song, by default, and of what a verb reads into memory as a whole: in stereo 4 GB
PEAK_LIMIT_DBFS = 40.0  # 32-bit float recorders reach about +30; a flipped bit of the exponent, or integers as float (+90), far more
LONGEST_TAG = 10_000  # characters: the longest licence that somebody copies into a comment, but no picture or book
SEEK_PREROLL = 8192  # frames decoded and dropped before an excerpt, so that transform codecs have settled (AAC needs two packets of 1024)


@dataclass(frozen=True)
class AudioInfo:
    """What the header of a sound file says. For m4a and mp4 ``num_frames`` is the header's claim, which decoding may correct."""

    sample_rate: int
    num_channels: int
    num_frames: int


def db_to_gain(db: float) -> float:
    """The amplitude factor of a level difference in dB."""
    return float(10.0 ** (db / 20.0))


def gain_to_db(gain: float) -> float:
    """The level difference in dB of an amplitude factor; -inf for 0."""
    return float(20.0 * np.log10(gain)) if gain > 0 else float("-inf")


def not_a_file(path: Path) -> str | None:
    """What a path is that is not a regular file ("a pipe"); None for a regular file. Asks without opening: a pipe would block.

    Raises OSError as ``stat`` does.
    """
    mode = path.stat().st_mode
    if stat.S_ISREG(mode):
        return None
    names = {
        stat.S_IFIFO: "a pipe",
        stat.S_IFDIR: "a folder",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    return names.get(stat.S_IFMT(mode), "not a regular file")


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hex. Raises OSError for a pipe or a device, which may have no end."""
    if what := not_a_file(path):
        raise OSError(errno.EINVAL, f"{what}, not a file", str(path))
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def has_size(path: str, num_bytes: int) -> bool:
    """Whether there is a file of this size: a power cut can leave one that is empty, or short, under a final name."""
    try:
        return os.stat(path).st_size == num_bytes  # noqa: PTH116  # asked of 50,000 files at a start over a finished corpus
    except (OSError, ValueError):
        return False


def probe(path: Path | str, *, stream: int = 0) -> AudioInfo:
    """Reads the header of a sound file. Raises Refused with a reason if it is none."""
    path = Path(path)
    if _by_av(path):
        with _AvReader(path, stream) as reader:
            return reader.info
    with _open(path) as file:
        return _info(file)


def _info(file: Any) -> AudioInfo:
    """What libsndfile found in a header. Raises Refused if no recording can have it."""
    return _checked(AudioInfo(file.samplerate, file.channels, file.frames))


def _checked(info: AudioInfo) -> AudioInfo:
    if not LOWEST_RATE <= info.sample_rate <= HIGHEST_RATE:
        raise Refused(
            f"its header says {info.sample_rate} Hz; expected {LOWEST_RATE} to {HIGHEST_RATE} Hz. The header is damaged, or it is not music"
        )
    if not 1 <= info.num_channels <= MOST_CHANNELS:
        raise Refused(
            f"its header says {info.num_channels} channels; expected at most {MOST_CHANNELS}. The header is damaged, or it is not music"
        )
    return info


def check_length(num_frames: int, sample_rate: int, longest_s: float, way_out: str) -> None:
    """Raises Refused if a recording lasts longer than allowed, with the way out. A length that a header cannot know is none."""
    if num_frames < MOST_FRAMES and num_frames > longest_s * sample_rate:
        raise Refused(f"lasts {_duration(num_frames / sample_rate)}; expected at most {_duration(longest_s)}. {way_out}")


def _duration(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds:.1f} s"


def check_peak(peak_dbfs: float) -> None:
    """Raises Refused if a peak is so high that the samples cannot be what was recorded."""
    if peak_dbfs > PEAK_LIMIT_DBFS:
        raise Refused(
            f"peaks at {peak_dbfs:+.1f} dBFS; expected at most {PEAK_LIMIT_DBFS:+.0f} dBFS. A bit is wrong in it, or it holds integers "
            "that were written as floating point; export it again"
        )


def load(path: Path | str, start_frame: int = 0, num_frames: int | None = None, *, stream: int = 0) -> tuple[Audio, int]:
    """Reads a sound file, or an excerpt of it without decoding what is far before it, as (float32 [C, T], sample rate).

    Full scale is 1.0, the rate that of the file in Hz. ``start_frame`` and ``num_frames`` (None: all) are in frames at that rate.
    WAV, FLAC, OGG, Opus, MP3, AIFF, m4a, aac and others are read; ``stream`` is the number of the stream in a STEM mp4. Raises
    ``Refused`` (a ValueError) if the file is unreadable or holds fewer frames than were asked for.

    >>> import numpy, stemwright as sw
    >>> _ = sw.save("noise.wav", numpy.random.default_rng(0).normal(0, 0.1, (1, 8000)), 8000)
    >>> audio, sample_rate = sw.load("noise.wav", start_frame=4000, num_frames=1000)
    >>> audio.shape, audio.dtype.name, sample_rate
    ((1, 1000), 'float32', 8000)
    """
    path = Path(path)
    if start_frame < 0:
        raise ValueError(f"start_frame must be 0 or more; got {start_frame}")
    if _by_av(path):
        with _AvReader(path, stream) as reader:
            audio = reader.read(start_frame, num_frames)
            sample_rate = reader.info.sample_rate
    else:
        with _open(path) as file:
            sample_rate = _info(file).sample_rate
            if start_frame:
                with quiet.c_stderr():
                    file.seek(min(start_frame, file.frames))
            audio = _read(file, -1 if num_frames is None else num_frames)
    _check_length(path, audio, start_frame, num_frames)
    return audio, sample_rate


def load_song(path: Path | str, *, stream: int = 0) -> tuple[Audio, int]:
    """Reads a whole recording that anybody may have made, as (float32 [C, T], sample rate).

    Raises Refused as ``load`` does, and where it is too long for the memory, or its samples cannot be what was recorded.
    """
    path, way_out = Path(path), "Cut it, or make a corpus of it, which reads it in pieces"
    info = probe(path, stream=stream)
    check_length(info.num_frames, info.sample_rate, LONGEST_S, way_out)
    if _by_av(path):
        with _AvReader(path, stream) as reader:  # its header may say less than there is
            audio = reader.read(0, int(LONGEST_S * info.sample_rate) + 1)
        check_length(audio.shape[1], info.sample_rate, LONGEST_S, way_out)
    else:
        audio, _ = load(path)
    peak = float(np.abs(audio).max(initial=0.0))
    if not np.isfinite(peak):
        raise Refused(f"{path.name} holds NaN or infinite samples; repair it, or leave it out")
    check_peak(gain_to_db(peak))
    return audio, info.sample_rate


def load_range(
    path: Path | str,
    start_byte: int = 0,
    num_bytes: int | None = None,
    start_frame: int = 0,
    num_frames: int | None = None,
    scratch: bytearray | None = None,
) -> tuple[Audio, int]:
    """Reads a WAV or FLAC file that is embedded in another file, or an excerpt of it, as ``load`` does; raises what ``load`` raises.

    Of our own float WAV only the wanted frames are read. Of FLAC, which has to be sought in, the whole is read (but not decoded).
    The result may be a view in the file's own order, frame by frame, so that a caller who copies it copies once. With a large enough
    ``scratch`` it may be a view of that buffer, valid until the next call: new memory for each file costs more than reading it.
    """
    path = Path(path)
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))  # without it, to open a pipe is to wait for a writer
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise Refused(f"{path.name} is {not_a_file(path)}, not a sound file")
        head = os.pread(descriptor, len(_wav_header(1, 1, 0)), start_byte)
        if plain := _plain_wav(head):
            found = _plain_frames(descriptor, plain, start_byte + len(head), (start_frame, num_frames), scratch)
        else:
            wanted = status.st_size - start_byte if num_bytes is None else num_bytes
            found = _decoded(os.pread(descriptor, wanted, start_byte), path, start_frame, num_frames)
    finally:
        os.close(descriptor)
    _check_length(path, found[0], start_frame, num_frames)
    return found


def decode(data: bytes) -> tuple[Audio, int]:
    """The sound of the bytes of a WAV or FLAC file, as (float32 [C, T], sample rate). Raises Refused if they are none."""
    return _decoded(data, Path("these bytes"), 0, None)


def probe_bytes(data: bytes) -> AudioInfo:
    """What the header of a WAV or FLAC file says, of its bytes. Raises Refused if they are none."""
    import soundfile

    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            return _info(file)
    except soundfile.LibsndfileError as error:
        raise Refused(f"not a readable sound file ({str(error.error_string).rstrip('.')})") from error


def _decoded(data: bytes, path: Path, start_frame: int, num_frames: int | None) -> tuple[Audio, int]:
    import soundfile

    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            _info(file)
            if start_frame:
                file.seek(min(start_frame, file.frames))
            samples = file.read(-1 if num_frames is None else num_frames, dtype="float32", always_2d=True)
            return samples.T, file.samplerate
    except soundfile.LibsndfileError as error:
        raise Refused(f"{path.name} holds what cannot be decoded ({str(error.error_string).rstrip('.')}). Is it cut off?") from error


def _plain_wav(head: bytes) -> tuple[int, int, int] | None:
    """(sample rate, channels, frames) if this is the header that ``encode`` gives a float WAV."""
    if not head.startswith(b"RIFF"):
        return None
    num_channels, sample_rate = struct.unpack_from("<HI", head, 22)
    (num_frames,) = struct.unpack_from("<I", head, 46)
    return (sample_rate, num_channels, num_frames) if head == _wav_header(sample_rate, num_channels, num_frames) else None


def _plain_frames(
    descriptor: int, plain: tuple[int, int, int], start_byte: int, excerpt: tuple[int, int | None], scratch: bytearray | None
) -> tuple[Audio, int]:
    sample_rate, num_channels, there = plain
    start_frame, num_frames = excerpt
    frame_bytes = 4 * num_channels
    count = max(0, there - start_frame) if num_frames is None else min(num_frames, max(0, there - start_frame))
    where = start_byte + start_frame * frame_bytes
    if scratch is not None and len(scratch) >= count * frame_bytes:
        got = os.preadv(descriptor, [memoryview(scratch)[: count * frame_bytes]], where)
        samples = np.frombuffer(scratch, "<f4", got // frame_bytes * num_channels)
    else:
        data = os.pread(descriptor, count * frame_bytes, where)
        samples = np.frombuffer(data, "<f4", len(data) // frame_bytes * num_channels)
    return samples.reshape(-1, num_channels).T, sample_rate


def _check_length(path: Path, audio: Audio, start_frame: int, num_frames: int | None) -> None:
    if num_frames is not None and audio.shape[1] < num_frames:
        raise Refused(f"{path.name} ends {num_frames - audio.shape[1]} frames before frame {start_frame + num_frames}. Is it truncated?")


def blocks(path: Path | str, num_frames: int, *, sample_rate: int | None = None, stream: int = 0) -> Iterator[Audio]:
    """Decodes a sound file as a stream of float32 [C, t] with t about ``num_frames``, so that a long one needs little memory.

    It is resampled when ``sample_rate`` in Hz is another than the file's; ``stream`` is the number of the stream in a STEM mp4. Raises
    ``Refused`` (a ValueError) if the file is unreadable.

    >>> import numpy, stemwright as sw
    >>> _ = sw.save("noise.flac", numpy.random.default_rng(0).normal(0, 0.1, (2, 44_100)), 44_100)
    >>> [block.shape for block in sw.blocks("noise.flac", 20_000)]
    [(2, 20000), (2, 20000), (2, 4100)]
    """
    path = Path(path)
    source = _raw_blocks(path, num_frames, stream)
    file_rate = probe(path, stream=stream).sample_rate
    return source if sample_rate in (None, file_rate) else resampled(source, file_rate, int(sample_rate or file_rate))


def _raw_blocks(path: Path, block_frames: int, stream: int) -> Iterator[Audio]:
    if _by_av(path):
        with _AvReader(path, stream) as reader:
            yield from reader.blocks(block_frames)
        return
    with _open(path) as file:
        _info(file)
        while (block := _read(file, block_frames)).shape[1]:
            yield block


def _read(file: Any, num_frames: int) -> Audio:
    """The next [C, t] of a file that libsndfile has open."""
    import soundfile

    try:
        with quiet.c_stderr() if file.format == "MP3" else nullcontext():
            return np.ascontiguousarray(file.read(num_frames, dtype="float32", always_2d=True).T)
    except soundfile.LibsndfileError as error:
        name = Path(file.name).name
        raise Refused(f"{name} cannot be decoded ({str(error.error_string).rstrip('.')}). Is it truncated?") from error


def resampled(source: Iterator[Audio], from_rate: int, to_rate: int) -> Iterator[Audio]:
    """A stream of [C, t] at another rate: what ``resample`` gives, in pieces."""
    import soxr

    resampler = None
    for block in source:
        resampler = resampler or soxr.ResampleStream(from_rate, to_rate, len(block), dtype="float32", quality="VHQ")
        if (out := resampler.resample_chunk(np.ascontiguousarray(block.T))).size:
            yield np.ascontiguousarray(out.T)
    if resampler is not None:
        tail = resampler.resample_chunk(np.zeros((0, block.shape[0]), np.float32), last=True)
        if tail.size:
            yield np.ascontiguousarray(tail.T)


def resample(audio: Audio, from_rate: int, to_rate: int) -> Audio:
    """Resamples [C, T] with soxr's best quality, in float32 and without dither; the same array if the rates are equal."""
    if from_rate == to_rate:
        return audio
    import soxr

    return np.ascontiguousarray(soxr.resample(np.ascontiguousarray(audio.T), from_rate, to_rate, quality="VHQ").T, dtype=np.float32)


def encode(audio: Audio, sample_rate: int, encoding: Encoding) -> bytes:
    """The bytes of a sound file. Raises ValueError on samples that are not finite, or on a peak that 24 bits cannot hold."""
    import soundfile

    if encoding == "wav32f":
        samples = np.ascontiguousarray(audio.T, dtype="<f4")
        if not np.isfinite(samples).all():
            raise ValueError("audio holds NaN or infinite samples")
        return _wav_header(sample_rate, audio.shape[0], audio.shape[1]) + samples.tobytes()
    buffer = io.BytesIO()
    soundfile.write(buffer, _to_int24(audio), sample_rate, subtype="PCM_24", format="FLAC")
    return buffer.getvalue()


def as_stored(audio: Audio, encoding: Encoding) -> Audio:
    """The samples that a file of this encoding gives back: those of ``flac24`` are rounded to 24 bits."""
    if encoding == "wav32f":
        return audio
    scaled = np.rint(audio * np.float32(FULL_SCALE))
    return np.asarray(np.clip(scaled, -FULL_SCALE, FULL_SCALE - 1) / np.float32(FULL_SCALE), np.float32)


def encode_mp3(audio: Audio, sample_rate: int) -> bytes:
    """The bytes of an MP3 file of 160 kbit/s (stereo, 44.1 kHz): to listen to in a browser, never to train on. The same audio gives the
    same bytes.

    MP3 knows no rate above 48 kHz: such audio is resampled to it. Raises ValueError on samples that are not finite or beyond full scale.
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


def save(path: Path | str, audio: Audio, sample_rate: int, *, encoding: Encoding | None = None) -> str:
    """Writes float [C, T], full scale 1.0, whole or not at all, and returns the SHA-256 of the file.

    ``.flac`` is written in 24 bit and ``.wav`` in 32-bit float, unless ``encoding`` ("flac24" or "wav32f") says otherwise. Folders are
    made. Raises ValueError for another suffix, NaN or infinity, and, in FLAC, a peak above full scale: nothing is clipped.

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
            self._file.write(_wav_header(self.sample_rate, self.num_channels, 0))
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
                self._file.write(_wav_header(self.sample_rate, self.num_channels, self.num_frames))
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
            "holds NaN or infinite samples"
            if not np.isfinite(peak)
            else f"peaks at {gain_to_db(peak / FULL_SCALE):+.2f} dBFS, which 24 bits cannot hold"
        )
        raise ValueError(f"audio {what}; scale it down, record the gain, or write float WAV")
    return np.ascontiguousarray(np.clip(scaled, -FULL_SCALE, FULL_SCALE - 1).astype(np.int32) << 8)


def _wav_header(sample_rate: int, num_channels: int, num_frames: int) -> bytes:
    size = num_frames * num_channels * 4
    if size + 50 > 0xFFFFFFFF:
        raise ValueError(f"{size / 2**30:.1f} GiB of float samples do not fit a WAV file (4 GiB); use flac24")
    fmt = struct.pack("<HHIIHHH", 3, num_channels, sample_rate, sample_rate * num_channels * 4, num_channels * 4, 32, 0)  # 3: IEEE float
    return (
        b"RIFF"
        + struct.pack("<I", size + 50)
        + b"WAVEfmt "
        + struct.pack("<I", 18)
        + fmt
        + b"fact"
        + struct.pack("<II", 4, num_frames)
        + b"data"
        + struct.pack("<I", size)
    )


def tags(path: Path | str) -> dict[str, str]:
    """The tags of a sound file with lower-case keys (title, artist, album, copyright ...); empty if there are none or they cannot be
    read.
    """
    import av

    try:
        with av_open(Path(path)) as container:
            # OGG keeps its tags in the stream; elsewhere a stream's title is that of the stream ("drums"), not of the recording.
            found = dict(container.streams.audio[0].metadata) if container.streams.audio else {}
            found.update(container.metadata)
    except (av.FFmpegError, OSError, ValueError):
        return {}
    plain = {key: value.encode("utf-8", "surrogateescape").decode("utf-8", "replace").strip() for key, value in found.items()}
    return {key.lower(): _shortened(value) for key, value in plain.items() if value}


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST_TAG else f"{text[:LONGEST_TAG]}..."


def num_streams(path: Path | str) -> int:
    """How many audio streams a file holds: 1 for ordinary files, 5 for a STEM file."""
    if not _by_av(Path(path)):
        return 1
    with _AvReader(Path(path), 0) as reader:
        return reader.num_streams


def _by_av(path: Path) -> bool:
    return path.suffix.lower() in AV_SUFFIXES


def _open(path: Path) -> Any:
    import soundfile

    _check_readable(path)
    try:
        with quiet.c_stderr():
            return soundfile.SoundFile(path)
    except soundfile.LibsndfileError as error:
        said = str(error.error_string).rstrip(".")
        if "does not exist" in said:  # what libsndfile says of text that is called .mp3; the file does exist here
            said = f"what it holds is not {path.suffix[1:].upper()}"
        raise Refused(f"not a readable sound file ({said})") from error


def av_open(path: Path) -> Any:
    """A file as ffmpeg opens it: this file and no other, whatever its name or its text say. Raises what PyAV does, OSError for a pipe."""
    import av

    if what := not_a_file(path):
        raise OSError(errno.EINVAL, f"{what}, not a file", str(path))
    allowed = {"protocol_whitelist": "file", "format_whitelist": AV_FORMATS}
    # PyAV from version 19 on gives bytes that are no UTF-8 as lone surrogates, which ``tags`` replaces; before it has to be asked.
    decoding: dict[str, Any] = {"metadata_errors": "replace"} if int(av.__version__.partition(".")[0]) < 19 else {}
    return av.open(f"file:{path}", options=allowed, **decoding)  # a name may look like an address: "concat:a|b.m4a"


def _check_readable(path: Path) -> None:
    try:
        if what := not_a_file(path):
            raise Refused(f"{what}, not a sound file")
        with path.open("rb") as file:
            if not file.read(1):
                raise Refused("empty file (0 bytes)")
    except FileNotFoundError as error:
        raise Refused(f"file not found: {path.name}") from error
    except OSError as error:
        raise Refused(f"cannot be opened: {error.strerror}") from error


class _AvReader:
    """One audio stream of a container, decoded by ffmpeg's libraries to float32 [C, t] with sample-exact positions."""

    def __init__(self, path: Path, stream: int) -> None:
        import av

        _check_readable(path)
        try:
            self._container = av_open(path)
        except (av.FFmpegError, ValueError) as error:
            said = getattr(error, "strerror", None) or error
            if getattr(error, "errno", None) == errno.EINVAL:  # what ffmpeg says of a format that it may not read
                said = "what it holds is no sound: text, a playlist, pictures"
            raise Refused(f"not a readable sound file ({said})") from error
        self.num_streams = len(self._container.streams.audio)
        if stream >= self.num_streams:
            self._container.close()
            raise Refused(f"{path.name} has {self.num_streams} audio streams; stream {stream} was asked for")
        self._stream = self._container.streams.audio[stream]
        self._path = path
        context = self._stream.codec_context
        if context is None or not context.sample_rate or not context.channels:
            self._container.close()
            raise Refused(f"not a readable sound file ({'its codec is not known' if context is None else 'no sound was found in it'})")
        seconds = (
            self._stream.duration * self._stream.time_base
            if self._stream.duration and self._stream.time_base
            else (self._container.duration or 0) / 1e6
        )
        try:
            self.info = _checked(AudioInfo(context.sample_rate, context.channels, max(0, round(seconds * context.sample_rate))))
        except Refused:
            self._container.close()
            raise

    def __enter__(self) -> _AvReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()

    def _frames(self) -> Iterator[tuple[int | None, Audio]]:
        """Decoded frames with the position of their first sample, where the container knows it."""
        import av

        resampler = av.AudioResampler(format="fltp")
        try:
            for frame in self._container.decode(self._stream):
                position = None
                if frame.pts is not None and frame.time_base is not None:
                    position = round((frame.pts - (self._stream.start_time or 0)) * frame.time_base * self.info.sample_rate)
                for planar in resampler.resample(frame):
                    yield position, np.asarray(planar.to_ndarray(), np.float32)
        except av.FFmpegError as error:
            raise Refused(f"{self._path.name} cannot be decoded ({error.strerror or error}). Is it truncated?") from error

    def read(self, start_frame: int, num_frames: int | None) -> Audio:
        """[C, T] from ``start_frame``; shorter than asked for only where the stream ends."""
        sought = start_frame > SEEK_PREROLL and self._path.suffix.lower() in SEEKABLE_AV_SUFFIXES
        if sought:
            time_base = self._stream.time_base or Fraction(1, self.info.sample_rate)
            seconds = Fraction(start_frame - SEEK_PREROLL, self.info.sample_rate)
            self._container.seek(int(seconds / time_base) + (self._stream.start_time or 0), stream=self._stream)
        parts: list[Audio] = []
        at = 0
        wanted: float = np.inf if num_frames is None else start_frame + num_frames
        for number, (position, block) in enumerate(self._frames()):
            if number == 0 and sought:  # frame 0 is the first that the decoder gives, whatever time stamp it has
                at = position or 0
            skip = max(0, start_frame - at)
            keep = int(min(block.shape[1], wanted - at))
            if skip < keep:
                parts.append(block[:, skip:keep])
            at += block.shape[1]
            if at >= wanted:
                break
        if not parts:
            return np.zeros((self.info.num_channels, 0), np.float32)
        return np.ascontiguousarray(np.concatenate(parts, axis=1), dtype=np.float32)

    def blocks(self, block_frames: int) -> Iterator[Audio]:
        """The whole stream as [C, t] of about ``block_frames``."""
        held: list[Audio] = []
        for _, block in self._frames():
            held.append(block)
            if sum(part.shape[1] for part in held) >= block_frames:
                yield np.ascontiguousarray(np.concatenate(held, axis=1), dtype=np.float32)
                held = []
        if held:
            yield np.ascontiguousarray(np.concatenate(held, axis=1), dtype=np.float32)
