"""Clipping found, and clipping seen where there is none: by the copy, on songs that the detector's weights were not fitted on.

    python benchmarks/clipping_detection.py --music FOLDER [--songs 5] [--write]
    python benchmarks/clipping_detection.py --music FOLDER --fit

The folder has whole songs (``*/*/mixture.flac`` or ``.ogg``), as ``benchmarks/free_music.py`` makes it; an excerpt of stempeg's STEM file
and songs of ``benchmarks/songs.py`` are added. Of every two songs the first is for fitting, the second is reported. ``--fit`` prints
weights, bias and threshold of ``stemwright.separation.clip_detection`` from seven of the first; those in the code are what it printed.

Conventions
    Counted are polarities of channels. Found: a ceiling was named within 0.5 % (exact copies), 7 % (others) of the true one, among those
    of which at least the share in the head of the column is clipped. False: anything named where nothing was clipped.
    "Peak rule" is a peer: three samples within 0.1 % of the largest.
    Fitted are weights of piles of tops, of the 2 x 2 polarities and channels of a song and of all as one: those at the ceiling of a clipped
    song against all others, those of limiters without look-ahead, and those of unclipped songs twice. The threshold is above all unclipped
    songs that were left out, one at a time.

Tried (found at 1 % false, songs left out, mean over shares and 11 changed copies): the five measures 65 %. Weights ten times more shrunken:
expected more even over songs, found 65 %. With the number of tops an excursion has (noise on a flat top makes several): expected to help at
low bit rates, 62 %. With curvatures four samples away: 45 %. With the width as a measure: 61 %. With all of these: 50 %. Ten songs are too
few for more than five. With the tops above against those inside: 65 %.
Instead of the five of before (significance, tops, time, flatness, duration against the curvature of other tops): effect, time, flatness and
continuity, with limiters without look-ahead among the examples: found 92 to 96 % instead of 83 % (five changed copies, 0.3 and 1 %, songs
left out), limiters without look-ahead called clipping 31 instead of 44 %. With the number of samples beside the significance: 91 %.
For limiters without look-ahead: the steps up to flat tops against those down, expected above 3 (their tops end round) against 1 of
clippers; found 0.9 to 2.8 (median 1.3) against 0.4 to 1.8. The same of tops of three samples and more, counted instead of added, over both
polarities and channels: 2 to 10 against 0.8 to 1.3, but clipped strings have more. How
they end (round or cut) and continuity are used. In lossy copies the samples that rise and fall near the ceiling: no use.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from clipping_material import COPIES, EXCERPT_S, FLATTENED, LIMITED, LOSSLESS, Audio, driven, excerpt, hard, songs
from results import publish
from sklearn.linear_model import LogisticRegression

import stemwright as sw
from stemwright.separation.clip_detection.ceilings import LIKELY, NOT_UNLIKELY, SAME
from stemwright.separation.clip_detection.evidence import candidates, exact_ceilings, logits
from stemwright.separation.clip_detection.levels import LevelTally, pooled

CHOSEN = "with the synthetic one in view limits for exact copies were chosen"
SURE = 0.8  # of ``undo``
SHARES = (0.001, 0.003, 0.01)
FITTED_KINDS = ("untouched", "limiter (ours)", "limiter (ours), no look-ahead", "alimiter, 0.1 ms")
FITTED_COPIES = ("MP3 320k", "MP3 128k", "AAC 256k", "AAC 128k", "44.1 - 48")
LEAST_SHARE = 0.0005  # fewer clipped samples are no example of clipping
COUNTED = """\
Counted are polarities of channels of which at least the share in the head of the column is clipped. Found: a ceiling within 0.5 % of the
true one in exact copies, 7 % in others; sure: with a confidence of 0.8, from which `undo` restores. Peak rule, for comparison: three
samples within 0.1 % of the largest."""
TARGETS = "at least 95 % of 0.1 % in exact copies, 85 % of 0.3 % in others but Opus, at most 1 % false"


def peak_rule(audio: Audio) -> list[tuple[float, float]]:
    """For each channel the lowest and highest sample where three are within 0.1 % of it, else 0."""
    result = []
    for channel in audio:
        low, high = float(channel.min()), float(channel.max())
        result.append(
            (
                low if np.count_nonzero(channel <= 0.999 * low) >= 3 and low < 0 else 0.0,
                high if np.count_nonzero(channel >= 0.999 * high) >= 3 and high > 0 else 0.0,
            )
        )
    return result


def ours(audio: Audio, sample_rate: int) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    """The ceilings that the detector names, and those of them with a confidence of ``SURE``."""

    def level(levels: tuple[float, ...], confidences: tuple[float, ...], least: float) -> float:
        return next((level for level, sure in zip(levels, confidences, strict=True) if sure >= least), 0.0)

    found = sw.detect_clipping(audio, sample_rate)
    named = [(each.ceiling_low, each.ceiling_high) for each in found]
    return named, [
        (level(each.ceilings_low, each.confidences_low, SURE), level(each.ceilings_high, each.confidences_high, SURE)) for each in found
    ]


def gain_of(copy: str) -> float:
    """The gain that a copy's name states."""
    return 10 ** (float(copy.split(" dB")[0]) / 20) if " dB" in copy else 1.0


