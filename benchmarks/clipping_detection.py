"""Clipping found, and clipping seen where there is none: by the copy, on songs that the detector's weights were not fitted on.

    python benchmarks/clipping_detection.py MUSIC [--songs 8] [--fit]

MUSIC is a folder of whole songs (``*/*/mixture.flac`` or ``.ogg``); an excerpt of stempeg's STEM file and songs of ``benchmarks/songs.py``
are added. Every second song is for fitting (``--fit`` prints new weights), the others are reported.

Conventions
    Counted are polarities of channels. Found: a ceiling was named within 0.5 % (exact copies), 7 % (others) of the true one, among those
    of which at least the share in the head of the column is clipped. False: anything named where nothing was clipped.
    "Peak rule" is a peer: three samples within 0.1 % of the largest.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from clipping_material import COPIES, LIMITED, LOSSLESS, Audio, driven, excerpt, hard, songs
from results import publish

import stemwright as sw
from stemwright.separation.clip_detection.evidence import candidates, exact_ceilings, logits
from stemwright.separation.clip_detection.levels import LevelTally

SHARES = (0.001, 0.003, 0.01)
TARGETS = "at least 95 % of 0.1 % in exact copies, 85 % of 0.3 % in others but Opus, at most 2 % false"


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


def ours(audio: Audio, sample_rate: int) -> list[tuple[float, float]]:
    """The ceilings that the detector names."""
    return [(each.ceiling_low, each.ceiling_high) for each in sw.detect_clipping(audio, sample_rate)]


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
            for method, found in (("ours", ours(changed, changed_rate)), ("peak rule", peak_rule(changed))):
                for levels, shares in zip(found, own, strict=True):
                    for level, part, sign in zip(levels, shares, (-1, 1), strict=True):
                        if part < share / 2:
                            continue
                        hit = near(level, sign * true, copy)
                        counts.hits[copy, f"{method} {share:.1%}"].append(hit)
                        if hit and method == "ours":
                            counts.errors[copy].append(abs(20 * math.log10(abs(level) / true)))
    for kind, limit in LIMITED.items():
        clean = limit(audio, rate)
        for copy, make in COPIES.items():
            changed, changed_rate = make(clean, rate)
            counts.hits[copy, f"ours {kind}"] += [level != 0 for pair in ours(changed, changed_rate) for level in pair]
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
            for levels, wanted in zip(ours(changed, changed_rate), expected, strict=True):
                for level, true in zip(levels, wanted, strict=True):
                    if true == 0.0:
                        counts.hits[name, f"{copy} false"].append(level != 0.0)
                    elif copy != "16 bit" or name != "at -40 dBFS" or abs(level) > 0:
                        counts.hits[name, copy].append(near(level, true, copy))
                    else:
                        counts.hits[name, copy].append(False)


def table(counts: Counts) -> str:
    """The result as Markdown."""
    found = [f"{method} {share:.1%}" for method in ("ours", "peak rule") for share in SHARES]
    false = [f"{method} {kind}" for kind in LIMITED for method in ("ours", "peak rule")]
    lines = [f"Targets: {TARGETS}.", "", "Found, % (of how many):", "", f"| copy | {' | '.join(found)} | error dB, median / 95 % |"]
    lines.append("|---" * (len(found) + 2) + "|")
    for copy in COPIES:
        errors = counts.errors[copy]
        error = f"{np.median(errors):.3f} / {np.quantile(errors, 0.95):.3f}" if errors else "-"
        lines.append(f"| {copy} | {' | '.join(counts.cell(copy, each) for each in found)} | {error} |")
    lines += ["", "False, % (of how many):", "", f"| copy | {' | '.join(false)} |", "|---" * (len(false) + 1) + "|"]
    lines += [f"| {copy} | {' | '.join(counts.cell(copy, each) for each in false)} |" for copy in COPIES]
    odd = ("16 bit", "MP3 320k", "AAC 256k")
    lines += ["", "1 % clipped, odd cases, found %:", "", f"| case | {' | '.join(odd)} | false, all three |", "|---|---|---|---|---|"]
    for name in dict.fromkeys(row for row, column in counts.hits if column in odd and row not in COPIES):
        wrong = [hit for copy in odd for hit in counts.hits[name, f"{copy} false"]]
        lines.append(
            f"| {name} | {' | '.join(counts.cell(name, copy) for copy in odd)} | {f'{100 * np.mean(wrong):.0f}' if wrong else '-'} |"
        )
    return "\n".join(lines)


def fit(parts: list[tuple[str, Audio, int]]) -> str:
    """Weights of the five measures, from songs of the other part: as ``evidence.WEIGHTS`` and ``BIAS``."""
    from sklearn.linear_model import LogisticRegression

    files = []
    for _, audio, rate in parts:
        made = [(hard(audio, share)[0], 0.95) for share in (*SHARES, 0.05)]
        made += [(limit(audio, rate), 0.0) for kind, limit in LIMITED.items() if "no look-ahead" not in kind]
        for signal, ceiling in made:
            for copy, make in COPIES.items():
                if ceiling and copy in LOSSLESS:
                    continue
                tally = LevelTally(2)
                tally.add(make(signal, rate)[0])
                for channel in (0, 1):
                    for polarity in (0, 1, 2):
                        levels = tally.levels(channel, polarity)
                        others = [each.level for each in exact_ceilings(levels)[1]]
                        piles = [each for each in candidates(levels) if not any(np.abs(np.log(each[0] / o)).min() < 0.04 for o in others)]
                        part = float((np.abs(signal[channel]) >= 0.95).mean())
                        files.append((piles, ceiling * gain_of(copy), part))
    weights, bias = np.zeros(5), 0.0
    weights[0] = 1.0
    for _ in range(5):
        rows, labels, sizes = [], [], []
        for piles, ceiling, part in files:
            for centres, _, measured in piles:
                best = int((measured @ weights + bias).argmax())
                hit = near(float(centres[best]), ceiling, "MP3") if ceiling else False
                if not (hit and part < 0.0005):
                    rows.append(measured[best])
                    labels.append(hit)
                    sizes.append(1.0 if ceiling else 2.0)
        centre, scale = np.mean(rows, axis=0), np.std(rows, axis=0)
        model = LogisticRegression(C=0.3, max_iter=3000).fit((np.array(rows) - centre) / scale, labels, sample_weight=sizes)
        weights = model.coef_[0] / scale
        bias = float(model.intercept_[0] - weights @ centre)
    return (
        f"WEIGHTS = {np.round(weights, 3).tolist()}, BIAS = {bias:.3f}; now {np.round(logits(np.eye(5)) - logits(np.zeros(5)), 3).tolist()}"
    )


def main() -> None:
    """Prints the tables, or new weights."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("music", type=Path)
    parser.add_argument("--songs", type=int, default=8, help="at most so many of each part")
    parser.add_argument("--fit", action="store_true")
    parser.add_argument("--publish", action="store_true", help="into docs/results.md")
    options = parser.parse_args()
    every = list(songs(options.music))
    part = every[0 if options.fit else 1 :: 2]
    chosen = [part[place] for place in np.unique(np.linspace(0, len(part) - 1, min(options.songs, len(part))).astype(int))]
    material = [(name, *excerpt(source)) for name, source in chosen]
    if options.fit:
        print(fit(material))
        return
    counts, spent, duration = Counts(), 0.0, 0.0
    for name, audio, rate in material:
        print(name, file=sys.stderr, flush=True)
        count_song(counts, audio, rate)
        count_shapes(counts, audio, rate)
    long = np.tile(material[0][1], (1, 8))
    start = time.process_time()
    sw.detect_clipping(long, material[0][2])
    spent, duration = time.process_time() - start, long.shape[1] / material[0][2]
    speed = f"{duration:.0f} s of stereo: {duration / spent:.0f} times real time on one core"
    body = f"{table(counts)}\n\n{len(material)} songs held out. {speed}."
    print(body)
    if options.publish:
        publish("clipping detection", f"python benchmarks/clipping_detection.py MUSIC --songs {options.songs}", body)


if __name__ == "__main__":
    main()
