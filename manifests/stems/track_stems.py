"""A multitrack's own stems as its row has them: examined against the mixture, with what mends them in columns of their own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stemwright.manifests.records import AudioFile, ReferenceStem, Refused
from stemwright.manifests.stems.given_stems import examine
from stemwright.manifests.stems.stem_reading import Mending, given_files


def examined(songs: Path, mixture: AudioFile, stems: Sequence[ReferenceStem]) -> tuple[list[ReferenceStem], float | None, list[str]]:
    """The stems with what was found of each, without those that are sums of others; their closure in dB; and notes.

    Raises Refused where a stem is of another recording, or of another clock: what is made from it would be wrong.
    """
    if not stems:
        return [], None, []
    files = {stem.name: (songs / stem.audio.path, stem.audio.stream) for stem in stems}
    given = given_files((songs / mixture.path, mixture.stream), files, mixture.sample_rate, mixture.num_channels, {})
    found = examine(given)
    found.check_clocks()
    if found.foreign:
        names = ", ".join(found.foreign)
        raise Refused(
            f"stem {names} is not found in the mixture: it is of another recording or another take, it is noise, or effects changed it "
            "too much. Take the right file, or the stem as it sounds in the mixture, or leave it out"
        )
    rows = []
    for stem in stems:
        if stem.name in found.stems:
            finding = found.stems[stem.name]
            mending = finding.mending
            facts = {"lag_frames": mending.lag_frames, "fit_gain_db": finding.fit_gain_db, "gain_db": mending.gain_db}
            rows.append(stem.model_copy(update={**facts, "inverted": mending.inverted, "swapped": mending.swapped}))
    return rows, found.closure_db, list(found.all_notes)


def mending_of(stem: ReferenceStem) -> Mending:
    """What mends a stem, as its row says."""
    return Mending(stem.lag_frames, stem.gain_db, stem.inverted, stem.swapped)