def near(found: float, true: float, copy: str) -> bool:
    """Whether a ceiling is that which was looked for."""
    return found * true > 0 and abs(math.log(found / true)) < (0.005 if copy in LOSSLESS else 0.07)


class Counts:
    """Found and tried, by row and column, and errors of ceilings in dB by row."""

    def __init__(self) -> None:
        self.hits: dict[tuple[str, str], list[bool]] = defaultdict(list)
        self.errors: dict[str, list[float]] = defaultdict(list)

    def cell(self, row: str, column: str) -> str:
        """The share in percent, and of how many."""
        hits = self.hits[row, column]
        return f"{100 * np.mean(hits):.0f} ({len(hits)})" if hits else "-"


def count_song(counts: Counts, audio: Audio, rate: int) -> None:
    """One song in all conditions and copies."""
    for share in SHARES:
        clipped, ceiling = hard(audio, share)
        own = [(float((x <= -ceiling).mean()), float((x >= ceiling).mean())) for x in clipped]
        for copy, make in COPIES.items():
            changed, changed_rate = make(clipped, rate)
            true = ceiling * gain_of(copy)
            named, sure = ours(changed, changed_rate)
            for method, found in (("ours", named), ("ours, sure", sure), ("peak rule", peak_rule(changed))):
                for levels, shares in zip(found, own, strict=True):
                    for level, part, sign in zip(levels, shares, (-1, 1), strict=True):
                        if part < share / 2:
                            continue
                        hit = near(level, sign * true, copy)
                        counts.hits[copy, f"{method} {share:.1%}"].append(hit)
                        if hit and method == "ours":
                            counts.errors[copy].append(abs(20 * math.log10(abs(level) / true)))
    for kind, limit in (LIMITED | FLATTENED).items():
        clean = limit(audio, rate)
        for copy, make in COPIES.items():
            changed, changed_rate = make(clean, rate)
            named, sure = ours(changed, changed_rate)
            counts.hits[copy, f"ours {kind}"] += [level != 0 for pair in named for level in pair]
            counts.hits[copy, f"ours, sure {kind}"] += [level != 0 for pair in sure for level in pair]
            counts.hits[copy, f"peak rule {kind}"] += [level != 0 for pair in peak_rule(changed) for level in pair]


def shaped(audio: Audio) -> Iterator[tuple[str, Audio, list[tuple[float, float]]]]:
    """Odd cases of 1 % clipped samples with the ceilings that are expected, low and high of each channel."""
    clipped, c = hard(audio, 0.01)
    loud = audio * (c / max(float(np.quantile(np.abs(audio), 0.99)), 1e-9))
    both = [(-c, c)] * 2
    upper = np.minimum(loud, c)
    gain = min(1.0, 0.98 / float(np.abs(upper).max()))  # or rounding to 16 bits would clip the other side
    yield "asymmetric", (gain * upper).astype(np.float32), [(0.0, gain * c)] * 2
    yield "one channel", np.stack([clipped[0], 0.5 * driven(audio[1:], 0)[0]]), [(-c, c), (0.0, 0.0)]
    spike = clipped * np.float32(0.7)
    spike[:, 1000] = 0.99
    yield "one louder sample", spike, [(-0.7 * c, 0.7 * c)] * 2
    half = clipped.shape[1] // 2
    yield "two ceilings", np.concatenate([clipped[:, :half], clipped[:, half:] * np.float32(0.75)], axis=1), both
    yield "at -40 dBFS", clipped * np.float32(0.01), [(-0.01 * c, 0.01 * c)] * 2


def count_shapes(counts: Counts, audio: Audio, rate: int) -> None:
    """The odd cases of one song, in an exact and two lossy copies."""
    for name, made, expected in shaped(audio):
        for copy in ("16 bit", "MP3 320k", "AAC 256k"):
            changed, changed_rate = COPIES[copy](made, rate)
            for levels, wanted in zip(ours(changed, changed_rate)[0], expected, strict=True):
                for level, true in zip(levels, wanted, strict=True):
                    if true == 0.0:
                        counts.hits[name, f"{copy} false"].append(level != 0.0)
                    elif copy != "16 bit" or name != "at -40 dBFS" or abs(level) > 0:
                        counts.hits[name, copy].append(near(level, true, copy))
                    else:
                        counts.hits[name, copy].append(False)


