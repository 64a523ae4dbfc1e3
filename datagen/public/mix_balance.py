"""The mix balance of a recording, from path to result."""

from __future__ import annotations

import base64
import html
import io
import math
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stemwright.datagen.public.song_stems import DEFAULT_MODEL, Model, check_one, separator_from
from stemwright.datagen.public.sound_files import naming
from stemwright.separation.balance.basis import sentence, sentence_on_calibration
from stemwright.separation.balance.calibration_names import AUTO
from stemwright.separation.balance.image_words import image_in_words
from stemwright.separation.balance.recordings import RecordingOptions, measure_recording
from stemwright.separation.balance.track_balance import TrackBalance, table_rows
from stemwright.separation.part_separator import ApartSeparator, PartSeparator

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure


class Balance(TrackBalance):
    """The balance of one recording: ``stems`` maps names to ``StemBalance``, ``loudness`` is that of the mixture.

    ``basis`` is "measured" in the recording's own stems, "estimated" from separated ones, or the rough estimate of a "demonstration" model.
    ``loudness`` has integrated_lufs, range_lu, true_peak_dbtp, max_momentary_lufs and max_short_term_lufs. Each stem has level_lu (LU
    against the mixture) with an 80 % interval level_low_lu to level_high_lu, loudness_lufs, pan (left -1, right 1), width and
    active_fraction with intervals (pan_low ...), present, and when it plays. Levels of a stem that is not present are -inf. A notebook
    shows the picture with the table below it.
    """

    def to_pandas(self) -> pandas.DataFrame:
        """One row per stem; what cannot be measured (e.g. the level of a stem that is not present) is missing."""
        import pandas

        return pandas.DataFrame(table_rows([self]))

    def plot(self, path: Path | str | None = None, *, dark: bool = False) -> Figure | None:
        """Draws levels with intervals and their course in time, on white or on a dark ground.

        With a path to a file, whose suffix says the format (.png or .svg, say); without one it returns the matplotlib figure, which a
        notebook shows.
        """
        from stemwright.datagen.report.balance_plot import balance_figures, plot_balance
        from stemwright.datagen.report.palette import DARK, LIGHT
        from stemwright.datagen.report.sheet import drawing

        if path is not None:
            plot_balance(self, path, dark=dark)
            return None
        look = DARK if dark else LIGHT
        with drawing(look, (self.title, *self.stems)):
            return balance_figures([self], look)[0]

    def table(self) -> str:
        """The levels as text for a terminal or a note, one line per stem, with what they rest on."""
        calibrated = sentence_on_calibration(self.basis, self.origin, self.calibration_songs, self.calibrated_without)
        said = filter(None, [sentence(self.basis, self.origin), calibrated])
        loudness = f"{self.title}  {self.loudness.integrated_lufs:.1f} LUFS, {', '.join(said)}"
        rows = [("stem", "level LU", "80 % range", "to rest LU", "pan", "width", "plays")]
        for name, stem in self.stems.items():
            if not stem.present:
                rows.append((name, "-", stem.note.split(":")[0], "-", "-", "-", "-"))
                continue
            span = f"{stem.level_low_lu:.1f} to {stem.level_high_lu:.1f}"
            rest = f"{stem.against_rest_lu:+.1f}" if math.isfinite(stem.against_rest_lu) else "-"
            rows.append((name, f"{stem.level_lu:.1f}", span, rest, *image_in_words(stem)))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [[cell.ljust(w) if n == 0 else cell.rjust(w) for n, (cell, w) in enumerate(zip(row, widths, strict=True))] for row in rows]
        return "\n".join([loudness, *("  ".join(line).rstrip() for line in lines)])

    def __repr__(self) -> str:
        return self.table()

    def _repr_html_(self) -> str:
        """The picture and the table, for a notebook."""
        from stemwright.datagen.report.balance_plot import balance_figures
        from stemwright.datagen.report.sheet import drawing

        picture = io.BytesIO()
        with drawing(texts=(self.title, *self.stems)):
            balance_figures([self])[0].savefig(picture, format="svg")
        source = base64.b64encode(picture.getvalue()).decode("ascii")
        return f'<img src="data:image/svg+xml;base64,{source}" alt=""><pre>{html.escape(self.table())}</pre>'


def balance(
    path: Path | str,
    stems: Path | str | None = None,
    model: Model = DEFAULT_MODEL,
    *,
    drums_model: Model | None = None,
    calibration: str = AUTO,
) -> Balance:
    """How loud each stem is in a recording, with an 80 % interval; pan, width and when it plays.

    ``stems`` is a folder with the recording's own stems (``vocals.wav`` ..., or such a folder in its sub-folder that is named like the
    recording); without it the recording is separated by ``model``, which is what ``separate`` takes. Levels are in LU (ITU-R BS.1770-5)
    against the mixture. ``drums_model`` takes separated drums further apart: kick, snare and so on are in ``stems`` as ``"drums/kick"``.
    ``calibration`` is for levels of separated stems: "auto", the one to this model that `stemwright calibrate` made on this machine, if
    there is one; the id of one, or its file; "none", the generic one, for separators in general.
    Raises ``Refused`` for a file that cannot be read, ValueError for stems that do not fit and for silence, ``ModelError`` where the
    weights cannot be had.

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
    check_one(stems, model, drums_model)
    separator: Any = None if stems is not None else separator_from(model)
    if separator is not None and drums_model is not None:
        separator = ApartSeparator(separator, PartSeparator(separator_from(drums_model)))
    with naming(path):
        found = measure_recording(
            Path(path), separator, stems=None if stems is None else Path(stems), options=RecordingOptions(calibration=calibration)
        )
    return Balance(**{each.name: getattr(found, each.name) for each in fields(found)})
