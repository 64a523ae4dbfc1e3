"""Separation on MUSDB18: BSS Eval version 4 as museval has it, of our engine beside the demucs package, and of any other separator.

The figures of the field are medians over frames of one second for each track, then the median over the tracks of the test set, and for all
stems the mean of the four. A Demucs model is separated twice in the same run, by our engine and by the package's own ``apply_model``:
what is different between them is printed, and is expected to be at most SAME_DB.

Conventions
    Stems are compared as ``stemwright.datagen.evaluate.matched_stems`` says: a model with six stems is scored with guitar and piano in its
    other, a model with vocals and accompaniment against the sum of the other three.
    Reference stems are used as they are, without any mending, and the mixture is the data set's. Only the songs of ``test`` are used where
    the folder is divided. A stem without a file is silent if the others sum to the mixture (an instrumental without vocals.wav); it has
    no score, as a silent one has none in museval, and the note says in how many songs. Otherwise the song is rejected.
    Beside museval's ratios: SI-SDR (mean of the channels) and uSDR, the SDR of a whole song as in the sound demixing challenge; of both the
    mean over songs. Ratios of a stem that is silent in a song, or that a model leaves silent, are missing and counted in the note.

References
    Rafii et al., MUSDB18 (2017), MUSDB18-HQ (2019). Stöter, Liutkus, Ito, The 2018 signal separation evaluation campaign (2018): version 4.
    Rouard, Massa, Defossez, Hybrid transformers for music source separation (2023).
"""

from __future__ import annotations

import importlib.metadata
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from stemwright.datagen.evaluate.bss_metrics import FILTER_FRAMES, RATIOS, bss_medians, song_sdr
from stemwright.datagen.evaluate.evaluated_songs import EvaluatedSong, LoadedSong, has_stems, songs_of
from stemwright.datagen.evaluate.given_models import shown_names
from stemwright.datagen.evaluate.matched_stems import compared, matched
from stemwright.datagen.evaluate.protocol import Case, EvaluationProtocol, EvaluationRequest, Figure, Row, published
from stemwright.datagen.evaluate.scores import SongMean, mean_over_songs, si_sdr_db
from stemwright.datagen.evaluate.song_separators import MODELS, SongSeparator, fitted, separators_of
from stemwright.manifests.records import Refused
from stemwright.manifests.sound.formats import Audio
from stemwright.manifests.sound.resampling import resample
from stemwright.manifests.stem_names import FOUR_STEMS
from stemwright.manifests.usage import UsageError
from stemwright.separation.balance.named_songs import named_songs
from stemwright.separation.demucs.separator import DemucsSeparator, separate_by_package

DATA = (
    "MUSDB18 (STEM files) or MUSDB18-HQ (WAV), as zenodo.org/records/1117372 and /3338373 have them, or the excerpts of 7 s that the musdb "
    "package downloads: test/*.stem.mp4, test/SONG/mixture.wav with drums, bass, other, vocals.wav, or such songs in one folder"
)
LAYOUT = "test/SONG.stem.mp4 (MUSDB18) or test/SONG/ with mixture.wav, drums.wav, bass.wav, other.wav, vocals.wav (MUSDB18-HQ)"
SAME_DB = 0.01
LEAST_STEMS = len(FOUR_STEMS) - 1
ABSENT_DB = -40.0  # what is left of a mixture when a stem is silent: rounding and a codec's noise
OURS = "stemwright"
WHOLE_SONG = ("SI-SDR", "uSDR")
LEAST_FRAMES = 16 * FILTER_FRAMES  # eight equations for each tap of two channels
ALL = "mean of four"

CARD = "data set card of StemSplitio/stem-separation-benchmark-2026 (Hugging Face, read there): 50 songs of MUSDB18-HQ, museval"
README = "README of demucs (read there), MUSDB18-HQ"
SECOND = "as others quote it; the original was not read"
_CARD_ROWS: dict[str, tuple[tuple[float, ...], str]] = {  # median SDR in dB: drums, bass, other, vocals
    "htdemucs": ((10.01, 9.78, 6.42, 8.53), ""),
    "htdemucs_ft": ((10.11, 10.38, 6.34, 9.19), ""),
    "htdemucs_6s": ((9.54, 9.11, 0.22, 8.66), "; its guitar and piano are not in its other there"),
    "mdx_extra_q": ((11.49, 11.42, 7.67, 9.04), "; demucs's README: trained with this test set"),
}
_MEANS = {
    "Open-Unmix": (5.3, README),
    "KUIELAB-MDX-Net": (7.5, README),
    "Hybrid Demucs (v3)": (7.7, README),
    "htdemucs_ft": (9.0, README),
    "HT Demucs, sparse attention, fine-tuned": (9.2, README),
    "BS-RoFormer": (9.8, "Lu et al., Music source separation with band-split RoPE transformer (2023), abstract: MUSDB18-HQ alone"),
}
_EXCERPTS = {"drums": 10.8, "bass": 9.4, "other": 3.9, "vocals": 8.8}
PUBLISHED = (
    *(
        published(stem, "SDR", "dB", model, medians[number], CARD + remark)
        for number, stem in enumerate(FOUR_STEMS)
        for model, (medians, remark) in _CARD_ROWS.items()
    ),
    *(published(stem, "SDR", "dB", "htdemucs_ft, 7 s excerpts", value, SECOND) for stem, value in _EXCERPTS.items()),
    *(published(ALL, "SDR", "dB", model, value, source) for model, (value, source) in _MEANS.items()),
)


