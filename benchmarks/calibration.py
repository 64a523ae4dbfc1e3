"""How good levels are with a calibration to the separator: leave-one-song-out, on real free and on made songs, by several separators.

    python benchmarks/calibration.py --music FOLDER --songs 7 --made 6 --fresh --cache FOLDER --write
    python benchmarks/calibration.py --music FOLDER --songs 7 --made 4 --write         # the songs that settings were chosen on
    python benchmarks/calibration.py --music FOLDER --songs 8 --made 4 --only-bundled --write      # the bundled model, no masks

Settings of the fit (among them ``CHANCE`` and ``PSEUDO_LEVELS``) were chosen on the seven free and four made songs of the second line.
``--fresh`` takes others, from between them: no setting was chosen on these, so theirs are the figures that count.

FOLDER is what ``benchmarks/free_music.py`` makes. Each song is used twice: as it is, and with faders drawn from -14 to +4 dB, so that some
stems are soft. The truth is the loudness of each real stem; stems above -25 LU are compared. ``generic`` is what is used without a
calibration; ``calibrated`` what all other songs give by ``stemwright calibrate``'s own fit, both versions of the song left out. Beside them
the loudness of the separated stem (naive), the cross-energy, and the mean of both in dB.

The masks that leak do so exactly as a calibration assumes: a share of the mixture, the same in all stems. The other masks, and the bundled
model, do not.

Conventions
    The loudest LENGTH_S of each song. Modules are used where their instruments are grouped; of the others, up to sixteen channels are
    dealt at random to four stems: what is learnt is how masks err, not how drums differ from bass.

References
    Ward, Wierstorf, Mason, Plumbley, Hummersone 2017 (the quantity; 1.2 LU RMSE for the best of twelve systems on 100 mixes).
"""

from __future__ import annotations

import argparse
import pickle
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # before this folder, whose separation.py is a benchmark

from imperfect import KINDS, family, separate

from stemwright.separation.balance.level_estimators import BUNDLED, OTHER, Calibration, Margin, point_between
from stemwright.separation.calibrating.level_fit import LevelColumns, levels_of, windows_of
from stemwright.separation.calibrating.measured_rows import StemRow, measured_rows
from stemwright.separation.calibrating.songs_left_out import Judged, judged, leave_one_out, together

SAMPLE_RATE = 44_100
LENGTH_S = 12.0
FADERS_DB = (-14.0, 4.0)
SOFTEST_LU = -25.0
FIRST_SEED, FRESH_SEEDS = 660_000, 1_000
STEMS = ("drums", "bass", "other", "vocals")

Stems = dict[str, np.ndarray]
Song = tuple[str, Callable[[], Stems]]
Rows = dict[str, dict[str, list[StemRow]]]  # kind of separator -> material -> rows


