"""One audio stream as ffmpeg's libraries (PyAV) decode it: every lossy codec, and containers that libsndfile does not read rightly.

Why not libsndfile for MP3, Vorbis and Opus: python-soundfile seeks after each read, and the seek loses the bit reservoir of MP3 (up to
full-scale noise after each block at 48 kbit/s); it believes a header that promises half, stops at the second of two joined files, and reads
only the first link of a chained OGG. ffmpeg's own program and these libraries agree to 1e-6 on all of them. Decoding here costs, against
libsndfile, as much for MP3, 0.7 of the time for Vorbis and a quarter for Opus; ``benchmarks/decoding.py`` measures it.

Conventions
    Audio is float32 [C, T], full scale 1.0. What is read is what ffmpeg gives: an encoder's delay is cut where the file states it.
    Blocks are pieces of one decoding from the start, and so is an excerpt: a decoder that is started in the middle gives other samples (the
    bit reservoir of MP3, noise substitution of AAC, prediction of Opus). MP3 remembers less than RESERVOIR_PACKETS packets, so there those
    before them are not decoded; of PCM none are.
    Of several audio streams in one file, those that start later than the first begin with silence, so that stems stay in time.
    A file whose rate or channels change on the way is refused: it is two recordings.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from stemwright.manifests.records import Refused
from stemwright.manifests.sound.containers import av_opened, av_phrase
from stemwright.manifests.sound.content import Content
from stemwright.manifests.sound.formats import Audio, AudioInfo, checked_info
from stemwright.manifests.sound.stated import changed, stated_facts

RESERVOIR_PACKETS = 32  # 511 bytes of reservoir are at most 22 packets of 24 bytes (8 kbit/s); the filter bank adds two
FIRST_PACKETS = 6  # always decoded: an encoder's delay of at most 4095 + 529 frames is cut from them
PCM_SEEK_FRAMES = 1 << 17
MOST_FRAMES_A_BYTE = 1000  # of any codec: a header that states more does not know its length
SCALES = {"s16": 2.0**-15, "s32": 2.0**-31, "s64": 2.0**-63, "flt": 1.0, "dbl": 1.0}
TYPES = {"s16": np.int16, "s32": np.int32, "s64": np.int64, "flt": np.float32, "dbl": np.float64, "u8": np.uint8}


def channels_of(frame: Any) -> list[Audio]:
    """The channels of what ffmpeg decoded, [t] each; the arrays may be views of the frame's memory."""
    kind, channels, count = frame.format.name.removesuffix("p"), frame.layout.nb_channels, frame.samples
    dtype = TYPES.get(kind)
    if dtype is None:
        raise Refused(f"its samples are of a kind that is not read ({kind})")
    if frame.format.is_planar:
        rows = [np.frombuffer(plane, dtype, count) for plane in frame.planes]
    else:
        rows = list(np.frombuffer(frame.planes[0], dtype, count * channels).reshape(count, channels).T)
    if dtype == np.float32:
        return rows
    if dtype == np.uint8:
        return [(row.astype(np.float32) - np.float32(128)) * np.float32(2.0**-7) for row in rows]
    return [row.astype(np.float32) * np.float32(SCALES[kind]) for row in rows]


