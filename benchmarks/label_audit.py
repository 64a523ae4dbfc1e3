"""Whether recorded settings are true of the audio: the protocol ``labels`` on our effects and on those of every peer that is installed.

Peers are those of ``benchmarks/label_peers``. What does not go with the versions of this project is installed beside it, without its
dependencies, and found on PYTHONPATH:

    pip install --target PEERS --no-deps dasp-pytorch audiomentations==0.43.1 numpy-minmax numpy-rms python-stretch numpy-audio-limiter \\
        fast-mp3-augment loudness torch-audiomentations torch-pitch-shift primePy multiafx sox
    PYTHONPATH=.:PEERS python benchmarks/label_audit.py [--write] [--out FOLDER]

Of our own effects every setting is a line; of a peer the counts, and every setting that is not true.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # before this folder, whose separation.py is a benchmark

from results import publish

sys.path.remove(str(Path(__file__).resolve().parent))  # its loudness.py is no peer's module of that name

from stemwright.datagen.evaluate.evaluation import evaluate
from stemwright.datagen.evaluate.given_models import GivenModel
from stemwright.datagen.evaluate.label_audit import VERDICTS, Judgement, judge
from stemwright.datagen.evaluate.protocol import PROTOCOLS, EvaluationRequest
from stemwright.datagen.evaluate.protocols.labels import merged
from stemwright.manifests.usage import UsageError

PEERS = ("pedalboard", "dasp", "audiomentations", "torch_audiomentations", "multiafx")
SMALL = 5e-4
NOTE = (
    "Settings measured back from audio (`stemwright evaluate labels`), at two to five values each, 44.1 and 48 kHz, mono and stereo.\n"
    "*true*: all within the tolerance; *moves*: the output changes, there is no value to measure; *off*: some values are not within the\n"
    "tolerance; *ignored*: the effect does something, but the same whatever is recorded; *no-op*: the output is the input.\n"
    "The greatest error is of all values, in the unit of the measure or in percent of what was recorded. A definition that a library does\n"
    "not document is that of its source, and the note says so."
)


def judged(peer: str | None, out: Path) -> tuple[str, list[Judgement]] | None:
    """Name and version of a library, ours if no peer is named, and what was found; None, and the reason printed, if it is missing."""
    models = () if peer is None else (GivenModel(f"benchmarks.label_peers.{peer}:effects"),)
    try:
        found = evaluate(
            PROTOCOLS["labels"], EvaluationRequest(models=models), out, lambda *step: print(*step, file=sys.stderr, flush=True)
        )
    except UsageError as error:
        print(f"{peer}: not run: {error}", flush=True)
        return None
    rows = [dict(row) for row in found.rows]
    return f"{rows[0]['library']} {rows[0]['version']}", judge(rows)


def error_of(group: Sequence[Judgement]) -> str:
    """The greatest error of settings, in percent or in the unit of the measure."""
    worst = [each.worst for each in group if each.worst is not None]
    if not worst:
        return ""
    value, unit = (100.0 * max(worst), "%") if group[0].relative else (max(worst), group[0].unit)
    return f"{value:.3g} {unit}".strip() if value >= SMALL else f"< {SMALL:g} {unit}".strip()


def name_of(group: Sequence[Judgement]) -> str:
    """One setting, or the first and the last of several."""
    return f"`{group[0].setting}`" if len(group) == 1 else f"`{group[0].setting}` to `{group[-1].setting}`"


def note_of(group: Sequence[Judgement]) -> str:
    """How many values were not within the tolerance, and what else was found."""
    first, wrong = group[0], sum(each.wrong for each in group)
    parts = [first.note] if first.note else []
    parts += [f"{wrong} of {sum(each.count for each in group)} values off"] if wrong else []
    return "; ".join(parts).replace("|", "\\|")


def lines_of(judgements: Sequence[Judgement], verdicts: Sequence[str]) -> list[str]:
    """Rows of a table of settings with one of some judgements."""
    groups = [group for group in merged(judgements) if group[0].verdict in verdicts]
    cells = [
        (group[0].effect, name_of(group), group[0].verdict, error_of(group), str(sum(each.count for each in group)), note_of(group))
        for group in groups
    ]
    return [f"| {' | '.join(each)} |" for each in cells]


def counts_of(name: str, judgements: Sequence[Judgement]) -> str:
    """The line of one library: effects, settings, judgements, effects that do nothing, latency and shape."""
    effects = list(dict.fromkeys(each.effect for each in judgements))
    idle = [effect for effect in effects if all(each.verdict == "no-op" for each in judgements if each.effect == effect)]
    late = {each.effect for each in judgements if each.latency is not None and abs(each.latency) > 1}
    late -= {each.effect for each in judgements if each.latency is not None and abs(each.latency) <= 1}
    other = {each.effect for each in judgements if not each.same_shape}
    numbers = [len(effects), len(judgements), *(sum(each.verdict == verdict for each in judgements) for verdict in VERDICTS)]
    return f"| {' | '.join([name, *map(str, numbers), str(len(idle)), str(len(late)), str(len(other))])} |"


def main() -> None:
    """Prints the tables, and publishes them if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="publish in docs/results.md")
    parser.add_argument("--out", type=Path, help="keep finished effects here, for resuming")
    parser.add_argument("--only", choices=("own", *PEERS), help="measure one library into --out, and print nothing")
    given = parser.parse_args()
    warnings.filterwarnings("ignore")
    if given.only and given.out:
        judged(None if given.only == "own" else given.only, given.out / given.only)
        return
    with tempfile.TemporaryDirectory() as place:
        found = [each for peer in (None, *PEERS) if (each := judged(peer, (given.out or Path(place)) / (peer or "own"))) is not None]
    table = "| effect | setting | judged | greatest error | values | note |\n|---|---|---|---|---|---|"
    heads = ("library", "effects", "settings", *VERDICTS, "effects that do nothing", "with latency", "another shape")
    parts = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}", *(counts_of(*each) for each in found)]
    for number, (name, judgements) in enumerate(found):
        lines = lines_of(judgements, VERDICTS if number == 0 else ("off", "ignored", "no-op", "error"))
        silent = [line for line in lines if "| no-op |" in line] if number else []
        lines = [line for line in lines if line not in silent]
        if lines:
            parts += ["", f"{name}{'' if number == 0 else ', settings that are not true'}:", "", table, *lines]
        if silent:
            parts += [
                "",
                f"{name}, effects that do nothing: " + ", ".join(dict.fromkeys(line.split(" | ")[0][2:] for line in silent)) + ".",
            ]
    body = "\n".join(parts)
    print(body)
    if given.write:
        publish("Audit of labels", "PYTHONPATH=.:PEERS python benchmarks/label_audit.py --write", f"{NOTE}\n\n{body}")


if __name__ == "__main__":
    main()
