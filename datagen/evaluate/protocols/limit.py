"""De-limiting as Jeon and Lee evaluate it: the mixture before a limiter against what is made of the limited one.

Conventions
    A de-limiter takes a limited mixture [C, T] float32 at -14 LUFS and its sample rate, and returns the mixture before the limiter in the
    same shape; SI-SDR leaves each channel a gain. With musdb-XL's gains the limited mixtures are made again from MUSDB18-HQ; without, songs
    are limited by our own limiter at the published loudness, which is another limiter: no figure of it compares with a published one.
    Who is compared: ``limited``, as it is; ``undo, blind``, which restores clipping where it finds some; ``undo, known``,
    divided by the gain of each sample, the most that can be had; and the models that are given.
    SI-SDR is the mean over channels, without taking off the mean, as published. MR-STFT is the mean over pieces of PIECE_S, at the one
    gain that fits best. PLR (true peak over loudness), LRA (loudness range) and crest factor are given as changes against the unlimited
    mixture: below 0 is less dynamic. SI-SDRi is the improvement over the limited mixture.

References
    Jeon and Lee 2023, "Music De-limiter Networks via Sample-wise Gain Inversion", WASPAA, and its repository: facts only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stemwright.datagen.effects.deferred import Deferred
from stemwright.datagen.evaluate.evaluated_songs import EvaluatedSong, songs_of, stamp
from stemwright.datagen.evaluate.given_models import call, checked_audio
from stemwright.datagen.evaluate.protocol import Case, EvaluationProtocol, EvaluationRequest, Figure, Row, published, table
from stemwright.datagen.evaluate.scores import at_best_gain, mean_over_songs, mr_stft_loss, si_sdr_db
from stemwright.manifests.catalog.listing import find
from stemwright.manifests.catalog.musdb_gains import VERSIONS, MusdbGain, has_gains, musdb_gains
from stemwright.manifests.sound.formats import Audio
from stemwright.manifests.usage import UsageError

if TYPE_CHECKING:
    from stemwright.datagen.evaluate import limited_songs
else:
    limited_songs = Deferred("stemwright.datagen.evaluate.limited_songs")  # the recipes of pairs, which no list of protocols needs

NETWORKS = "Jeon and Lee 2023, Music De-limiter Networks via Sample-wise Gain Inversion (WASPAA), arXiv 2308.01187"
LOUD = "Jeon and Lee 2022, Towards robust music source separation on loud commercial music (ISMIR), arXiv 2208.14355"
GROUPS = {"XL": "musdb-XL", "L": "musdb-L", "train": "musdb-XL-train, songs", "segments": "musdb-XL-train, segments"}
OURS = "our limiter"
LIMITED, BLIND, KNOWN = "limited", "undo, blind", "undo, known"
PIECE_S = 10.0
LOUDNESS = "loudness"
SCORES = (
    ("SI-SDR", "si_sdr_db", "dB"),
    ("SI-SDRi", "si_sdr_gain_db", "dB"),
    ("MR-STFT", "mr_stft", ""),
    ("PLR change", "plr_db", "dB"),
    ("LRA change", "range_lu", "LU"),
    ("crest change", "crest_db", "dB"),
    (LOUDNESS, "limited_lufs", "LUFS"),
)
COMPARED = ("si_sdr_db", "limited_lufs")  # of which there are published figures
OTHERWISE = "another limiter than the published one, on other songs"
DYNAMICS = ("plr_db", "range_lu", "crest_db")


def cases(request: EvaluationRequest) -> list[Case]:
    """One case for each song or segment. Raises UsageError where the gains or the songs that they are of are not found."""
    version = request.options.get("version", "XL")
    if version not in VERSIONS:
        raise UsageError(f"--set version={version}: expected {', '.join(VERSIONS)}")
    blind = request.options.get("blind", "yes")
    if blind not in ("yes", "no"):
        raise UsageError(f"--set blind={blind}: expected yes or no")
    contenders = Contenders(tuple((model.text, model.function) for model in request.models), blind == "yes")
    given = request.options.get("gains")
    if request.data is not None and (given is not None or has_gains(request.data, version)):
        return _of_musdb(request.data, musdb_gains(Path(given) if given else request.data, version), version, request, contenders)
    if given is not None:
        raise UsageError(f"--set gains={given}: expected DATA as well, the folder of MUSDB18-HQ that the gains are of")
    if version not in ("XL", "L"):
        raise UsageError(f"--set version={version}: it needs musdb-XL's gains (--set gains=FOLDER); our limiter has XL and L")
    return _of_songs(songs_of(request), version, request, contenders)


@dataclass(frozen=True)
class Contenders:
    """Who is compared beside the limited mixture and its known gain: the given models, and the blind undoing of what clips."""

    models: tuple[tuple[str, Callable[..., Any]], ...]
    blind: bool

    def outputs(self, song: limited_songs.LimitedSong) -> dict[str, Audio]:
        """What each of them makes of a limited song. Raises Refused for a model that returns something else."""
        from stemwright.datagen.inverse.undo.requests import Knowledge
        from stemwright.datagen.inverse.undo.reversal import undo

        rate, limited = song.sample_rate, song.limited
        found = {LIMITED: limited} | ({BLIND: undo(limited, rate).audio} if self.blind else {})
        found[KNOWN] = undo(limited, rate, known=Knowledge(gain=song.known_gain)).audio
        return found | {name: checked_audio(call(name, function, limited, rate), limited.shape, name) for name, function in self.models}


def _of_musdb(root: Path, gains: Sequence[MusdbGain], version: str, request: EvaluationRequest, contenders: Contenders) -> list[Case]:
    """Songs with gains, and those of the test set that have none, which are rejected when they are measured."""
    folders = [root / Path(each.path).parent for each in (find(root, kind="musdb18hq").candidates if root.is_dir() else ())]
    if not folders:
        raise UsageError(
            f"{root} is not MUSDB18-HQ, which the gains of musdb-XL are of; looked for test/SONG/mixture.wav with four stems beside it"
        )
    songs = {folder.name: folder for folder in folders}
    if version in ("XL", "L") and gains:
        lacking = {folder.name for folder in folders if folder.parent.name == "test"} - {gain.name for gain in gains}
        gains = [*gains, *(MusdbGain(name, gains[0].path.with_name(f"{name}.npy"), "test") for name in lacking)]

    def measure(gain: MusdbGain) -> list[Row]:
        return _rows(limited_songs.musdb_limited(gain, songs, request.duration_s), gain.name, GROUPS[version], contenders)

    chosen = sorted(gains, key=lambda gain: gain.name)[: request.num_songs]
    return [Case(_key(gain, version, songs), gain.name, partial(measure, gain)) for gain in chosen]


def _key(gain: MusdbGain, version: str, songs: Mapping[str, Path]) -> dict[str, Any]:
    """What a case depends on: its gain, the files of its song, or the parts of its segment."""
    names = {gain.name, *(part.song for _, part in gain.parts)}
    parts = [[stem, part.song, part.start_s, part.gain, part.is_swapped] for stem, part in gain.parts]
    files = [_stamp(path) for name in sorted(names) if name in songs for path in sorted(songs[name].glob("*.wav"))]
    return {"version": version, "gain": _stamp(gain.path), "parts": parts, "files": files}


def _stamp(path: Path) -> list[Any]:
    """What tells whether a finished file is still that file."""
    return stamp(path) if path.exists() else [path.parent.name, path.name]


def _of_songs(songs: Sequence[EvaluatedSong], version: str, request: EvaluationRequest, contenders: Contenders) -> list[Case]:
    def measure(song: EvaluatedSong) -> list[Row]:
        multitrack = song.load()
        limited = limited_songs.limited_by_us(multitrack.mixture, multitrack.sample_rate, song.title, request.seed, version)
        return _rows(limited, song.title, OURS if version == "XL" else f"{OURS}, {version}", contenders)

    return [Case({"song": song.key, "version": version}, song.title, partial(measure, song), song.audio_s) for song in songs]


def _rows(song: limited_songs.LimitedSong, title: str, group: str, contenders: Contenders) -> list[Row]:
    """One row for each contender."""
    from stemwright.datagen.inverse.undo.figures import measured

    rate = song.sample_rate
    truth = measured(song.unlimited, rate)
    before = si_sdr_db(song.limited, song.unlimited, zero_mean=False)
    rows: list[Row] = []
    for who, output in contenders.outputs(song).items():
        sdr = si_sdr_db(output, song.unlimited, zero_mean=False)
        values = {"si_sdr_db": sdr, "si_sdr_gain_db": sdr - before, "mr_stft": _loss(output, song.unlimited, rate)}
        row: dict[str, Any] = {name: value if math.isfinite(value) else None for name, value in values.items()}
        found = measured(output, rate)
        for name in DYNAMICS:
            one, other = found[name], truth[name]
            row[name] = None if one is None or other is None else one - other
        row["limited_lufs"] = song.limited_lufs if who == LIMITED else None
        rows.append({"group": group, "song": title, "who": who, **row})
    return rows


def _loss(output: Audio, target: Audio, sample_rate: int) -> float:
    """The MR-STFT loss at the best gain, the mean over pieces that sound; the last piece may be longer."""
    output, size = at_best_gain(output, target), round(PIECE_S * sample_rate)
    count = max(1, target.shape[1] // size)
    ends = [number * size for number in range(count)] + [target.shape[1]]
    losses = [mr_stft_loss(output[:, start:end], target[:, start:end]) for start, end in pairwise(ends)]
    sounding = [loss for loss in losses if not math.isnan(loss)]
    return sum(sounding) / len(sounding) if sounding else math.nan


def figures(rows: Sequence[Row]) -> list[Figure]:
    """The mean scores of every group and contender, with intervals over songs."""
    found = []
    for group in dict.fromkeys(row["group"] for row in rows):
        for name, column, unit in SCORES:
            note = OTHERWISE if group.startswith(OURS) and column in COMPARED else ""
            for who in dict.fromkeys(row["who"] for row in rows):
                its = [row for row in rows if (row["group"], row["who"]) == (group, who)]
                if not its or (column == "si_sdr_gain_db" and who == LIMITED) or (column == "limited_lufs" and who != LIMITED):
                    continue
                mean = mean_over_songs([math.nan if row[column] is None else row[column] for row in its], [row["song"] for row in its])
                value = None if math.isnan(mean.value) else mean.value
                found.append(Figure(group, name, unit, who, value, mean.low, mean.high, mean.songs, note=note))
    return found


def draw(rows: Sequence[Row], path: Path) -> None:
    """The figures but those of the known gain, whose hundred decibels would leave the others no room."""
    from stemwright.datagen.evaluate.figures_plot import plot_figures

    plot_figures(PROTOCOL.title, [each for each in table(PROTOCOL, rows) if each.who != KNOWN], path)


PROTOCOL = EvaluationProtocol(
    name="limit",
    title="De-limiting: SI-SDR and dynamics against the mixture before the limiter",
    source=f"{NETWORKS}; {LOUD}",
    data="MUSDB18-HQ (zenodo.org/records/3338373) and, in it or as --set gains=FOLDER, the gains of musdb-XL (zenodo.org/records/7041331, "
    "those of its training set 12194067); or any multitracks, whose mixtures our own limiter limits",
    free="the excerpt that ships, limited by our own limiter",
    model="package.module:callable, a de-limiter: (limited mixture float32 [C, T] at -14 LUFS, sample_rate) -> unlimited mixture [C, T]",
    published=(
        published("musdb-XL", "SI-SDR", "dB", "De-limiter network", 24.0, f"{NETWORKS}: abstract"),
        published("musdb-XL", LOUDNESS, "LUFS", "musdb-XL", -8.6, f"{LOUD}: standard deviation 1.17 over songs"),
        published("musdb-L", LOUDNESS, "LUFS", "musdb-L", -10.9, f"{LOUD}: standard deviation 1.19 over songs"),
    ),
    cases=cases,
    figures=figures,
    draw=draw,
    options={
        "gains": "folder of musdb-XL's gains, where they are not in DATA",
        "version": f"which gains ({', '.join(VERSIONS)}; XL is the published evaluation); without gains the loudness of XL or L",
        "blind": "no: leave out undo without knowledge, which takes minutes a song where much is clipped (yes)",
    },
)