def table(counts: Counts) -> str:
    """The result as Markdown."""
    found = [f"{method} {share:.1%}" for method in ("ours", "ours, sure", "peak rule") for share in SHARES]
    false = [f"{method} {kind}" for kind in LIMITED for method in ("ours", "peak rule")]
    flattened = [f"{method} {kind}" for kind in FLATTENED for method in ("ours", "ours, sure", "peak rule")]
    wrong, surely = (
        [hit for copy in COPIES for kind in LIMITED for hit in counts.hits[copy, f"{each} {kind}"]] for each in ("ours", "ours, sure")
    )
    lines = [COUNTED, "", f"Targets: {TARGETS}.", "", "Found, % (of how many):", ""]
    lines.append(f"| copy | {' | '.join(found)} | error dB, median / 95 % |")
    lines.append("|---" * (len(found) + 2) + "|")
    for copy in COPIES:
        errors = counts.errors[copy]
        error = f"{np.median(errors):.3f} / {np.quantile(errors, 0.95):.3f}" if errors else "-"
        lines.append(f"| {copy} | {' | '.join(counts.cell(copy, each) for each in found)} | {error} |")
    lines += ["", "False, % (of how many):", "", f"| copy | {' | '.join(false)} |", "|---" * (len(false) + 1) + "|"]
    lines += [f"| {copy} | {' | '.join(counts.cell(copy, each) for each in false)} |" for copy in COPIES]
    lines += [f"| all | {100 * np.mean(wrong):.1f} ({len(wrong)}) of ours, {100 * np.mean(surely):.1f} sure" + " |" * len(false)]
    lines += ["", "Called clipping, % (of how many), where something else cut or bent the peaks:", ""]
    lines += [f"| copy | {' | '.join(flattened)} |", "|---" * (len(flattened) + 1) + "|"]
    lines += [f"| {copy} | {' | '.join(counts.cell(copy, each) for each in flattened)} |" for copy in COPIES]
    odd = ("16 bit", "MP3 320k", "AAC 256k")
    lines += ["", "1 % clipped, odd cases, found %:", "", f"| case | {' | '.join(odd)} | false, all three |", "|---|---|---|---|---|"]
    for name in dict.fromkeys(row for row, column in counts.hits if column in odd and row not in COPIES):
        wrong = [hit for copy in odd for hit in counts.hits[name, f"{copy} false"]]
        lines.append(
            f"| {name} | {' | '.join(counts.cell(name, copy) for copy in odd)} | {f'{100 * np.mean(wrong):.0f}' if wrong else '-'} |"
        )
    return "\n".join(lines)


@dataclass(frozen=True)
class Piles:
    """The piles of tops of a copy, by channel and polarity (and of all as one, the last), and what is true of it."""

    song: str
    kind: str  # of condition
    ceiling: float  # 0: not clipped
    shares: list[float]  # clipped, of each
    piles: list[list[tuple[np.ndarray, np.ndarray, np.ndarray]]]


def conditions(audio: Audio, rate: int) -> Iterator[tuple[str, Audio, float]]:
    """What weights are fitted on: names, signals and ceilings (0: not clipped)."""
    for share in SHARES[1:]:
        yield (f"hard{share}", *hard(audio, share))
    for kind in FITTED_KINDS:
        yield kind, (LIMITED | FLATTENED)[kind](audio, rate), 0.0


def piles_of(song: str, kind: str, signal: Audio, changed: Audio, ceiling: float) -> Piles:
    """The piles of a copy of a signal with a ceiling, given in the copy's own scale."""
    tally = LevelTally(2)
    tally.add(changed)
    every = [tally.levels(channel, polarity) for channel in (0, 1) for polarity in (0, 1)]
    shares = [float((sign * x >= 0.95).mean()) if ceiling else 0.0 for x in signal for sign in (1, -1)]
    found = []
    for levels in (*every, pooled(every)):
        others = [each.level for each in exact_ceilings(levels)[1]]
        found.append([each for each in candidates(levels) if not any(np.abs(np.log(each[0] / o)).min() < SAME for o in others)])
    return Piles(song, kind, ceiling, [*shares, float(np.mean(shares))], found)


