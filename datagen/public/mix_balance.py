"""The mix balance of a recording, from path to result."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from stemwright.datagen.public.song_stems import DEFAULT_MODEL, Model, check_one, separator_from
from stemwright.datagen.public.sound_files import naming
from stemwright.separation.balance.recordings import measure_recording
from stemwright.separation.balance.track_balance import TrackBalance, table_rows

if TYPE_CHECKING:
    import pandas


class Balance(TrackBalance):
    """The balance of one recording: ``stems`` maps names to ``StemBalance``, ``loudness`` is that of the mixture.

    ``loudness`` has integrated_lufs, range_lu, true_peak_dbtp, max_momentary_lufs and max_short_term_lufs. Each stem has level_lu (LU
    against the mixture) with an 80 % interval level_low_lu to level_high_lu, loudness_lufs, pan (left -1, right 1), width, present, and
    when it plays. Levels of a stem that is not present are -inf.
    """

    def to_pandas(self) -> pandas.DataFrame:
        """One row per stem; what cannot be measured (e.g. the level of a stem that is not present) is missing."""
        import pandas

        return pandas.DataFrame(table_rows([self]))

    def plot(self, path: Path | str, *, dark: bool = False) -> None:
        """Draws levels with intervals and their course in time to a file, on white or on a dark ground; its suffix says the format, .png or
        .svg say.
        """
        from stemwright.datagen.report.balance_plot import plot_balance

        plot_balance(self, path, dark=dark)

    def table(self) -> str:
        """The levels as text for a terminal or a note, one line per stem."""
        lines = [f"{self.title}  {self.loudness.integrated_lufs:.1f} LUFS", f"{'stem':<10}{'level LU':>10}   80 % range"]
        for name, stem in self.stems.items():
            level = f"{stem.level_lu:10.1f}   {stem.level_low_lu:.1f} to {stem.level_high_lu:.1f}" if stem.present else "   not present"
            lines.append(f"{name:<10}{level}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return self.table()


def balance(path: Path | str, stems: Path | str | None = None, model: Model = DEFAULT_MODEL) -> Balance:
    """How loud each stem is in a recording, with an 80 % interval; pan, width and when it plays.

    ``stems`` is a folder with the recording's own stems (``vocals.wav`` ..., or such a folder in its sub-folder that is named like the
    recording); without it the recording is separated by ``model``, which is what ``separate`` takes. Levels are in LU (ITU-R BS.1770-5)
    against the mixture. Raises ``Refused`` for a file that cannot be read, ValueError for stems that do not fit and for silence,
    ``ModelError`` where the weights cannot be had.

    >>> import numpy, stemwright as sw
    >>> vocals, drums = numpy.random.default_rng(0).normal(0, 0.1, (2, 2, 44_100)).astype("float32")
    >>> for name, audio in {"stems/vocals.wav": vocals, "stems/drums.wav": drums, "song.wav": vocals + drums}.items():
    ...     _ = sw.save(name, audio, 44_100)
    >>> found = sw.balance("song.wav", stems="stems")
    >>> print(f"{found.stems['vocals'].level_lu:.1f} LU")
    -3.1 LU
    >>> list(found.to_pandas()["stem"])
    ['drums', 'vocals']
    """
    check_one(stems, model)
    separator = None if stems is not None else separator_from(model)
    with naming(path):
        found = measure_recording(Path(path), separator, stems=None if stems is None else Path(stems))
    return Balance(**{each.name: getattr(found, each.name) for each in fields(found)})
