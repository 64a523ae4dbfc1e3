"""Effect removal as RemFX evaluates it: what the removed effects did, and what a remover gives back.

Conventions
    A remover takes wet [1, T], float32 at 48 kHz, and the sample rate, and returns dry of the same shape. Groups are the five effects, each
    removed alone, and 0 to 5 effects removed together, none kept: with 0 effects wet is dry, and a remover should leave it as it is.
    Of RemFX's evaluation sets the published pairs are scored; of the four data sets, and of multitracks, pairs are drawn and rendered by
    our own effects in the published ranges. Who is compared: ``wet``, which is doing nothing; ``undo``, the inverse with the known
    settings, where each removed effect has one: what can be had, not what a remover can know; and the models that are given.
    SI-SDR and MR-STFT are auraloss's with their defaults, the latter at the gain that the remover gave it. SI-SDRi, the improvement,
    is the difference from wet. A file is a song of the intervals; of multitracks all stems are one song.

References
    Rice, Steinmetz, Fazekas, Reiss 2023, "General Purpose Audio Effect Removal", WASPAA; its repository at 85d5030: facts only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stemwright.datagen.effects.deferred import Deferred
from stemwright.datagen.evaluate.evaluated_songs import EvaluatedSong, middle, songs_of, stamp
from stemwright.datagen.evaluate.given_models import call, checked_audio
from stemwright.datagen.evaluate.protocol import Case, EvaluationProtocol, EvaluationRequest, Figure, Row, published, table
from stemwright.datagen.evaluate.scores import mean_over_songs, mr_stft_loss, si_sdr_db
from stemwright.datagen.pairs.recipes import remfx
from stemwright.manifests.catalog.dry_instruments import DrySet, WetDryFiles, find_dry_sets, find_wet_dry, looked_for
from stemwright.manifests.records import Refused
from stemwright.manifests.sound.decoding import load, probe
from stemwright.manifests.sound.resampling import resample
from stemwright.manifests.usage import UsageError
from stemwright.manifests.wording import counted

if TYPE_CHECKING:
    from stemwright.datagen.evaluate import removal_pairs
else:
    removal_pairs = Deferred("stemwright.datagen.evaluate.removal_pairs")  # the recipes of pairs, which no list of protocols needs

SOURCE = "Rice, Steinmetz, Fazekas, Reiss 2023, General Purpose Audio Effect Removal (WASPAA), arXiv 2308.16177"
MODELS_NOTE = f"{SOURCE}: effect-specific models, on the authors' own pairs of VocalSet, GuitarSet, DSD100 and IDMT-SMT-Drums"
NUM_FILES = 100  # of the four data sets together, if no number is given; published: 1000 excerpts a configuration
COUNTS = tuple(range(6))
LABELLED = ("reverb", "chorus", "delay", "distortion", "compressor")  # the order in the published files of labels
WET, UNDO = "wet", "undo, known"
SCORES = (("SI-SDR", "si_sdr_db", "dB"), ("SI-SDRi", "si_sdr_gain_db", "dB"), ("MR-STFT", "mr_stft", ""))
LEFT_OUT = "left out"  # the group of the rows of stems that give no pair


def cases(request: EvaluationRequest) -> list[Case]:
    """One case for each file or multitrack. Raises UsageError where no layout is found, or an option is no number."""
    number = request.options.get("pairs", "1")
    if not number.isdecimal() or not int(number):
        raise UsageError(f"--set pairs={number}: expected a whole number of at least 1, of pairs drawn of each sound and group")
    models = [(model.text, model.function) for model in request.models]
    if request.data is None:
        return _of_multitracks(songs_of(request), request, int(number), models)
    try:
        if pairs := find_wet_dry(request.data):
            return _of_published_pairs(request.data, pairs, request, models)
        sets = find_dry_sets(request.data)
    except Refused as reason:
        raise UsageError(str(reason)) from reason
    if sets:
        return _of_files(request.data, sets, request, int(number), models)
    try:
        songs = songs_of(request)
    except UsageError as error:
        raise UsageError(f"{error}; and for {looked_for()}") from error
    return _of_multitracks(songs, request, int(number), models)


Models = Sequence[tuple[str, Callable[..., Any]]]


def _of_multitracks(songs: Sequence[EvaluatedSong], request: EvaluationRequest, number: int, models: Models) -> list[Case]:
    def measure(song: EvaluatedSong) -> list[Row]:
        multitrack = song.load()
        rows: list[Row] = []
        left: list[Row] = []
        for name, audio in sorted(multitrack.stems.items()):
            try:
                sound = removal_pairs.DrySound(
                    resample(removal_pairs.mono(audio), multitrack.sample_rate, removal_pairs.RATE), f"{song.title}/{name}"
                )
            except Refused as reason:
                left.append({"group": LEFT_OUT, "song": song.title, "source": name, "reason": str(reason)})
                continue
            rows += _rows_of(sound, song.title, name, request.seed, number, models)
        if not rows:
            raise Refused(f"none of its stems can be used: {left[0]['source']}: {left[0]['reason']}" if left else "it has no stems")
        return [*rows, *left]

    return [Case({"song": song.key, "pairs": number}, song.title, partial(measure, song)) for song in songs]


def _of_files(root: Path, sets: Sequence[DrySet], request: EvaluationRequest, number: int, models: Models) -> list[Case]:
    """Files drawn from each data set equally often, those that are shorter than an excerpt left out, as published."""

    def measure(path: Path, name: str, title: str) -> list[Row]:
        audio, rate = load(path)
        sound = removal_pairs.DrySound(resample(removal_pairs.mono(audio), rate, removal_pairs.RATE), title, request.duration_s)
        return _rows_of(sound, title, name, request.seed, number, models)

    rng = np.random.default_rng(request.seed)
    orders = {each.name: [each.files[index] for index in rng.permutation(len(each.files))] for each in sets}
    found: list[Case] = []
    wanted = request.num_songs or NUM_FILES
    least_s = min(request.duration_s or math.inf, remfx.SHAPE.num_frames / removal_pairs.RATE)
    while orders and len(found) < wanted:
        for name in list(orders):
            path = next((each for each in _popped(orders[name]) if _duration_s(each) >= least_s), None)
            if path is None:
                del orders[name]
            elif len(found) < wanted:
                title = path.relative_to(root).as_posix()
                found.append(Case({"file": _stamp(path, title), "pairs": number}, title, partial(measure, path, name, title)))
    if not found:
        raise UsageError(f"{root}: none of {', '.join(each.name for each in sets)} has a file as long as an excerpt of {least_s:.2f} s")
    return found


def _duration_s(path: Path) -> float:
    info = probe(path)
    return info.num_frames / info.sample_rate


def _popped(files: list[Path]) -> Iterator[Path]:
    while files:
        yield files.pop()


def _of_published_pairs(root: Path, pairs: Sequence[WetDryFiles], request: EvaluationRequest, models: Models) -> list[Case]:
    def measure(files: WetDryFiles, title: str) -> list[Row]:
        (wet, rate), (dry, other_rate) = load(files.wet), load(files.dry)
        if (wet.shape, rate) != (dry.shape, other_rate):
            raise Refused(f"wet is {list(wet.shape)} at {rate} Hz and dry {list(dry.shape)} at {other_rate} Hz; expected the same")
        part = middle(dry.shape[1], rate, request.duration_s)
        wet, dry, removed = wet[:, part], dry[:, part], _labelled(files)
        groups = _groups(removed, len(removed) if removed is not None else files.num_removed)
        return list(_scored(removal_pairs.WetDry(wet, dry, removed or (), sample_rate=rate), title, files.set_name, groups, models))

    by_set: dict[str, list[WetDryFiles]] = {}
    for pair in pairs:
        by_set.setdefault(pair.set_name, []).append(pair)
    chosen = [pair for files in by_set.values() for pair in files[: request.num_songs]]
    titles = [pair.wet.parent.relative_to(root).as_posix() for pair in chosen]
    return [
        Case({"pair": [_stamp(pair.wet, title), _stamp(pair.dry, title)]}, title, partial(measure, pair, title))
        for pair, title in zip(chosen, titles, strict=True)
    ]


def _stamp(path: Path, title: str) -> list[Any]:
    """What tells whether a finished file is still that file."""
    return [title, *stamp(path)]


def _labelled(files: WetDryFiles) -> tuple[str, ...] | None:
    """The removed effects of a published pair; None without its file of labels. Raises Refused where that is none."""
    import pickle

    import torch

    if not files.labels.is_file():
        return None
    try:
        flags = torch.load(files.labels, weights_only=True).flatten().tolist()
        return tuple(name for name, flag in zip(LABELLED, flags, strict=True) if flag)
    except (OSError, RuntimeError, ValueError, AttributeError, EOFError, pickle.UnpicklingError) as error:
        raise Refused(f"{files.labels.name} is not five labels as RemFX writes them: {error}") from error


def _rows_of(sound: removal_pairs.DrySound, song: str, source: str, seed: int, number: int, models: Models) -> list[Row]:
    """Scores of all groups of one sound."""
    rows: list[Row] = []
    for each in range(number):
        rows += _scored(sound.untouched(each, seed), song, source, _groups((), 0), models)
        for effect in remfx.RANGES:
            pair = sound.pair(f"remfx-{remfx.NAMED_AS.get(effect, effect)}", each, seed)
            rows += _scored(pair, song, source, _groups(pair.removed, 1), models)
        for count in COUNTS[2:]:
            pair = sound.pair(f"remfx-{count}-{count}", each, seed)
            rows += _scored(pair, song, source, _groups(pair.removed, count), models)
    return rows


def _groups(removed: tuple[str, ...] | None, count: int | None) -> tuple[str, ...]:
    """The groups of the table that a pair counts in: how many effects are removed, and which one if it is one."""
    if count is None:
        return ("any effects",)
    return (*((removed or ()) if count == 1 else ()), _named(count))


def _named(count: int) -> str:
    return f"{count} effect" if count == 1 else f"{count} effects"


def _scored(pair: removal_pairs.WetDry, song: str, source: str, groups: tuple[str, ...], models: Models) -> Iterator[Row]:
    """One row for each contender and group."""
    outputs = {WET: pair.wet} | ({} if pair.undone is None else {UNDO: pair.undone})
    outputs |= {name: checked_audio(call(name, function, pair.wet, pair.sample_rate), pair.wet.shape, name) for name, function in models}
    before = si_sdr_db(pair.wet, pair.dry)
    for who, output in outputs.items():
        scores = {"si_sdr_db": si_sdr_db(output, pair.dry), "mr_stft": mr_stft_loss(output, pair.dry)}
        scores["si_sdr_gain_db"] = scores["si_sdr_db"] - before
        plain = {name: value if math.isfinite(value) else None for name, value in scores.items()}
        for group in groups:
            yield {"group": group, "song": song, "source": source, "removed": " > ".join(pair.removed), "who": who, **plain}


def figures(rows: Sequence[Row]) -> list[Figure]:
    """The mean scores of every group and contender, with intervals over songs."""
    order = [*(effect for effect in remfx.RANGES), *map(_named, COUNTS), "any effects"]
    contenders = list(dict.fromkeys(row["who"] for row in rows if row["group"] != LEFT_OUT))
    found = []
    for group in order:
        pairs = sum(row["group"] == group and row["who"] == WET for row in rows)
        left = len({(row["song"], row["source"]) for row in rows if row["group"] == LEFT_OUT}) if group == _named(0) else 0
        for name, column, unit in SCORES:
            for who in contenders:
                its = [row for row in rows if row["group"] == group and row["who"] == who]
                if not its or (name == "SI-SDRi" and (who == WET or group == _named(0))):
                    continue
                mean = mean_over_songs([math.nan if row[column] is None else row[column] for row in its], [row["song"] for row in its])
                note = "" if len(its) == pairs else "only pairs in which each removed effect has an inverse"
                note = f"without {counted(left, 'stem')} that can give no excerpt" if left else note
                value = None if math.isnan(mean.value) else mean.value
                found.append(Figure(group, name, unit, who, value, mean.low, mean.high, mean.songs, note=note))
    return found


def draw(rows: Sequence[Row], path: Path) -> None:
    """The figures but those of a hundred decibels, which would leave the others no room: of known settings, and of no effects."""
    from stemwright.datagen.evaluate.figures_plot import plot_figures

    shown = [each for each in table(PROTOCOL, rows) if each.who != UNDO and each.group != _named(0)]
    plot_figures(PROTOCOL.title, shown, path)


PROTOCOL = EvaluationProtocol(
    name="removal",
    title="Removal of distortion, compression, reverberation, chorus and delay: SI-SDR and MR-STFT against dry",
    source=SOURCE,
    data="RemFX's evaluation sets (zenodo.org/records/8187288); or the data sets that they are made of, one or several below a folder: "
    "VocalSet (data_by_singer), GuitarSet (audio_mono-mic), DSD100, IDMT-SMT-Drums; or any multitracks",
    free="the stems of the excerpt that ships, four seconds each, with our effects in the published ranges",
    model="package.module:callable, a remover: (wet float32 [1, T] at 48 kHz, sample_rate) -> dry [1, T]",
    published=(
        published("compressor", "SI-SDR", "dB", "RemFX, wet", 15.57, MODELS_NOTE),
        published("compressor", "SI-SDR", "dB", "RemFX, best model", 20.08, MODELS_NOTE),
        published("reverb", "SI-SDR", "dB", "RemFX, wet", 9.3, MODELS_NOTE),
        published("reverb", "SI-SDR", "dB", "RemFX, best model", 13.59, MODELS_NOTE),
    ),
    cases=cases,
    figures=figures,
    draw=draw,
    options={"pairs": "pairs drawn of each sound and group (1); of RemFX's evaluation sets all are taken, or the first --songs of each"},
)