def weighted(copies: list[Piles]) -> tuple[np.ndarray, float]:
    """Weights and bias of the four measures: of the best place in each pile, found by the weights before."""
    weights, bias = np.eye(4)[0], 0.0
    for _ in range(5):
        rows, labels, sizes = [], [], []
        for copy in copies:
            for share, piles in zip(copy.shares, copy.piles, strict=True):
                for centres, _, measured in piles:
                    best = int((measured[:, 1:] @ weights).argmax())
                    hit = bool(copy.ceiling) and near(float(centres[best]), copy.ceiling, "MP3")
                    if not (hit and share < LEAST_SHARE):
                        rows.append(measured[best, 1:])
                        labels.append(hit)
                        sizes.append(2.0 if copy.kind in LIMITED else 1.0)
        centre, scale = np.mean(rows, axis=0), np.std(rows, axis=0)
        model = LogisticRegression(C=0.03, max_iter=3000).fit((np.array(rows) - centre) / scale, labels, sample_weight=sizes)
        weights = model.coef_[0] / scale
        bias = float(model.intercept_[0] - weights @ centre)
    return weights, bias


def scores(copies: list[Piles], weights: np.ndarray, bias: float) -> list[float]:
    """The score of each channel and polarity as ``ceilings`` decides: its own, or that of all where its own is not unlikely."""
    found = []
    for copy in copies:
        places = [
            [(float(c[(m[:, 1:] @ weights).argmax()]), float((m[:, 1:] @ weights).max() + bias)) for c, _, m in piles]
            for piles in copy.piles
        ]
        for own in places[:-1]:
            best = [score for _, score in own]
            for level, score in own:
                best += [min(other, score + LIKELY - NOT_UNLIKELY) for place, other in places[-1] if abs(math.log(place / level)) < SAME]
            found.append(max(best, default=-99.0))
    return found


def fit(copies: list[Piles]) -> str:
    """Weights and threshold, as in ``evidence`` and ``ceilings``."""
    songs_used = sorted({copy.song for copy in copies})
    left_out = []
    for away in songs_used:
        model = weighted([copy for copy in copies if copy.song != away])
        left_out += scores([copy for copy in copies if copy.song == away and copy.kind in LIMITED], *model)
    weights, bias = weighted(copies)
    now = np.round(logits(np.eye(5))[1:] - logits(np.zeros(5)), 3).tolist()
    quantiles = ", ".join(f"{part:.1%}: {np.quantile(left_out, part):.2f}" for part in (0.98, 0.99, 0.995, 1.0))
    return f"WEIGHTS = {np.round(weights, 3).tolist()}, BIAS = {bias:.3f}; now {now}\nunclipped songs, left out: {quantiles}; now {LIKELY}"


def chosen_songs(music: Path, count: int, *, fitting: bool) -> list[tuple[str, Path | int]]:
    """So many songs of one part, evenly spaced."""
    part = list(songs(music))[0 if fitting else 1 :: 2]
    return [part[place] for place in np.unique(np.linspace(0, len(part) - 1, min(count, len(part))).astype(int))]


def main() -> None:
    """Prints the tables, or new weights."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--music", type=Path, required=True, help="folder of free music, made by benchmarks/free_music.py")
    parser.add_argument("--songs", type=int, default=5, help="reported: at most so many")
    parser.add_argument("--fit", action="store_true", help="print weights from seven songs of the other part")
    parser.add_argument("--write", action="store_true", help="into docs/results.md")
    options = parser.parse_args()
    chosen = chosen_songs(options.music, 7 if options.fit else options.songs, fitting=options.fit)
    material = [(name, *excerpt(source)) for name, source in chosen]
    if options.fit:
        copies = [
            piles_of(name, kind, signal, COPIES[copy](signal, rate)[0], ceiling)
            for name, audio, rate in material
            for kind, signal, ceiling in conditions(audio, rate)
            for copy in FITTED_COPIES
        ]
        print(fit(copies))
        return
    counts = Counts()
    for name, audio, rate in material:
        print(name, file=sys.stderr, flush=True)
        count_song(counts, audio, rate)
        count_shapes(counts, audio, rate)
    long = np.tile(material[0][1], (1, 8))
    start = time.process_time()
    sw.detect_clipping(long, material[0][2])
    spent, duration = time.process_time() - start, long.shape[1] / material[0][2]
    speed = f"{duration:.0f} s of stereo: {spent:.1f} s of processor time"
    songs_text = f"{len(material)} songs that no weight was fitted on, the loudest {EXCERPT_S:.0f} s of eight places; {CHOSEN}."
    body = f"{table(counts)}\n\n{songs_text} {speed}."
    print(body)
    if options.write:
        publish("Clipping detection", f"python benchmarks/clipping_detection.py --music FOLDER --songs {options.songs} --write", body)


if __name__ == "__main__":
    main()
