"""The demonstration: the main job on real music that is part of every installation.

musdb needs stempeg, and stempeg ships an excerpt of a real multitrack recording (a STEM file: the mixture and its four stems), so nothing
has to be downloaded, and this repository contains no recording of others.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

from stemwright.datagen.run.configuration import Config, check
from stemwright.datagen.run.corpus import Corpus
from stemwright.manifests.catalog.tracks import sound_of
from stemwright.manifests.records import Track
from stemwright.manifests.sound.decoding import load
from stemwright.manifests.sound.resampling import resample
from stemwright.separation.balance.level_estimators import calibration_for
from stemwright.separation.balance.measure import StemBalance, measure_balance
from stemwright.separation.demucs.separator import DemucsSeparator


def excerpt_folder() -> Path:
    """The folder with the excerpt, found without importing stempeg, which needs the ffmpeg program. Raises FileNotFoundError."""
    spec = importlib.util.find_spec("stempeg")
    for place in (spec.submodule_search_locations or []) if spec else []:
        if list(Path(place, "data").glob("*.stem.mp4")):
            return Path(place, "data")
    raise FileNotFoundError("the excerpt that stempeg ships is not on this machine; install it with: pip install stempeg")


def configuration(songs: Path) -> Config:
    """Short excerpts, since the song lasts six seconds; everything else as a corpus has it by default."""
    values = {
        "songs": {"folder": str(songs), "kind": "stems"},
        "pairs": {"duration_s": 3.0, "mix": {"per_track": 4}, "removal": {"per_track": 8}},
    }
    return check(values, where="the demonstration")


def separated_balance(corpus: Corpus, model: str, model_folder: Path | None = None) -> dict[str, StemBalance]:
    """The balance of the excerpt as it is estimated from its mixture alone, with a model's stems. Raises ModelError without its weights."""
    (track,) = corpus.rows("tracks", Track)
    separator = DemucsSeparator(model, model_folder)
    mixture, sample_rate = load(sound_of(corpus.songs, track), stream=track.audio.stream)
    stems = separator.separate(mixture, sample_rate)
    at_rate = resample(mixture, sample_rate, separator.sample_rate)
    return measure_balance(at_rate, stems, separator.sample_rate, calibration=calibration_for(separator.origin))
