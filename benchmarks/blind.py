"""Estimates without a dry reference, and effect normalisation, on synthetic songs whose settings are known.

Conventions
    A profile is built from some songs; other songs are held out. Their stems have no drive and no compression of their own
    (``render_song(without=...)``), so that all of it is known; equalisers, echoes and reverbs of their own they keep: that is how songs
    differ, the floor. Settings are drawn from the typical ranges of each effect (RemFX, Diff-MST), a compressor's after the stem's peak
    was brought to -10 dBFS. No constant was chosen by results on these seeds: other songs (seeds from 31000) were for that.
    The error of an eq is the mean absolute difference of the responses in dB where stems of the name sound, their levels aside. The floor
    is the same figure of the song itself, without any eq, against the profile.
    Coverage: the surest part of the answers given. What is abstained from is decided by the profile's own songs, each left out in turn.
    The spectrum that the target of the normalisation is about is FxNorm's: the mean magnitude of spectra of 65,536 samples, smoothed over
    401 bins (151 for drums and bass) of 0.67 Hz by a Savitzky-Golay filter of order 1, level aside, read where stems of the name sound
    at sixths of an octave, so that each octave counts alike. Finer ones are printed beside it. The spread is the deviation over songs.
    Rank correlations are Spearman's, over all stems and settings.

References
    Martinez Ramirez et al. 2022 (FxNorm-automix): the checks of a normalisation.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # before this folder, whose separation.py is a benchmark

import blind_compression
import numpy as np
import songs
import torch
from scipy.signal import savgol_filter, stft
from scipy.stats import spearmanr

from stemwright.datagen.effects import EFFECTS, compressor, eq, width
from stemwright.datagen.effects.dsp.biquads import response
from stemwright.datagen.effects.settings import draw
from stemwright.datagen.inverse.blind import estimators as blind
from stemwright.datagen.inverse.blind.answers import TOLERANCE, Blind
from stemwright.datagen.inverse.blind.features import SPECTRUM_HZ, measure_features, onset_height, whole_side
from stemwright.datagen.inverse.blind.normalise import normalise
from stemwright.datagen.inverse.blind.profile import Profile, mean_gain_reduction, profile_of
from stemwright.manifests.feature_rows import Features
from stemwright.manifests.records import Refused

SAMPLE_RATE = 44_100
DURATION_S = 10.0
FIRST_SEED = 71_000
SETTINGS_A_STEM = {"compressor": 4, "eq": 2, "width": 2}
SONGS = {"profile-songs": 60, "held-out-songs": 24}
COVERAGES = (0.25, 0.5, 0.75, 1.0)
Song = dict[str, np.ndarray]


TRIES = """
What was tried, with results (from development, on other songs than those held out here, or by leaving out songs of the profile):

