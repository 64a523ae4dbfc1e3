"""Edits of a recording by text: parsing and applying them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stemwright.datagen.edit import grammar
from stemwright.datagen.edit.edited_file import check_song, edit_file, stems_in
from stemwright.datagen.edit.grammar import Edit
from stemwright.datagen.edit.recording import Edited, parse_all_edits
from stemwright.datagen.edit.song_output import OutputOptions
from stemwright.datagen.public.song_stems import DEFAULT_MODEL, Model, check_one, separator_from
from stemwright.datagen.public.sound_files import naming


def parse_edit(text: str) -> list[Edit]:
    """The edits in a text, as a list: sentences such as "mute drums" or "make the vocals brighter", joined by ";", "then", "and" or ",".

    Each has an ``operation`` (mute, isolate, volume, pan, lowpass, highpass, dereverb, eq, width, compressor or reverb), ``stems`` in the
    order in which they are named, ``amount``, and ``gain_db``: the signed dB of a volume, None for the others. ``all_but`` is set for
    "everything but the vocals"; the stems are then the others of a separation into four. Raises ``EditError`` (a ValueError) for a text
    that is not understood, or that has two readings, which it names.

    >>> import stemwright as sw
    >>> for edit in sw.parse_edit("increase the volume of vocals by 3 dB; mute drums and bass"):
    ...     print(edit.operation, edit.stems, edit.gain_db)
    volume ('vocals',) 3.0
    mute ('drums', 'bass') None
    """
    return grammar.parse_all([text])


def edit(
    path: Path | str,
    text: str | Sequence[str],
    out: Path | str,
    stems: Path | str | None = None,
    model: Model = DEFAULT_MODEL,
    *,
    bits: int | None = None,
    bit_rate_kbps: float | None = None,
    keep_level: str | None = None,
) -> Edited:
    """Changes a recording as a text says and writes it to another file; what is not named stays as it was.

    ``text`` is what ``parse_edit`` takes, or several such texts. ``out`` ends in ``.wav`` (32-bit float), ``.flac`` (24 bit), ``.mp3``,
    ``.m4a``, ``.opus`` or ``.ogg``; ``bits`` are 16 (dithered), 24 or 32 (float) of the first two, ``bit_rate_kbps`` that of the others in
    kbit/s. ``stems`` is a folder with the recording's own stems; without it the recording is separated by ``model``, which is what
    ``separate`` takes. Float WAV holds every peak, so that no level changes; where another file cannot hold one, all is lowered by one
    gain, or, with ``keep_level`` "limit", only its peaks by a limiter, or, with "refuse", nothing is written and ``Refused`` is raised.

    Returns an ``Edited``: ``audio`` [C, T] at the level of the file, ``gain_db`` (0.0, or that gain), ``limited`` (None, or what the
    limiter did), ``closure_db``, the energy of what is in no stem against the recording's, and ``notes``. Raises ``EditError`` (a
    ValueError) for an edit that cannot be made, ``UsageError`` (a ValueError) for a file that cannot be written, ``Refused`` for a
    recording that cannot be read.

    >>> import numpy, stemwright as sw
    >>> vocals, drums = numpy.random.default_rng(0).normal(0, 0.1, (2, 2, 44_100)).astype("float32")
    >>> for name, audio in {"stems/vocals.wav": vocals, "stems/drums.wav": drums, "song.wav": vocals + drums}.items():
    ...     _ = sw.save(name, audio, 44_100)
    >>> made = sw.edit("song.wav", "mute drums", "edited.wav", stems="stems")
    >>> numpy.allclose(sw.load("edited.wav")[0], vocals, atol=1e-6)
    True
    """
    song, texts = Path(path), [text] if isinstance(text, str) else list(text)
    check_one(stems, model)
    check_song(song, Path(out))
    output = OutputOptions(bits, bit_rate_kbps, keep_level).to(Path(out))
    paths = stems_in(None if stems is None else Path(stems), song)
    edits = parse_all_edits(texts, paths)
    separator = None if stems is not None else separator_from(model)
    with naming(path):
        made, _ = edit_file(song, edits, output, stems=paths, separator=separator)
    return made