def cases(request: EvaluationRequest) -> list[Case]:
    """A case for each song and separator. Raises UsageError for another layout, and for a separator that lacks a stem."""
    package = _is_yes(request.options)
    separators = separators_of(request, cut=request.duration_s is not None)
    songs, lacking = musdb_songs(request)
    if request.data is not None:
        for each in separators:
            if each.model is not None:
                matched(FOUR_STEMS, each.model.stem_names, each.name)
    refused = [Case({"lacks": title}, title, partial(_refuse, reason), 0.0) for title, reason in lacking]
    return refused + [
        Case(
            {"song": song.key, **each.song_key(song.title)},
            f"{song.title}, {each.name}",
            partial(measure, song, each, package=package),
            song.audio_s,
        )
        for song in songs
        for each in separators
    ]


def musdb_songs(request: EvaluationRequest) -> tuple[list[EvaluatedSong], list[tuple[str, str]]]:
    """The test songs, and the title of each song that lacks a stem with what it lacks. Raises UsageError naming the layout."""
    from stemwright.separation.balance.recordings import title_of

    if request.data is None:
        return songs_of(request), []
    root = request.data / "test" if (request.data / "test").is_dir() else request.data
    try:
        found = named_songs([root])
    except UsageError as error:
        raise UsageError(f"{error}; the protocol musdb looks for {LAYOUT}") from error
    lacking = []
    for song in found.songs:
        names = set(song.stems) if isinstance(song.stems, Mapping) else set()
        if not has_stems(names, FOUR_STEMS) and not has_stems(names, FOUR_STEMS, LEAST_STEMS):
            lacking.append((title_of(song.path), _lacks(names)))
    if len(lacking) == len(found.songs):
        first = f": {lacking[0][0]} {lacking[0][1]}" if lacking else f"; expected {LAYOUT}"
        raise UsageError(f"{root} has no song of MUSDB18's layout{first}")
    return songs_of(replace(request, data=root), stems=FOUR_STEMS, least=LEAST_STEMS), [*lacking, *found.rejected]


def _lacks(names: Collection[str], remark: str = "") -> str:
    return f"has no {', no '.join(name for name in FOUR_STEMS if name not in names)}{remark}; expected {LAYOUT}"


def references_of(song: LoadedSong) -> dict[str, Audio]:
    """The stems of a song; one of the four that has no file is silent, if the others sum to the mixture. Raises Refused otherwise."""
    names = set(song.stems)
    if has_stems(names, FOUR_STEMS) or not has_stems(names, FOUR_STEMS, LEAST_STEMS):
        return song.stems
    left, whole = (float(np.sum(np.square(each, dtype=np.float64))) for each in (song.mixture - sum(song.stems.values()), song.mixture))
    left_db = 10.0 * math.log10(left / whole) if left else -math.inf
    if left_db > ABSENT_DB:
        raise Refused(_lacks(names, f" (silent stems need no file, but the others leave {left_db:.1f} dB of the mixture)"))
    return {name: song.stems.get(name, np.zeros_like(song.mixture)) for name in FOUR_STEMS}


def measure(song: EvaluatedSong, separator: SongSeparator, *, package: bool) -> list[Row]:
    """A row for each stem of a song and each engine: the ratios of ``RATIOS`` and ``WHOLE_SONG`` in dB, and the number of frames."""
    own = song.load(mended=False)
    if own.mixture.shape[1] < LEAST_FRAMES:
        raise Refused(
            f"it lasts {own.mixture.shape[1]} frames; expected {LEAST_FRAMES} at least, so that the filters of BSS Eval are determined"
        )
    true, references = references_of(own), dict[str, Audio]()
    estimates: dict[str, dict[str, Audio]] = {}
    for engine, stems in _separated(separator, song.title, own.mixture, own.sample_rate, package=package):
        references, estimates[engine] = compared(true, stems, separator.name)
    rows: list[Row] = []
    for engine, ratios in bss_medians(references, estimates, own.sample_rate).items():
        for stem, found in ratios.items():
            given, whole = estimates[engine][stem], dict.fromkeys(WHOLE_SONG, float("nan"))
            if found["frames"]:
                whole = {"SI-SDR": si_sdr_db(given, references[stem]), "uSDR": song_sdr(given, references[stem])}
            rows.append({"song": song.title, "model": separator.name, "engine": engine, "stem": stem, **found, **whole})
    return rows


