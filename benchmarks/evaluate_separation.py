"""Separation and levels of separated stems by published protocols, on what is free; our ratios beside museval's, our engine beside demucs.

    python benchmarks/evaluate_separation.py [--free FOLDER] [--songs 8] [--seconds 20] [--picture FILE] [--write]

What is measured
    ``ratios``: BSS Eval of four stereo stems of half a minute, ours and museval's in a process each: processor time, memory of the
    process and difference. ``musdb``: the protocol on the excerpt that ships and on the STEM file of stempeg (six seconds of a song of
    MUSDB18), by the bundled model. ``balance``: the protocol on the middle of free songs (FOLDER is made by benchmarks/free_music.py), by
    the bundled model and by an oracle that knows the stems (benchmarks/oracle.py) at several ratios, as folders of ready stems.
    Neither the free songs nor such short excerpts are what published figures were measured on.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # before this folder, whose separation.py is a benchmark

import numpy as np
import stempeg
from oracle import separate
from results import publish

from stemwright.datagen.evaluate.bss_metrics import RATIOS
from stemwright.datagen.evaluate.evaluated_songs import songs_of
from stemwright.datagen.evaluate.evaluation import Evaluated, evaluate
from stemwright.datagen.evaluate.given_models import GivenModel
from stemwright.datagen.evaluate.protocol import PROTOCOLS, EvaluationRequest
from stemwright.datagen.evaluate.protocols import balance, musdb
from stemwright.manifests.sound.writing import save

COLLECTIONS = ("guitar", "modules")
ORACLE_DB = (4, 8, 12)
RATIO_SECONDS = 30
SUMS = "A sum of separated stems (backing, rest) has no calibrated estimate and is in no calibrated figure."
PROGRAM = """
import resource, sys, time
import numpy as np
rng = np.random.default_rng(0)
references = rng.standard_normal((4, 2, int(sys.argv[2]) * 44_100), np.float32) / 10
estimates = references + 0.3 * rng.standard_normal(references.shape, np.float32) / 10
start = time.process_time()
if sys.argv[1] == "ours":
    from stemwright.datagen.evaluate.bss_metrics import bss_medians
    start = time.process_time()
    named = [dict(zip("abcd", each)) for each in (references, estimates)]
    found = bss_medians(named[0], {"m": named[1]}, 44_100)["m"]
    values = [[found[stem][name] for name in ("SDR", "ISR", "SIR", "SAR")] for stem in "abcd"]
else:
    from museval import metrics
    start = time.process_time()
    wanted, given = (each.transpose(0, 2, 1).astype(float) for each in (references, estimates))
    ratios = metrics.bss_eval(wanted, given, window=44_100, hop=44_100)[:4]
    values = np.nanmedian(np.stack(ratios), axis=-1).T.tolist()
print(time.process_time() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, *np.ravel(values))
"""


def ratios_table(seconds: int) -> list[str]:
    """Our ratios and museval's of the same signals."""
    found = {}
    for who in ("museval", "ours"):
        done = subprocess.run([sys.executable, "-c", PROGRAM, who, str(seconds)], check=True, capture_output=True, text=True)
        found[who] = np.array([float(each) for each in done.stdout.split()])
    apart = np.abs(found["ours"][2:] - found["museval"][2:]).max()
    lines = [f"Four stereo stems of {seconds} s, noise; the largest difference of a median is {apart:.1e} dB.", ""]
    lines += ["| | processor s | GB |", "|---|---|---|"]
    lines += [f"| {who} | {values[0]:.1f} | {values[1]:.1f} |" for who, values in found.items()]
    return [*lines, f"| museval / ours | **{found['museval'][0] / found['ours'][0]:.1f}** | {found['museval'][1] / found['ours'][1]:.1f} |"]


def value(found: Evaluated, group: str, name: str, who: str, digits: int = 2) -> str:
    """A figure with its interval as it is shown in a table."""
    its = [each for each in found.figures if (each.group, each.name, each.who) == (group, name, who) and each.value is not None]
    if not its:
        return ""
    interval = "" if its[0].low is None else f" ({its[0].low:.{digits}f} to {its[0].high:.{digits}f})"
    return f"{its[0].value:.{digits}f}{interval}"


def musdb_table(out: Path) -> list[str]:
    """Both songs by both engines."""
    lines = [f"| song | stem | engine | {' | '.join((*RATIOS, *musdb.WHOLE_SONG))} |", "|---" * 9 + "|"]
    apart = []
    for title, data in (("excerpt that ships", None), ("stempeg's STEM file", Path(stempeg.example_stem_path()).parent)):
        found = evaluate(PROTOCOLS["musdb"], EvaluationRequest(data), out)
        for row in found.rows:
            ratios = [f"{row[name]:.2f}" for name in (*RATIOS, *musdb.WHOLE_SONG)]
            lines.append(f"| {title} | {row['stem']} | {row['engine']} | {' | '.join(ratios)} |")
        apart += [each.value for each in found.figures if each.name == "difference"]
    return [f"All in dB. The two engines differ by {max(apart):.1e} dB at most (target: {musdb.SAME_DB}).", "", *lines]