class CodedReader:
    """A stream that is open for reading, once. Raises Refused if it is no sound, or says that some of it is missing."""

    def __init__(self, path: Path, content: Content, stream: int = 0, *, has_open_size: bool = False) -> None:
        self._path, self._has_open_size = path, has_open_size
        self.on_packet: Callable[[bytes], object] | None = None  # takes each coded packet as it is decoded
        self._facts = stated_facts(path, content)
        self.notes = list(self._facts.notes)
        forced = {"mpeg": "mp3", "adts": "aac"}.get(content.format)
        self._container = av_opened(path, forced, {"ignore_length": "1"} if has_open_size else {})
        try:
            if not content.format and (name := {"mp3": "mpeg", "aac": "adts"}.get(self._container.format.name)):
                self._facts = stated_facts(path, Content(name, 0))
            self._open_stream(stream)
        except BaseException:
            self._container.close()
            raise

    def _open_stream(self, stream: int) -> None:
        streams = self._container.streams.audio
        self.num_streams = len(streams)
        if not self.num_streams:
            what = "contains no audio, but pictures, text or data" if len(self._container.streams) else "has no stream, and no sound"
            raise Refused(f"not a readable sound file ({self._path.name} {what})")
        if stream >= self.num_streams:
            raise Refused(f"{self._path.name} has {self.num_streams} audio streams; stream {stream} does not exist")
        self._stream = streams[stream]
        context = self._stream.codec_context
        if context is None or not context.sample_rate or not context.channels:
            raise Refused(f"not a readable sound file ({'its codec is not known' if context is None else 'no audio was found in it'})")
        self._context = context
        context.thread_count = 1  # the verbs work on several files at once
        checked_info(AudioInfo(context.sample_rate, context.channels, 0))
        starts = [float(each.start_time * each.time_base) for each in streams if each.start_time is not None and each.time_base]
        own = self._stream.start_time
        late = float(own * self._stream.time_base) - min(starts) if own is not None and len(starts) > 1 else 0.0
        self._num_silent = max(0, round(late * context.sample_rate))
        self._is_read = False
        num_frames = self._num_silent + self._stated_frames()
        self.info = AudioInfo(context.sample_rate, context.channels, num_frames)

    def _stated_frames(self) -> int:
        if self._facts.num_frames is not None:
            return self._facts.num_frames
        found = max(0, round(self._stated_s() * self._context.sample_rate))
        return found if found <= self._path.stat().st_size * MOST_FRAMES_A_BYTE else 0

    def _stated_s(self) -> float:
        """How long the container says that the stream lasts; 0 where it does not."""
        stream = self._stream
        if stream.duration and stream.time_base:
            return float(stream.duration * stream.time_base)
        if (clock := stream.metadata.get("DURATION", "")).count(":") == 2:  # of Matroska, hours:minutes:seconds
            with contextlib.suppress(ValueError):
                hours, minutes, seconds = map(float, clock.split(":"))
                return 3600 * hours + 60 * minutes + seconds
        # A container lasts as long as its longest stream, which may be another: a film, or the mixture of these stems.
        lasting = [each for each in self._container.streams if each.type in ("audio", "video") and not _is_picture(each)]
        return 0.0 if len(lasting) > 1 else (self._container.duration or 0) / 1e6

    def __enter__(self) -> CodedReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()

    def read(self, start_frame: int, num_frames: int | None) -> Audio:
        """[C, T] from ``start_frame``; shorter than requested only where the stream ends."""
        stop = np.inf if num_frames is None else start_frame + num_frames
        parts: list[Audio] = []
        for at, piece in self._pieces(start_frame):
            first, last = max(0, start_frame - at), int(min(len(piece[0]), stop - at))
            if first < last:
                parts.append(np.stack([row[first:last] for row in piece]))
            if at + len(piece[0]) >= stop:
                break
        if not parts:
            return np.zeros((self.info.num_channels, 0), np.float32)
        return np.ascontiguousarray(np.concatenate(parts, axis=1), dtype=np.float32)

    def blocks(self, block_frames: int) -> Iterator[Audio]:
        """The whole stream as [C, block_frames]; the last may be shorter. Raises Refused if it ends before the file does."""
        block, filled = np.empty((self.info.num_channels, block_frames), np.float32), 0
        for _, piece in self._pieces(0):
            start, length = 0, len(piece[0])
            while start < length:
                count = min(block_frames - filled, length - start)
                for row, samples in zip(block, piece, strict=True):
                    row[filled : filled + count] = samples[start : start + count]
                start, filled = start + count, filled + count
                if filled == block_frames:
                    yield block
                    block, filled = np.empty_like(block), 0
        if filled:
            yield np.ascontiguousarray(block[:, :filled])

    def _pieces(self, start_frame: int) -> Iterator[tuple[int, list[Audio]]]:
        """(position, channels [t]) of what is decoded, from the start or before ``start_frame``. Raises Refused if it ends early."""
        if self._is_read:
            raise ValueError("a stream is read once; open it again")
        self._is_read = True
        at = self._num_silent
        if at:
            yield 0, [np.zeros(at, np.float32)] * self.info.num_channels
        for piece in self._decoded(max(0, start_frame - self._num_silent)):
            if isinstance(piece, int):
                at += piece
            else:
                yield at, piece
                at += len(piece[0])
        self._check_end(at - self._num_silent)

    def _decoded(self, start_frame: int) -> Iterator[list[Audio] | int]:
        """Channels [t] of pieces in order; a number is that of frames that were left out."""
        import av

        # The integer decoder of layer II carries the rounding of one packet into the next.
        skip = self._facts.packets_to_skip(start_frame) if self._context.name.startswith("mp3") else 0
        lost = False  # of the packets that are left out, the last ones are decoded to fill the decoder's memory
        counts_frames = self._stream.time_base is not None and self._stream.time_base * self.info.sample_rate == 1  # Matroska: milliseconds
        if start_frame > PCM_SEEK_FRAMES and self._context.name.startswith("pcm_") and counts_frames:
            yield from self._from_sample(start_frame)
            return
        for number, packet in enumerate(self._packets()):
            if self._facts.end is not None and packet.pos is not None and packet.pos >= self._facts.end:
                continue  # a tag, or what is left of a packet
            if self.on_packet is not None:
                self.on_packet(bytes(packet))
            left_out = FIRST_PACKETS <= number < skip
            if left_out and number < skip - RESERVOIR_PACKETS:
                lost = True
                yield self._facts.packet_frames
                continue
            try:
                frames = self._context.decode(packet)
            except av.FFmpegError as error:
                if not self._facts.forgives_errors:
                    what = f"{self._path.name} cannot be decoded ({av_phrase(error)}) after {number} packets"
                    raise Refused(f"{what}. Is it truncated?") from error
                continue
            if left_out and lost:
                yield self._facts.packet_frames
                continue
            for frame in frames:
                self._check_same(frame)
                yield channels_of(frame)

    def _packets(self) -> Iterator[Any]:
        """The coded packets of the stream. Raises Refused where the container cannot be read on."""
        import av

        try:
            yield from self._container.demux(self._stream)
        except av.FFmpegError as error:
            raise Refused(f"{self._path.name} cannot be read to its end ({av_phrase(error)})") from error

    def _from_sample(self, start_frame: int) -> Iterator[list[Audio] | int]:
        """Uncoded samples from shortly before ``start_frame``."""
        base = self._stream.time_base * self.info.sample_rate
        self._container.seek(int(start_frame / base), stream=self._stream)
        is_first = True
        for packet in self._packets():
            for frame in self._context.decode(packet):
                self._check_same(frame)
                if is_first:
                    yield round((frame.pts or 0) * base)
                is_first = False
                yield channels_of(frame)

    def _check_same(self, frame: Any) -> None:
        rate, channels = frame.sample_rate, frame.layout.nb_channels
        if (rate, channels) != (self.info.sample_rate, self.info.num_channels):
            raise Refused(changed((self.info.sample_rate, self.info.num_channels), (rate, channels)))

    def _check_end(self, num_decoded: int) -> None:
        """Raises Refused if the stream ended before the file says."""
        rate, facts = self.info.sample_rate, self._facts
        if self._has_open_size:
            return
        missing = (facts.at_least if facts.at_least is not None else self.info.num_frames - self._num_silent) - num_decoded
        if missing > (facts.slack_s * rate):
            end = (num_decoded + self._num_silent) / rate
            raise Refused(f"truncated: ends at {end:.2f} s, {missing / rate:.2f} s before the end that its {facts.source} states")


def _is_picture(stream: Any) -> bool:
    """Whether a stream is the picture of a cover."""
    return bool(stream.disposition & stream.disposition.__class__.attached_pic)