def figures(rows: Sequence[Row]) -> list[Figure]:
    """For each stem and engine the median over songs of each ratio, of the challenges' ratios the mean; then the means of the stems, and
    how far the two engines are apart.
    """
    stems = [name for name in FOUR_STEMS if any(row["stem"] == name for row in rows)]
    stems += [name for name in dict.fromkeys(row["stem"] for row in rows) if name not in stems]
    makers = list(dict.fromkeys((row["model"], row["engine"]) for row in rows))
    names = shown_names([model for model, _ in makers])
    rows = [{**row, "model": names[row["model"]]} for row in rows]
    makers = [(names[model], engine) for model, engine in makers]
    found: list[Figure] = []
    for stem in stems:
        for ratio in (*RATIOS, *WHOLE_SONG):
            for maker in makers:
                own = [row for row in rows if row["stem"] == stem and (row["model"], row["engine"]) == maker]
                there = any(row.get(ratio) is not None for row in rows if row["stem"] == stem)
                if there or (ratio == RATIOS[0] and own):  # of a stem that is silent everywhere one row says so
                    found.append(_figure(stem, ratio, maker, own))
    for ratio in (*RATIOS, *WHOLE_SONG):
        for maker in makers:
            values = [each.value for each in found if each.name == ratio and each.who == _who(maker) and each.group in stems]
            known = [value for value in values if value is not None]
            if len(known) == len(stems) > 1:
                group = ALL if set(stems) == set(FOUR_STEMS) else f"mean of {len(stems)}"
                found.append(Figure(group, ratio, "dB", _who(maker), float(np.mean(known))))
    return [*found, *_apart(rows)]


def _figure(stem: str, ratio: str, maker: tuple[str, str], rows: Sequence[Row]) -> Figure:
    known = _over_songs([(row["song"], row.get(ratio)) for row in rows], ratio)
    missing = len(rows) - known.count
    note = f"{missing} of {len(rows)} songs have none: the stem is silent there, or the model left it silent" if missing else ""
    value = known.value if known.count else None
    return Figure(stem, ratio, "dB", _who(maker), value, known.low, known.high, known.count, note=note)


def _over_songs(values: Sequence[tuple[str, float | None]], ratio: str) -> SongMean:
    numbers = [float("nan") if value is None else value for _, value in values]
    return mean_over_songs(numbers, [song for song, _ in values], np.mean if ratio in WHOLE_SONG else np.median)


def _apart(rows: Sequence[Row]) -> Iterator[Figure]:
    """The largest difference of any ratio between our engine and the demucs package, over songs and stems."""
    ours = {(row["model"], row["song"], row["stem"]): row for row in rows if row["engine"] == OURS}
    for model in dict.fromkeys(row["model"] for row in rows if row["engine"] not in ("", OURS)):
        theirs = [row for row in rows if row["model"] == model and row["engine"] not in ("", OURS)]
        both = [(ours[model, row["song"], row["stem"]], row) for row in theirs]
        apart = [
            abs(one[ratio] - other[ratio])
            for one, other in both
            for ratio in RATIOS
            if one.get(ratio) is not None and other.get(ratio) is not None
        ]
        if apart:
            songs = len({row["song"] for row in theirs})
            note = f"expected at most {SAME_DB} dB, in any of museval's ratios of any song and stem"
            yield Figure("ours and demucs", "difference", "dB", model, max(apart), count=songs, note=note)


def _separated(
    separator: SongSeparator, title: str, mixture: Audio, sample_rate: int, *, package: bool
) -> Iterator[tuple[str, dict[str, Audio]]]:
    """The stems of a song by the name of what made them: of a Demucs model by our engine, then by the package."""
    model = separator.model
    is_demucs = isinstance(model, DemucsSeparator)
    yield OURS if is_demucs else "", separator.stems(title, mixture, sample_rate)
    if package and isinstance(model, DemucsSeparator):
        stems = separate_by_package(model, mixture, sample_rate)
        rate, length = model.sample_rate, mixture.shape[1]
        yield (
            f"demucs {importlib.metadata.version('demucs')}",
            {name: fitted(resample(audio, rate, sample_rate), length) for name, audio in stems.items()},
        )


def _who(maker: tuple[str, str]) -> str:
    model, engine = maker
    return f"{model} ({'ours' if engine == OURS else engine})" if engine else model


def _is_yes(options: Mapping[str, str]) -> bool:
    """Whether Demucs models are run by the package as well. Raises UsageError for another value than yes and no."""
    text = options.get("package", "yes")
    if text not in ("yes", "no"):
        raise UsageError(f"--set package={text}: expected yes or no")
    return text == "yes"


def _refuse(reason: str) -> Sequence[Mapping[str, Any]]:
    raise Refused(reason)


PROTOCOL = EvaluationProtocol(
    name="musdb",
    title="Separation on MUSDB18: museval v4 medians; our engine beside demucs",
    source="Stöter, Liutkus, Ito 2018 (museval, BSS Eval v4); Rafii et al. 2017, 2019 (MUSDB18)",
    data=DATA,
    free="the excerpt that ships (two stems of one song; no figure of the field)",
    model=f"{MODELS}; without any: bundled",
    published=PUBLISHED,
    cases=cases,
    figures=figures,
    options={"package": "yes (default): Demucs models are also run by the demucs package; no: by our engine alone"},
)