def prepared(folder: Path, collection: Path, num_songs: int, seconds: float) -> tuple[Path, list[GivenModel]]:
    """The middle of songs of a collection as multitracks, and stems that the oracle makes of them, by ratio."""
    rng = np.random.default_rng(0)
    data = folder / "songs"
    for song in songs_of(EvaluationRequest(collection, num_songs=num_songs, duration_s=seconds)):
        own = song.load()
        stems = np.stack(list(own.stems.values()))
        mixture = stems.sum(axis=0)
        places = {data: {"mixture": mixture, **own.stems}}
        for target_db in ORACLE_DB:
            made = separate(stems, float(target_db), rng)
            places[folder / f"oracle at {target_db} dB"] = dict(zip(own.stems, made, strict=True))
        for place, sounds in places.items():
            (place / song.title).mkdir(parents=True)
            for name, audio in sounds.items():
                save(place / song.title / f"{name}.wav", audio.astype(np.float32), own.sample_rate)
    return data, [GivenModel("bundled"), *(GivenModel(str(folder / f"oracle at {target_db} dB")) for target_db in ORACLE_DB)]


def balance_table(found: Evaluated) -> list[str]:
    """A row for each separator and group."""
    models = list(dict.fromkeys(row["model"] for row in found.rows))
    lines = [
        "| separator | group | stems | SDR, dB | naive RMSE, LU (95 %) | cross | calibrated | mean error: naive | cross | calibrated "
        "| 80 % interval holds | rank correlation of error and SDR: naive | cross | calibrated |",
        "|---" * 14 + "|",
    ]
    for model in models:
        name = Path(model).name
        for group in (balance.ALL, *dict.fromkeys(row["group"] for row in found.rows)):
            rows = balance.comparable([row for row in found.rows if row["model"] == model and group in (balance.ALL, row["group"])])
            if not rows:
                continue
            whos = [balance.called(name, each, rows) for each in balance.NAMES]
            cells = [value(found, group, figure, who) for figure in (balance.RMSE, balance.BIAS) for who in whos]
            is_all = group == balance.ALL
            held = value(found, group, balance.COVERAGE, whos[-1], 0)
            relation = [value(found, "error and SDR", balance.RELATION, who) if is_all else "" for who in whos]
            sdr = f"{np.mean([row['sdr_db'] for row in rows]):.1f}"
            lines.append(f"| {' | '.join([name, group, str(len(rows)), sdr, *cells, held, *relation])} |")
    everywhere = [
        value(found, "error and SDR", balance.RELATION, balance.called("all separators", each, found.rows)) for each in balance.NAMES
    ]
    return [
        *lines,
        "",
        f"Rank correlation of error and SDR over all separators: naive {', cross '.join(everywhere[:2])}, calibrated {everywhere[2]}.",
    ]


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--free", type=Path, help="folder of free music; without it no levels are measured")
    parser.add_argument("--songs", type=int, default=8, help="of each collection, at most")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each song, from its middle")
    parser.add_argument("--picture", type=Path, help="error against SDR, of all collections")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    sections: dict[str, Sequence[str]] = {}
    command = "python benchmarks/evaluate_separation.py"
    with tempfile.TemporaryDirectory() as place:
        sections["Separation: ratios of BSS Eval"] = ratios_table(RATIO_SECONDS)
        sections["Separation: our engine beside demucs, by musdb"] = musdb_table(Path(place))
        if options.free:
            command += f" --free FREE --songs {options.songs} --seconds {options.seconds:g}"
            lines = [
                f"Published: best of 12 systems {balance.PROTOCOL.published[0].value} LU, other songs ({balance.ABSTRACT}). {SUMS}",
                "",
            ]
            rows = []
            for collection in COLLECTIONS:
                data, models = prepared(Path(place, collection), options.free / collection, options.songs, options.seconds)
                found = evaluate(PROTOCOLS["balance"], EvaluationRequest(data, tuple(models)), Path(place))
                songs = len({row["song"] for row in found.rows})
                lines += [f"`{collection}`, {songs} songs, {len(found.rejected)} cases rejected:", "", *balance_table(found), ""]
                rows += [{**row, "model": Path(row["model"]).name} for row in found.rows]
            sections["Levels of separated stems on real free music, by balance"] = lines
            if options.picture:
                balance.draw(rows, options.picture)
    for name, body in sections.items():
        text = "\n".join(body)
        print(f"## {name}\n{text}\n")
        if options.write:
            publish(name, f"{command} --write", text)


if __name__ == "__main__":
    main()