| tried | result |
|---|---|
| compressor: linear regression on 18 figures of level | rank correlation 0.5 |
| compressor: the envelope after onsets, correlation of the levels of bands, a Gaussian kernel | drums 0.88; bass and other stay near 0.6 and 0.5: they have few onsets, and songs differ in these features as much as compressors do |
| compressor: abstaining where the profile's own songs, left out in turn, had a mean error above 1.5 dB | their mean error over all estimates was 1.4 dB for drums, 2.3 for vocals, 2.1 for other, 2.9 for bass; within the estimates kept the rank falls (vocals 0.56 to 0.2), since large reductions are the uncertain ones |
| compressor: 20, 40, 64 songs in the profile | all estimates on 48 held-out songs: 2.03, 1.95, 1.87 dB, rank 0.74, 0.75, 0.77; with 8 simulations a song instead of 6: 1.85 dB |
| compressor: ridge, support vectors, trees, boosted trees, for each stem or all stems together | 1.77 to 1.99 dB, rank 0.72 to 0.79: the features are the limit, not the regression |
| compressor: widths of the kernel for each feature, and a term shared by the rows of a song, by marginal likelihood | 2.4 to 3.1 dB: it learns the differences within songs, which differ from those between songs |
| compressor: features whitened by how songs differ; changes that compressors make to other songs, added to a song as further examples | 1.84 to 1.98 and 1.78 to 2.07 dB, against 1.80 |
| compressor: 190 more features (envelope after every rise, overshoot, modulation spectra by band, asymmetry of rises and falls, ducking, bands at other lags, levels relative to loudness) | when each kind is left out, only two kinds help: quantiles of levels in 5, 20 and 100 ms (5 %) and the crest of bands (drums 1.16 to 1.05 dB); beside these no other |
| compressor: keeping the estimates with the smallest expected error in dB | half of the estimates: 1.32 dB, but rank 0.70, since only small reductions are trusted; with the least error on the scale of the root: 1.26 dB, rank 0.80 |
| compressor: a limit on the leave-one-out mean error of the kept estimates, without its standard error | with 20 songs, estimates accepted at 1.5 dB had an error of up to 1.62 dB on other songs |
| compressor: the previous version (no root scale, no errors of neighbours, no standard error), on these 60 and 24 songs | 211 of 384 estimated: 1.50 dB, rank 0.69; with a profile of 20 songs 233: 1.87 dB, rank 0.65 (its rank of 0.81 on 8 songs was chance) |
| compressor: keeping only estimates within 1.5 dB at any reduction, and a leave-one-out rank of 0.75 | little more than the drums: 27 % of the estimates, 1.13 dB, rank 0.87 |
| compressor: saying that there is one where the 80 % interval of the estimate is above 0 | of untouched stems 23 % of drums, 35 % of basses, 5 % of other, 9 % of vocals got one; with the conformal quantile of untouched songs of the profile 3 to 8 %, and of stems with 3 dB or more 99, 66, 74, 88 % are found (38 songs of development in three parts) |
| compressor: the same songs with 10 simulations instead of 6 | bass 3.01 to 2.86 dB, other 2.11 to 2.07, vocals 1.71 to 1.76, drums 1.05 to 1.04 |
| compressor: half of the simulations with an rms detector, in order to recognise the compressors of others | own compressors 1.15 to 1.21 dB (drums), ffmpeg's 1.39 to 1.38; its true reduction in the 80 % range 70 to 80 % (drums), 62 to 59 % (bass), 68 to 71 % (vocals) |
| compressor: intervals scaled by the errors left out instead of a Laplace distribution's 1.61 uncertainties | factors of 1.53 to 1.68: the same |
| compressor: confidences moved halfway to the mean confidence of the profile's own answers | of answers above 0.6, 73 % stated and 65 % right, against 76 and 68 % as they were (songs of other games and synthetic ones, profiles of 4 to 16); mapped to the share that was right there, on the songs of `blind_profiles.py` 75 and 76 % |
| width: the mean of songs, shrunk by the variances | confidence 65 %, right 54 %; vocals worse than no estimate |
| width: Bayes's rule on the songs as they are, heavy kernels, the typical range as the prior | leave-one-out: error 2.0 to 3.7 dB by stem, against 4.7 without an estimate; confidence within 5 % of the share that is right |
| normalisation: ten bands over two eqs, least squares on each result | spectrum 0.33 to 0.56 of the spread, but half of the tonal stems did not converge |
| normalisation: ten bands, all nine or ten directions solved for by Newton steps on the fine spectrum | gains at their limits (23 dB) for most tonal stems: neighbouring bands work against each other |
| normalisation: the six or seven strongest directions, fixed by the profile, same equations for every stem | nearly all stems converge with gains of 4 to 21 dB |
| normalisation: eight or nine directions (`LEAST_EFFECT` 0.38) | 18 of 32 stems refused instead of 10; for the others the spread of the spectrum in sixths of an octave is 0.36 instead of 0.44 of the original, but on other stems |
| normalisation: compressor with an attack of 1 ms | a spike passes at each onset, so that lower thresholds do not lower the onsets; the spread of vocals is 2.19 times as large, since some songs are lowered and others cannot be |
| normalisation: attack 0, release 250 ms | onsets fall steadily with the threshold, by 4 to 6 dB; what remains out of reach (the crest of a bass) was lowered as far as possible, which a second run did again: most such stems were refused, and are now left alone |
| normalisation: release 20 ms | lower still, but onsets vanish from the feature on half of the drums at low thresholds |
"""  # noqa: E501


class Trial(NamedTuple):
    """One stem with known settings: what was done, what was found, how wrong it is, how sure, and the floor."""

    effect: str
    stem: str
    true_db: float
    found_db: float
    error_db: float
    confidence: float
    floor_db: float
    guess_db: float  # error of saying that nothing was done
    inside: bool  # whether the interval contains the true value


def songs_of(seeds: range) -> Iterator[Song]:
    """Songs without silent stems."""
    for seed in seeds:
        song = songs.render_song(seed, DURATION_S, without=("drive", "compression"))
        yield {name: audio for name, audio in song.items() if measure_features(audio, SAMPLE_RATE) is not None}


def response_db(settings: Any) -> np.ndarray:
    """The response of an eq at the frequencies of a profile."""
    sections = eq.sections(settings, SAMPLE_RATE)
    hz = np.array(SPECTRUM_HZ)
    return 20.0 * np.log10(np.abs(response(sections, hz, SAMPLE_RATE))) if sections else np.zeros(len(hz))


def trials_of(name: str, audio: np.ndarray, profile: Profile, rng: np.random.Generator) -> Iterator[Trial | str]:
    """Every effect on one stem, with settings drawn; the name of an effect where its estimate abstains."""
    stem = torch.from_numpy(audio)
    own = profile[name]
    levelled = stem * (10.0**-0.5 / float(stem.abs().max()))
    for _ in range(SETTINGS_A_STEM["compressor"]):
        settings = draw(compressor.Settings, rng, {**compressor.TYPICAL, "linked": True})
        gain = compressor.gain_curve(levelled, SAMPLE_RATE, settings).numpy()[0]
        wet = compressor.apply(levelled, SAMPLE_RATE, settings)
        true = mean_gain_reduction(wet.numpy(), gain, SAMPLE_RATE)
        yield trial("compressor", name, true, EFFECTS["compressor"].estimate(wet, SAMPLE_RATE, own))
    bands = blind.eq_bands(own)
    floor = bands.mean_size(blind.spectrum_of(audio, SAMPLE_RATE) - bands.middle_db)
    for _ in range(SETTINGS_A_STEM["eq"]):
        settings = draw(eq.Settings, rng, eq.TYPICAL)
        answer = EFFECTS["eq"].estimate(eq.apply(stem, SAMPLE_RATE, settings), SAMPLE_RATE, own)
        if answer.settings is None:
            yield "eq"
            continue
        done = response_db(settings)
        error = bands.mean_size(response_db(answer.settings) - done)
        size = bands.mean_size(done)
        inside = answer.quantity.low <= size <= answer.quantity.high
        yield Trial("eq", name, size, answer.amount, error, answer.confidence, floor, size, inside)
    if whole_side(audio) is not None:
        for _ in range(SETTINGS_A_STEM["width"]):
            settings = draw(width.Settings, rng, width.TYPICAL)
            true = 20.0 * float(np.log10(settings.width))
            yield trial("width", name, true, EFFECTS["width"].estimate(width.apply(stem, SAMPLE_RATE, settings), SAMPLE_RATE, own))


def trial(effect: str, stem: str, true_db: float, answer: Blind) -> Trial | str:
    """An answer beside the truth, or the effect's name if it abstains."""
    if answer.quantity is None:
        return effect
    error = abs(answer.amount - true_db)
    inside = answer.quantity.low <= true_db <= answer.quantity.high
    return Trial(effect, stem, true_db, answer.amount, error, answer.confidence, np.nan, abs(true_db), inside)


