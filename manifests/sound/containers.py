"""Files as ffmpeg's libraries (PyAV) open them, their tags, and the streams of a STEM mp4.

Conventions
    Only containers of sound are opened, by this name and no other: a playlist would open other files and addresses.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stemwright.manifests.disk.regular import not_a_file
from stemwright.manifests.records import Refused
from stemwright.manifests.sound.content import content_of
from stemwright.manifests.sound.formats import check_readable

# Formats that ffmpeg may detect: containers of sound. Its playlists (ffconcat, HLS, DASH and others) would open other files and addresses.
AV_FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,aac,loas,latm,asf,ac3,eac3,ogg,flac,mp3,wav,w64,aiff,caf"
READ_FORMATS = "WAV, AIFF, CAF, W64, FLAC, OGG, Opus, MP3, AAC, AC-3, mp4, Matroska, WMA"
MANY_STREAMS = ("mp4", "matroska", "asf")  # formats that can hold more than one audio stream
# Of a file only its header is read. Otherwise ffmpeg looks for another codec in 5 MB of a WAV, in a quarter of the time of cataloguing it.
HEADER_ONLY = {"probesize": "32"}
LONGEST_TAG = 10_000  # characters: enough for a licence text in a comment, but not for a picture or a book


def num_streams(path: Path | str) -> int:
    """How many audio streams a file holds: 1 for ordinary files, 5 for a STEM file. Raises Refused if it is no sound file."""
    path = Path(path)
    check_readable(path)
    content = content_of(path)
    if content.format not in MANY_STREAMS:
        return 1
    with av_opened(path) as container:
        return len(container.streams.audio)


def tags(path: Path | str) -> dict[str, str]:
    """The tags of a sound file with lower-case keys (title, artist, album, copyright ...); empty if there are none or they cannot be
    read.
    """
    import av

    try:
        with av_open(Path(path), options=HEADER_ONLY) as container:
            # OGG keeps its tags in the stream; elsewhere a stream's title is that of the stream ("drums"), not of the recording.
            found = dict(container.streams.audio[0].metadata) if container.streams.audio else {}
            found.update(container.metadata)
    except (av.FFmpegError, OSError, ValueError):
        return {}
    plain = {key: value.encode("utf-8", "surrogateescape").decode("utf-8", "replace").strip() for key, value in found.items()}
    return {key.lower(): _shortened(value) for key, value in plain.items() if value}


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST_TAG else f"{text[:LONGEST_TAG]}..."


def av_open(path: Path, format_name: str | None = None, options: Mapping[str, str] | None = None) -> Any:
    """A file as ffmpeg opens it: this file and no other, whatever its name or its text say. Raises what PyAV does, OSError for a pipe.

    ``format_name`` is ffmpeg's, None to let it look; ``options`` are those of the format.
    """
    import av

    if what := not_a_file(path):
        raise OSError(errno.EINVAL, f"{what}, not a file", str(path))
    allowed = {"protocol_whitelist": "file", "format_whitelist": AV_FORMATS, **(options or {})}
    # From version 19 on PyAV returns invalid UTF-8 as lone surrogates, which ``tags`` replaces; older versions need the option.
    decoding: dict[str, Any] = {"metadata_errors": "replace"} if int(av.__version__.partition(".")[0]) < 19 else {}
    return av.open(f"file:{path}", format=format_name, options=allowed, **decoding)  # a name may look like an address: "concat:a|b.m4a"


def av_opened(path: Path, format_name: str | None = None, options: Mapping[str, str] | None = None) -> Any:
    """What ``av_open`` gives. Raises Refused with a reason if it is no sound."""
    import av

    try:
        return av_open(path, format_name, options)
    except (av.FFmpegError, ValueError) as error:
        phrase = av_phrase(error)
        if getattr(error, "errno", None) == errno.EINVAL:  # ffmpeg's error for a format that is not allowed
            phrase = f"its content is none of {READ_FORMATS}: another format of sound, text, a playlist or pictures"
        raise Refused(f"not a readable sound file ({phrase})") from error


def av_phrase(error: Exception) -> str:
    """The text of an error of PyAV."""
    phrase = str(getattr(error, "strerror", None) or error)
    return "invalid data" if phrase.startswith(("Error number", "Invalid data", "End of file")) else phrase
