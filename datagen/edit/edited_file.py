"""A recording edited from file to file: with stems that are there, or by separating it.

Conventions
    The formats, and what happens where one cannot hold a peak, are those of ``stemwright.datagen.edit.song_output``: ``.wav`` is 32-bit
    float, which holds all at its level; ``.flac`` is 24 bit, which holds 16- and 24-bit songs exactly.
    The song is left as it is: the edited one is another file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from stemwright.datagen.edit.grammar import Edit, EditError
from stemwright.datagen.edit.recording import Edited, apply_edits, check_named
from stemwright.datagen.edit.song_output import SongOutput
from stemwright.manifests.disk.outputs import check_output
from stemwright.manifests.records import Refused
from stemwright.manifests.sound.decoding import load_song
from stemwright.manifests.sound.formats import Audio
from stemwright.manifests.sound.resampling import resample
from stemwright.manifests.sound.song_writing import SONG_SUFFIXES
from stemwright.separation.balance.own_stems import load_own, stem_paths
from stemwright.separation.balance.recordings import finite_stems

FOREIGN_DB = 0.1  # taking a stem out of its own mixture does not add energy; one of another recording does


def check_song(song: Path, out: Path) -> None:
    """Raises EditError if there is no song, or if the output is the song itself."""
    if not song.is_file():
        raise EditError(f"{song}: no such file; expected a recording")
    if out.resolve() == song.resolve():
        raise EditError(f"{out} is the song itself; name another file, the song is left as it is")


def stems_in(folder: Path | None, song: Path) -> dict[str, Path]:
    """The stems of a song in a folder by their names, none without a folder. Raises EditError where the folder has none."""
    try:
        return {} if folder is None else stem_paths(folder, song)
    except ValueError as error:
        raise EditError(str(error)) from error


def edit_file(
    song: Path,
    edits: Sequence[Edit],
    out: SongOutput,
    *,
    stems: Mapping[str, Path],
    separator: Any = None,
    on_share: Callable[[float], None] | None = None,
) -> tuple[Edited, Audio]:
    """Writes the edited song; returns it as it is written, but for the coding, and the song as it was, [C, T].

    ``stems`` are the files of its own stems; the separator is used where there are none, and ``on_share`` is called with the share
    done. Raises EditError for an edit that cannot be made, Refused for a song that cannot be read, stems of another one, or
    a level that the file cannot hold and is to be kept.
    """
    check_song(song, out.path)
    check_output(out.path, SONG_SUFFIXES, [song, *stems.values()])
    names, source = (tuple(stems), "the folder of stems") if separator is None else (separator.stem_names, f"model {_called(separator)}")
    check_named(edits, names, source)
    mixture, sample_rate, parts, notes = with_stems(song, stems, separator, on_share)
    check_named(edits, tuple(parts), source)  # a folder may also have files that are sums of its stems
    made = apply_edits(mixture, parts, sample_rate, edits)
    if separator is None and made.closure_db is not None and made.closure_db > FOREIGN_DB:
        raise Refused(
            f"taking the stems in {next(iter(stems.values())).parent} out of {song.name} raises its energy by {made.closure_db:.1f} dB; "
            "they are of another recording, or not aligned"
        )
    level = out.write(out.levelled(made.audio, sample_rate, "the edited song"), sample_rate, like=song)
    return replace(made, level=level, notes=notes + level.notes), mixture


def _called(separator: Any) -> str:
    """What a message calls a separator: its model, else its origin."""
    return str(getattr(separator, "model", separator.origin))


Loaded = tuple[Audio, int, dict[str, Audio], tuple[str, ...]]  # mixture [C, T], its sample rate, stems {name: [C, T]}, notes on them


def with_stems(song: Path, stems: Mapping[str, Path], separator: Any = None, on_share: Callable[[float], None] | None = None) -> Loaded:
    """A mixture with its stems at its rate and of its length: those of the given files, or separated.

    Raises Refused where a file cannot be read, or no stem is of this recording.
    """
    if separator is not None:
        return _separated(song, separator, on_share)
    own = load_own(song, {name: (path, 0) for name, path in stems.items()})
    return own.mixture, own.sample_rate, own.stems, own.findings.notes_on_sound


def _separated(song: Path, separator: Any, on_share: Callable[[float], None] | None) -> Loaded:
    mixture, sample_rate = load_song(song)
    if on_share:
        on_share(0.0)
    heard = {"on_share": on_share} if on_share else {}  # a third-party separator may not have it
    separated = finite_stems(separator.separate(mixture, sample_rate, **heard), mixture, separator)
    rate = separator.sample_rate or sample_rate
    parts = {name: _fitted(resample(audio, rate, sample_rate), mixture.shape[1]) for name, audio in separated.items()}
    return mixture, sample_rate, parts, ()


def _fitted(audio: Audio, num_frames: int) -> Audio:
    """[C, T] cut or padded by the frame or two that resampling there and back may add or take."""
    return np.pad(audio, ((0, 0), (0, max(0, num_frames - audio.shape[1]))))[:, :num_frames]