def settings_table(trials: list[Trial], abstained: dict[tuple[str, str], int]) -> str:
    """Errors by effect and stem."""
    lines = [
        "| effect | stem | answers | abstained | mean error dB | saying nothing was done | floor dB | rank correlation | "
        "true in 80 % interval |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for effect in SETTINGS_A_STEM:
        of_effect = [one for one in trials if one.effect == effect]
        for stem in (*songs.STEMS, "all"):
            rows = [one for one in of_effect if stem in (one.stem, "all")]
            away = sum(count for (what, name), count in abstained.items() if what == effect and stem in (name, "all"))
            if len(rows) < 4:
                lines += [f"| {effect} | {stem} | {len(rows)} | {away} | | | | | |"] * (away > 0)
                continue
            floor = f"{np.mean([one.floor_db for one in rows]):.2f}" if effect == "eq" else ""
            rank = spearmanr([one.true_db for one in rows], [one.found_db for one in rows])[0]
            error, guess = (np.mean([getattr(one, what) for one in rows]) for what in ("error_db", "guess_db"))
            inside = f"{np.mean([one.inside for one in rows]):.0%}"
            lines.append(f"| {effect} | {stem} | {len(rows)} | {away} | {error:.2f} | {guess:.2f} | {floor} | {rank:.2f} | {inside} |")
    return "\n".join(lines)


def coverage_table(trials: list[Trial]) -> str:
    """Risk against coverage, and whether the confidence means what it says: the answers of all stems, the surest first."""
    lines = [
        "| effect | part of the answers | mean error dB | within tolerance | mean confidence | rank correlation |",
        "|---|---|---|---|---|---|",
    ]
    for effect in SETTINGS_A_STEM:
        rows = sorted((one for one in trials if one.effect == effect), key=lambda one: -one.confidence)
        for coverage in COVERAGES:
            part = rows[: max(4, round(coverage * len(rows)))]
            within = np.mean([one.error_db <= TOLERANCE[effect] for one in part])
            rank = spearmanr([one.true_db for one in part], [one.found_db for one in part])[0]
            sure = np.mean([one.confidence for one in part])
            lines.append(
                f"| {effect} | {coverage:.0%} | {np.mean([one.error_db for one in part]):.2f} | {within:.0%} | {sure:.0%} | {rank:.2f} |"
            )
    return "\n".join(lines)


def fxnorm_spectrum(audio: np.ndarray, name: str) -> np.ndarray:
    """The mean spectrum [B] of a stem [C, T] in dB, as smooth as FxNorm compares it, at the frequencies of a profile."""
    hz, _, frames = stft(audio, SAMPLE_RATE, nperseg=65_536, noverlap=65_536 - 16_384)
    mean = np.abs(frames).mean((0, 2))
    smooth = savgol_filter(mean, 151 if name in ("drums", "bass") else 401, 1, mode="mirror")
    return np.asarray(20.0 * np.log10(np.interp(SPECTRUM_HZ, hz, smooth) + 1e-12))


def figures(audio: np.ndarray, name: str, features: Features, weight: np.ndarray) -> dict[str, np.ndarray]:
    """What a normalisation changes, of one stem [C, T]."""
    smooth = fxnorm_spectrum(audio, name)[weight > 0.0]
    spectrum = np.array([np.nan if level is None else level for level in features.spectrum_db])[weight > 0.0]
    height = np.nan if features.onset_peak_db is None else onset_height(features.crest_db, features.onset_peak_db)
    side = np.nan if features.whole_side_db is None else features.whole_side_db
    return {
        "spectrum, as smooth as FxNorm's": smooth - smooth.mean(),
        "spectrum, sixths of an octave": spectrum - np.nanmean(spectrum),
        "spectrum, two octaves": _coarse(spectrum),
        "height of the onsets": np.array([height]),
        "side over mid": np.array([side]),
        "loudness": np.array([features.loudness_lufs]),
    }


def _coarse(spectrum: np.ndarray) -> np.ndarray:
    """Energies of the spectrum in pieces as wide as the bands of an eq stand apart, against their mean, in dB."""
    pieces = np.array([10.0 * np.log10(np.nanmean(10.0 ** (piece / 10.0)) + 1e-20) for piece in np.array_split(spectrum, 6)])
    return pieces - pieces.mean()


def normalisation_table(held_out: list[Song], profile: Profile) -> str:
    """Spread of each feature over the held-out songs before and after, and what a second normalisation changes."""
    before, after = defaultdict(list), defaultdict(list)
    change, tried, refused, spent, seconds = 0.0, 0, 0, 0.0, 0.0
    for song in held_out:
        for name, audio in song.items():
            tried += 1
            start = time.process_time()
            try:
                once = normalise(audio, SAMPLE_RATE, profile[name])
            except Refused:
                refused += 1
                continue
            finally:
                spent += time.process_time() - start
                seconds += audio.shape[1] / SAMPLE_RATE
            twice = normalise(once.audio, SAMPLE_RATE, profile[name])
            weight = blind.eq_bands(profile[name]).weight
            found = [
                figures(one, name, features, weight)
                for one in (audio, once.audio, twice.audio)
                if (features := measure_features(one, SAMPLE_RATE))
            ]
            for feature, values in found[0].items():
                before[name, feature].append(values)
                after[name, feature].append(found[1][feature])
                moved = np.abs(found[2][feature] - found[1][feature])
                change = max(change, float(np.nanmax(moved)) if np.isfinite(moved).any() else 0.0)
    lines = ["| feature | spread before dB | after dB | ratio | by stem |", "|---|---|---|---|---|"]
    for feature in dict.fromkeys(feature for _, feature in before):
        pairs = {}
        for name in songs.STEMS:
            values = [np.array(side[name, feature]) for side in (before, after)]
            if len(values[0]) >= 3 and np.isfinite(values[0]).any(1).sum() >= 3:
                pairs[name] = tuple(float(np.nanmean(np.nanstd(side, axis=0))) for side in values)
        first, last = (np.mean([pair[index] for pair in pairs.values()]) for index in (0, 1))
        by_stem = ", ".join(f"{name} {pair[1] / max(pair[0], 1e-9):.2f}" for name, pair in pairs.items())
        lines.append(f"| {feature} | {first:.2f} | {last:.2f} | {last / first:.2f} | {by_stem} |")
    lines += [
        "",
        f"{tried - refused} of {tried} stems were normalised, {refused} refused as too unlike the profile. Normalised twice, the feature "
        f"that changes most changes by {change:.3f} dB. {60.0 * spent / seconds:.1f} s of one core a minute of stem.",
    ]
    return "\n".join(lines)


def report(num_profile: int, num_held_out: int, music: Path | None = None) -> str:
    """Everything, as Markdown."""
    start = time.process_time()
    profile = profile_of(songs_of(range(FIRST_SEED, FIRST_SEED + num_profile)), SAMPLE_RATE)
    built = time.process_time() - start
    held_out = list(songs_of(range(FIRST_SEED + 1000, FIRST_SEED + 1000 + num_held_out)))
    trials, abstained = list[Trial](), defaultdict[tuple[str, str], int](int)
    for number, song in enumerate(held_out):
        for place, (name, audio) in enumerate(song.items()):
            for one in trials_of(name, audio, profile, np.random.default_rng([FIRST_SEED, number, place])):
                if isinstance(one, str):
                    abstained[one, name] += 1
                else:
                    trials.append(one)
    return "\n\n".join(
        [
            f"Profile of {num_profile} songs, {num_held_out} others held out, {DURATION_S:.0f} s each. "
            f"{built:.0f} s of one core to render the songs of the profile and to measure them.",
            settings_table(trials, abstained),
            coverage_table(trials),
            blind_compression.report(profile, held_out, SAMPLE_RATE, FIRST_SEED, music),
            normalisation_table(held_out, profile),
            TRIES.strip(),
        ]
    )


def main() -> None:
    """Prints the tables; ``--write`` puts them into docs/results.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="replace this benchmark's section of docs/results.md")
    parser.add_argument("--profile-songs", type=int, default=SONGS["profile-songs"])
    parser.add_argument("--held-out-songs", type=int, default=SONGS["held-out-songs"])
    parser.add_argument(
        "--music", type=Path, default=os.environ.get("STEMWRIGHT_FREE_MUSIC"), help="folder of free music, made by benchmarks/free_music.py"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    text = report(arguments.profile_songs, arguments.held_out_songs, arguments.music and Path(arguments.music))
    print(text)
    if arguments.write:
        from results import publish

        counts = {"profile-songs": arguments.profile_songs, "held-out-songs": arguments.held_out_songs}
        options = "".join(f" --{name} {count}" for name, count in counts.items() if count != SONGS[name])
        options += " --music FOLDER" * bool(arguments.music)
        publish("Blind estimates and effect normalisation", f"python benchmarks/blind.py{options} --write", text)


if __name__ == "__main__":
    main()
