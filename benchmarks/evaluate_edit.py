"""Edits by a sentence on real free music, by the bundled model's stems: the protocol of ``stemwright evaluate edit``.

    python benchmarks/evaluate_edit.py FREE [--songs 8] [--seconds 8] [--write]

Conventions
    The songs are those of ``claims.py``: tracker songs with drums, bass and other as stems, of games that no weights were trained on, the
    first in the order of their names, the middle of each. Songs without vocals have 12 of the 21 tasks that a separator can do.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # before this folder, whose separation.py is a benchmark

from claims import KEPT, real_songs
from evaluated import table
from results import report

from stemwright.datagen.evaluate.evaluation import evaluate
from stemwright.datagen.evaluate.given_models import GivenModel
from stemwright.datagen.evaluate.protocol import PROTOCOLS, EvaluationRequest


def main() -> None:
    """Measures and prints; ``--write`` puts the table into docs/results.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("free", type=Path, help="folder of free music, made by benchmarks/free_music.py")
    parser.add_argument("--songs", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=8.0, help="of the middle of each song")
    parser.add_argument("--write", action="store_true", help="into docs/results.md")
    options = parser.parse_args()
    folder = real_songs(options.free, options.songs)
    request = EvaluationRequest(folder, (GivenModel("bundled"),), options.songs, options.seconds)
    found = evaluate(PROTOCOLS["edit"], request, KEPT / "evaluations")
    rejected = [{"case": title, "reason": reason} for title, reason in found.rejected]
    body = table({"figures": [asdict(each) for each in found.figures], "rejected": rejected})
    command = f"python benchmarks/evaluate_edit.py FREE --songs {options.songs} --seconds {options.seconds:g} --write"
    report("Edits by a sentence: real free music", command, body, write=options.write)


if __name__ == "__main__":
    main()
