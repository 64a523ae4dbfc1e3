"""What all of this room share: audio in memory, the formats that are read and written, and what a recording can be.

Conventions
    Audio is float32 [C, T], full scale 1.0; time is the last axis. Lengths and positions are in frames at the file's own rate.
    What a header or the samples say that no recording can have is refused with a reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from stemwright.manifests.disk.regular import not_a_file
from stemwright.manifests.names import HIGHEST_RATE, LOWEST_RATE, MOST_CHANNELS, MOST_FRAMES
from stemwright.manifests.records import Refused

Audio = npt.NDArray[np.float32]
Encoding = Literal["flac24", "wav32f"]
SUFFIXES: dict[Encoding, str] = {"flac24": ".flac", "wav32f": ".wav"}
READABLE_SUFFIXES = {
    *(".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".caf", ".w64", ".rf64"),
    *(".m4a", ".aac", ".mp4", ".m4b", ".mka", ".webm", ".wma", ".ac3"),
}
BLOCK_FRAMES = 1 << 17  # of what is decoded at a time: 1 MiB in stereo, little for the memory and much for a decoder
LONGEST_S = 3 * 3600.0  # of a song, by default, and of what a verb reads into memory as a whole: in stereo 4 GB
PEAK_LIMIT_DBFS = 40.0  # 32-bit float recorders reach about +30; a flipped bit of the exponent, or integers as float (+90), far more


@dataclass(frozen=True)
class AudioInfo:
    """What the header of a sound file says. For m4a, mp4 and others ``num_frames`` is the header's claim, which decoding may correct."""

    sample_rate: int
    num_channels: int
    num_frames: int


class Named(Protocol):
    """What has a name for messages: a path, or a sum of files."""

    @property
    def name(self) -> str:
        """The name."""
        ...


def info_of(file: Any) -> AudioInfo:
    """What libsndfile found in a header. Raises Refused if it is implausible."""
    return checked_info(AudioInfo(file.samplerate, file.channels, file.frames))


def checked_info(info: AudioInfo) -> AudioInfo:
    """Returns what a header says. Raises Refused if no recording can have it."""
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
    """Raises Refused if a recording lasts longer than allowed, and says what to do. An unknown length passes."""
    if num_frames < MOST_FRAMES and num_frames > longest_s * sample_rate:
        raise Refused(f"lasts {_duration(num_frames / sample_rate)}; expected at most {_duration(longest_s)}. {way_out}")


def _duration(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds:.1f} s"


def check_peak(peak_dbfs: float) -> None:
    """Raises Refused if a peak is so high that the samples must be damaged."""
    if peak_dbfs > PEAK_LIMIT_DBFS:
        raise Refused(
            f"peaks at {peak_dbfs:+.1f} dBFS; expected at most {PEAK_LIMIT_DBFS:+.0f} dBFS. A bit is wrong in it, or it holds integers "
            "that were written as floating point; export it again"
        )


def check_complete(path: Named, audio: Audio, start_frame: int, num_frames: int | None) -> None:
    """Raises Refused if an excerpt [C, T] has fewer frames than requested."""
    if num_frames is not None and audio.shape[1] < num_frames:
        raise Refused(f"{path.name} ends {num_frames - audio.shape[1]} frames before frame {start_frame + num_frames}. Is it truncated?")


def check_readable(path: Path) -> None:
    """Raises Refused if a file is not there, is none, is empty, or may not be opened."""
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
