"""Containers that ffmpeg's libraries (PyAV) read: m4a, aac, the streams of a STEM mp4, and the tags of every format.

Conventions
    Only containers of sound are opened, by this name and no other: a playlist would open other files and addresses.
    An excerpt equals the same frames of the whole file, except that an AAC encoder may leave noisy bands to the decoder to fill with
    noise of its own.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from stemwright.manifests.disk.regular import not_a_file
from stemwright.manifests.records import Refused
from stemwright.manifests.sound.formats import AV_SUFFIXES, Audio, AudioInfo, check_readable, checked_info

SEEKABLE_AV_SUFFIXES = {".m4a", ".mp4", ".m4b"}  # other containers round their time stamps: there an excerpt is decoded from the start
# Formats that ffmpeg may detect: containers of sound. Its playlists (ffconcat, HLS, DASH and others) would open other files and addresses.
AV_FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,aac,loas,latm,asf,ac3,eac3,ogg,flac,mp3,wav,w64,aiff,caf"
LONGEST_TAG = 10_000  # characters: enough for a licence text in a comment, but not for a picture or a book
SEEK_PREROLL = 8192  # frames decoded and dropped before an excerpt, so that transform codecs have converged (AAC needs two packets of 1024)


def is_container(path: Path) -> bool:
    """Whether a file is read by ffmpeg's libraries, by its suffix."""
    return path.suffix.lower() in AV_SUFFIXES


def num_streams(path: Path | str) -> int:
    """How many audio streams a file holds: 1 for ordinary files, 5 for a STEM file."""
    if not is_container(Path(path)):
        return 1
    with ContainerReader(Path(path), 0) as reader:
        return reader.num_streams


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


def av_open(path: Path) -> Any:
    """A file as ffmpeg opens it: this file and no other, whatever its name or its text say. Raises what PyAV does, OSError for a pipe."""
    import av

    if what := not_a_file(path):
        raise OSError(errno.EINVAL, f"{what}, not a file", str(path))
    allowed = {"protocol_whitelist": "file", "format_whitelist": AV_FORMATS}
    # From version 19 on PyAV returns invalid UTF-8 as lone surrogates, which ``tags`` replaces; older versions need the option.
    decoding: dict[str, Any] = {"metadata_errors": "replace"} if int(av.__version__.partition(".")[0]) < 19 else {}
    return av.open(f"file:{path}", options=allowed, **decoding)  # a name may look like an address: "concat:a|b.m4a"


class ContainerReader:
    """One audio stream of a container, decoded by ffmpeg's libraries to float32 [C, t] with sample-exact positions."""

    def __init__(self, path: Path, stream: int) -> None:
        import av

        check_readable(path)
        try:
            self._container = av_open(path)
        except (av.FFmpegError, ValueError) as error:
            phrase = getattr(error, "strerror", None) or error
            if getattr(error, "errno", None) == errno.EINVAL:  # ffmpeg's error for a format that is not allowed
                phrase = "its content is not audio: text, a playlist or pictures"
            raise Refused(f"not a readable sound file ({phrase})") from error
        self.num_streams = len(self._container.streams.audio)
        if stream >= self.num_streams:
            self._container.close()
            raise Refused(f"{path.name} has {self.num_streams} audio streams; stream {stream} does not exist")
        self._stream = self._container.streams.audio[stream]
        self._path = path
        context = self._stream.codec_context
        if context is None or not context.sample_rate or not context.channels:
            self._container.close()
            raise Refused(f"not a readable sound file ({'its codec is not known' if context is None else 'no audio was found in it'})")
        seconds = (
            self._stream.duration * self._stream.time_base
            if self._stream.duration and self._stream.time_base
            else (self._container.duration or 0) / 1e6
        )
        try:
            self.info = checked_info(AudioInfo(context.sample_rate, context.channels, max(0, round(seconds * context.sample_rate))))
        except Refused:
            self._container.close()
            raise

    def __enter__(self) -> ContainerReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()

    def _frames(self) -> Iterator[tuple[int | None, Audio]]:
        """Decoded frames with the position of their first sample, where the container states it."""
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
        """[C, T] from ``start_frame``; shorter than requested only where the stream ends."""
        seekable = start_frame > SEEK_PREROLL and self._path.suffix.lower() in SEEKABLE_AV_SUFFIXES
        if seekable:
            time_base = self._stream.time_base or Fraction(1, self.info.sample_rate)
            seconds = Fraction(start_frame - SEEK_PREROLL, self.info.sample_rate)
            self._container.seek(int(seconds / time_base) + (self._stream.start_time or 0), stream=self._stream)
        parts: list[Audio] = []
        at = 0
        wanted: float = np.inf if num_frames is None else start_frame + num_frames
        for number, (position, block) in enumerate(self._frames()):
            if number == 0 and seekable:  # frame 0 is the first that the decoder returns, whatever its time stamp
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