def spread(places: Sequence[Path], count: int, *, fresh: bool) -> list[Path]:
    """So many of some places, evenly spread; or, ``fresh``, those half-way between them."""
    count = min(count, len(places) // 2 if fresh else len(places))
    return [places[len(places) * (2 * number + fresh) // (2 * count)] for number in range(count)]


def named_songs(folder: Path, count: int, *, fresh: bool) -> Iterator[Song]:
    """Songs of a folder of free music whose stems are named after instruments, and that the bundled model was not trained on: tracker
    modules and played scores, spread over both."""
    from bundled_pool import HELD_OUT

    places = [
        place
        for name in ("modules", "scores")
        for place in sorted((folder / name).glob("*"))
        if (name == "modules" or place.name in HELD_OUT) and {path.stem for path in place.glob("*.flac")} - {"mixture"} <= set(STEMS)
    ]
    places = [place for place in places if place.is_dir()]
    usable = [place for place in places if soundfile.info(next(place.glob("mixture.*"))).duration > LENGTH_S]
    for place in spread(usable, count, fresh=fresh):
        yield place.name, partial(excerpt, place)


def free_songs(folder: Path, count: int, *, fresh: bool) -> Iterator[Song]:
    """Songs of a folder of free music: recorded ones, then tracker modules, spread over its albums."""
    places = [place for name in ("guitar", "modules") for place in sorted((folder / name).iterdir()) if place.is_dir()]
    others = [place for place in sorted((folder / "channels").iterdir()) if place.is_dir()]
    places += [place for place in others if not (folder / "modules" / place.name).exists()]
    usable = [place for place in places if soundfile.info(next(place.glob("mixture.*"))).duration > LENGTH_S]
    for place in spread(usable, count, fresh=fresh):
        yield place.name, partial(excerpt, place)


def excerpt(place: Path) -> Stems:
    """The loudest part of a song: its stems, of many channels four sums."""
    mixture, rate = soundfile.read(next(place.glob("mixture.*")), dtype="float32", always_2d=True)
    length = round(LENGTH_S * rate)
    energy = np.convolve(np.square(mixture).sum(axis=1)[::rate], np.ones(round(LENGTH_S)), "valid")
    start = min(int(np.argmax(energy)) * rate, len(mixture) - length)
    stems: Stems = {}
    for path in sorted(place.glob("*.flac")):
        if path.stem != "mixture":
            audio = soundfile.read(path, start=start, frames=length, dtype="float32", always_2d=True)[0].T
            if np.square(audio).mean() > 1e-9:
                stems[path.stem] = np.ascontiguousarray(audio.repeat(3 - len(audio), axis=0)[:2])
    if len(stems) <= len(STEMS):
        return stems
    names = list(stems)
    np.random.default_rng(zlib.crc32(place.name.encode())).shuffle(names)
    return {f"part{n + 1}": np.sum([stems[name] for name in names[n::4]], axis=0, dtype=np.float32) for n in range(4)}


def made_songs(count: int, *, fresh: bool) -> Iterator[Song]:
    """Synthetic songs."""
    for seed in range(FIRST_SEED + fresh * FRESH_SEEDS, FIRST_SEED + fresh * FRESH_SEEDS + count):
        yield f"made {seed}", partial(made_stems, seed)


def made_stems(seed: int) -> Stems:
    """The stems of a synthetic song."""
    from songs import render_song

    return {name: audio.astype(np.float32) for name, audio in render_song(seed, LENGTH_S, SAMPLE_RATE).items()}


def with_faders(stems: Stems, rng: np.random.Generator) -> Stems:
    """The stems at gains drawn from FADERS_DB."""
    return {name: (audio * 10 ** (rng.uniform(*FADERS_DB) / 20)).astype(np.float32) for name, audio in stems.items()}


def collect(songs: Iterator[Song], material: str, rows: Rows, kinds: Sequence[str], cache: Path | None) -> None:
    """Adds the rows of all songs by each kind of separator: masks, and "bundled", the bundled model."""
    for name, stems_of in songs:
        kept = cache / f"{material}.{name}.{'bundled' if 'bundled' in kinds else 'masks'}.pkl" if cache else None
        if kept and kept.exists():
            found = pickle.loads(kept.read_bytes())
        else:
            found = song_rows(name, stems_of(), kinds)
            if kept:
                kept.parent.mkdir(parents=True, exist_ok=True)
                kept.write_bytes(pickle.dumps(found))
        for kind, its in found.items():
            rows.setdefault(kind, {}).setdefault(material, []).extend(its)
        print(material, name, file=sys.stderr, flush=True)


def song_rows(name: str, plain: Stems, kinds: Sequence[str]) -> dict[str, list[StemRow]]:
    """The rows of a song, as it is and with other faders, by kind of separator; none of a song with a single stem."""
    found: dict[str, list[StemRow]] = {}
    if len(plain) < 2:
        return found
    rng = np.random.default_rng([zlib.crc32(name.encode()), 9])
    for stems in (plain, with_faders(plain, rng)):
        audio = np.stack(list(stems.values()))
        mixture = audio.sum(axis=0, dtype=np.float32)
        for kind in (each for each in KINDS if each in kinds):
            separated = dict(zip(stems, separate(audio, kind, rng), strict=True))
            found.setdefault(kind, []).extend(measured_rows(name, mixture, stems, separated, SAMPLE_RATE))
        if "bundled" in kinds and set(stems) <= set(STEMS):
            separated = bundled().separate(mixture, SAMPLE_RATE)
            found.setdefault("bundled", []).extend(measured_rows(name, mixture, stems, separated, SAMPLE_RATE))
    return found


@lru_cache
def bundled() -> Any:
    """The bundled model."""
    from stemwright.separation.demucs.separator import DemucsSeparator

    return DemucsSeparator("bundled")


def heard(rows: Sequence[StemRow]) -> list[StemRow]:
    """The rows of stems that are compared."""
    return [row for row in rows if row.true_lu > SOFTEST_LU]


def base_of(kind: str) -> Calibration:
    """What is used without a calibration."""
    return BUNDLED if kind == "bundled" else OTHER


def cells(found: Judged | None, points: np.ndarray, levels: LevelColumns) -> str:
    """RMSE and largest error of points, and how often the interval holds."""
    missed = points - levels.true
    held = "" if found is None else f", {found.figures()['coverage']:.0%}".replace("%", " %")
    return f"{np.sqrt(np.mean(missed**2)):.2f} ({missed[np.argmax(np.abs(missed))]:+.1f}{held})"


def table(rows: Rows) -> str:
    """Separator and material by estimator: RMSE in LU, in brackets the largest error and the share of intervals that hold."""
    lines = ["| separator | songs | stems | SDR dB | generic | calibrated | naive | cross | mean of both |", "|---" * 9 + "|"]
    all_before: list[Judged] = []
    all_after: list[Judged] = []
    for kind, by_material in rows.items():
        for material, every in by_material.items():
            some, base = heard(every), base_of(kind)
            left_out = leave_one_out(some, base)
            levels = levels_of(some, base)
            row = [
                f"{np.median([each.sdr_db for each in some]):.1f}",
                cells(left_out.before, left_out.before.point, levels_in(left_out.before)),
            ]
            row += [cells(left_out.after, left_out.after.point, levels_in(left_out.after))]
            row += [cells(None, points, levels) for points in (levels.naive, levels.cross, (levels.naive + levels.cross) / 2)]
            lines.append(f"| {kind} | {material}, {len({each.song for each in some})} | {len(levels.names)} | {' | '.join(row)} |")
            if kind != "bundled":
                all_before.append(left_out.before)
                all_after.append(left_out.after)
    if not all_before:
        return "\n".join(lines)
    before, after = together(all_before).figures(), together(all_after).figures()
    lines += ["", f"All masks: generic RMSE {before['rmse_lu']:.2f} LU, intervals hold {100 * (before['coverage'] or 0):.0f} %, mean width"]
    lines[-1] += f" {before['width_lu']:.1f} LU; calibrated {after['rmse_lu']:.2f} LU, {100 * (after['coverage'] or 0):.0f} %,"
    lines[-1] += f" {after['width_lu']:.1f} LU."
    return "\n".join(lines)


def levels_in(found: Judged) -> LevelColumns:
    """The truth of what was judged."""
    nothing = np.zeros_like(found.true)
    return LevelColumns(found.true, nothing, nothing, nothing, nothing, found.names, found.songs)


def generic_margins(rows: Rows, kinds: Sequence[str]) -> None:
    """Prints the constants of generic intervals, fitted to all of some kinds, and how many levels they hold of kinds of another family."""
    from balance_fit import fit_margin

    base = base_of(kinds[0])

    def pooled(names: Sequence[str], columns: Callable[..., LevelColumns] = levels_of) -> LevelColumns:
        return columns([row for name in names for part in rows[name].values() for row in heard(part)], base)

    def margins(levels: LevelColumns) -> tuple[Margin, Margin]:
        missed = point_between(levels.naive, levels.cross, base) - levels.true
        return fit_margin(missed, np.abs(levels.gap)), fit_margin(-missed, np.abs(levels.gap))

    for out in dict.fromkeys(map(family, kinds)):
        low, high = margins(pooled([kind for kind in kinds if family(kind) != out] or kinds))
        held = judged(pooled([kind for kind in kinds if family(kind) == out]), replace(base, low=low, high=high)).figures()
        print(f"{out}: {held}")
    print("levels", margins(pooled(kinds)), "windows", margins(pooled(kinds, windows_of)))


def measured(args: argparse.Namespace, kinds: Sequence[str]) -> Rows:
    """The rows of all songs; those of each are kept in ``args.cache`` between runs."""
    rows: Rows = {}
    if args.music:
        free = named_songs if list(kinds) == ["bundled"] else free_songs
        collect(free(args.music, args.songs, fresh=args.fresh), "free", rows, kinds, args.cache)
    collect(made_songs(args.made, fresh=args.fresh), "made", rows, kinds, args.cache)
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints the table; ``--write`` puts it into docs/results.md."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--music", type=Path)
    parser.add_argument("--songs", type=int, default=12, help="so many free songs")
    parser.add_argument("--made", type=int, default=8, help="so many made songs")
    parser.add_argument("--cache", type=Path, help="folder that keeps the rows between runs")
    parser.add_argument("--fresh", action="store_true", help="songs that no setting of the fit was chosen on")
    parser.add_argument("--bundled", action="store_true", help="also the bundled model")
    parser.add_argument("--only-bundled", action="store_true", help="the bundled model alone, on free songs that have its stems")
    parser.add_argument("--fit", action="store_true", help="print generic intervals that fit the rows")
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args(arguments)
    masks = [] if args.only_bundled else list(KINDS)
    kinds = [*masks, *(["bundled"] if args.bundled or args.only_bundled else [])]
    rows = measured(args, kinds)
    if args.fit:
        generic_margins(rows, [kind for kind in rows if kind != "bundled"])
        if "bundled" in rows:
            generic_margins(rows, ["bundled"])
        return
    body = table(rows)
    print(body)
    if args.write:
        from results import publish

        options = f"{' --music FOLDER' if args.music else ''} --songs {args.songs} --made {args.made}"
        options += "".join(f" --{name}" for name in ("bundled", "only-bundled", "fresh") if getattr(args, name.replace("-", "_")))
        title = "Calibration to the bundled model" if args.only_bundled else "Calibration to a separator"
        title += ", songs that settings were chosen on" if not (args.fresh or args.only_bundled) else ""
        publish(title, f"python benchmarks/calibration.py{options} --write", body)


if __name__ == "__main__":
    main()
