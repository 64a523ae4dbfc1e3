"""Past one machine: shares, clusters, a million rows and a bucket, each against one process or the limit, in one run.

    python benchmarks/scale.py [TABLE ...] [--folder PLACE] [--write]

Conventions
    A table is a function of a scratch folder that returns Markdown, registered by its name in ``TABLES``; it removes what it made. Those of
    one subject are in a module of their own beside this one. Named tables are measured, otherwise all; with ``--write`` each is a section
    of docs/results.md of its own.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # before this folder, whose separation.py is a benchmark

import scale_cluster
import scale_shares
from flat_memory import flat_memory
from results import publish
from scale_bucket import bucket
from stem_bytes import stem_bytes

TABLES: dict[str, Callable[[Path], str]] = {
    "cluster-overhead": scale_cluster.overhead,
    "cluster-allocator": scale_cluster.allocator,
    "cluster-workers": scale_cluster.workers_kept_busy,
    "cluster-losses": scale_cluster.simulation,
    "cluster-kills": scale_cluster.kills,
    "share-kills": scale_shares.kills,
    "share-growth": scale_shares.growth,
    "memory": flat_memory,
    "bucket": bucket,
    "stem-bytes": stem_bytes,
}


def main() -> None:
    """Prints the tables that were named; with --write, also into docs/results.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="*", metavar="TABLE", help=f"one or more of: {', '.join(TABLES)}")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    if unknown := [name for name in options.tables if name not in TABLES]:
        parser.error(f"there is no table {', '.join(unknown)}; expected one or more of: {', '.join(TABLES)}")
    for name in options.tables or TABLES:
        with tempfile.TemporaryDirectory(dir=options.folder) as scratch:
            body = TABLES[name](Path(scratch))
        print(f"## {name}\n\n{body}\n")
        if options.write:
            publish(f"Scale: {name}", f"python benchmarks/scale.py {name} --write", body)


if __name__ == "__main__":
    main()
