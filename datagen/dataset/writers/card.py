"""The card of a dataset: what is in it, from which songs, with which settings, by which models, with which rights, and how to load it.

Written as ``README.md`` in the form of the Hugging Face Hub: a head in YAML that ``datasets`` reads, then Markdown for people.

Conventions
    Everything is counted from the tables; nothing is typed. The same rows give the same bytes: no date, no path, no machine.
    The card of the corpus says the same as that of its dataset, and what else is in the folder; only the dataset's has the head that
    names the files for ``datasets`` to load.
    Settings are counted once for each pair that uses them, whichever of its signals do, as the dataset's rows have them; one that is
    neutral in every pair is left out.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import Any, ClassVar, Protocol, get_args

import numpy as np

from stemwright.datagen.dataset.writers.kinds import KindsById, columns_of
from stemwright.datagen.effects import EFFECTS
from stemwright.datagen.effects.settings import fields
from stemwright.datagen.pairs.licences import normalise
from stemwright.manifests import table
from stemwright.manifests.disk.durable import write_bytes
from stemwright.manifests.disk.regular import regular
from stemwright.manifests.id_set import IdSet
from stemwright.manifests.pair_records import Example, Pair
from stemwright.manifests.records import EffectUse, Split, Stem, Track
from stemwright.manifests.shards import DATASET, read
from stemwright.manifests.table_rows import TableRows

SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"), (10_000_000, "1M<n<10M"))
HUB_NAMES = {  # licences by licences.normalise -> the Hub's names; Creative Commons' are the same in small letters
    "public domain": "cc0-1.0",
    "MIT": "mit",
    "ODbL-1.0": "odbl",
    "Unlicense": "unlicense",
    "unknown": "unknown",
}
ROWS = """## Rows

`pairs.parquet` has a row for each example: kind, split, where the excerpt begins, text, seed, and its signals (`inputs`, `targets`). A
signal is its `branches`, each a source through a chain of effects, summed, then through the chain `bus`. Each effect has all of its
settings (as JSON text; infinity is the text "inf") and its role: `kept` on both sides, `removed` from the inputs, `added` in the targets,
or none. `sources` says of every source which stem of which song it is, by which artist, with which rights, in which split, made by which
model (`reference`: a multitrack's own) and how far the stems of its song are from their mixture (`closure_db`). `beats_s` are the beats
inside the excerpt.

`examples.parquet` has, by `pair_id`, the files: `path` inside this folder, loudness and peak as written, the gains that its effects
`loudness` gave (`levelled_db`), and `changes`: what each removed or added effect does by itself. In the formats with shards the sound is
inside them, and `shards.parquet` says where; the labels of an example there hold the same as both rows.

Settings are true of the audio as it was written. Where a peak would have been above full scale, all signals of the example have one gain
(`gain_db`), and thresholds, ceilings, drives and loudness targets are given on that scale: a source times the gain, through its recorded
chain, is the written signal."""
LOADING = """from stemwright import PairDataset

data = PairDataset("dataset", kind="{kind}", split="{split}")  # without a split: train; "all" takes all of them
inputs, targets, mask = data[0]  # [N, C, T], [M, C, T], [N]; a DataLoader's batches have the same fields
data.pair(0)  # the labels: every signal with its chain of effects and their settings; as tensors with labels=True"""


class Described(Protocol):
    """What the card asks of a format; ``stemwright.datagen.dataset.writers.base.DatasetWriter`` says what each is."""

    format_name: ClassVar[str]
    loading: ClassVar[str]
    shard_suffix: ClassVar[str]

    @classmethod
    def card_head(cls, dataset: Path, pairs: Sequence[Pair], examples: Sequence[Example]) -> dict[str, Any]:
        """What the head says besides."""
        ...


def write(corpus: Path, pairs: Sequence[Pair], examples: Sequence[Example], format_: type[Described]) -> None:
    """Writes the cards of the dataset in a corpus and of the corpus itself, where they are not yet as they should be."""
    used, settings = IdSet(), _Settings()
    for pair in pairs:
        for source_id in {branch.source_id for signal in (*pair.inputs, *pair.targets) for branch in signal.branches}:
            used.add(source_id)
        settings.add(pair)
    origins, songs = Counter[str](), IdSet(track for (track,) in columns_of(pairs, "track_id"))
    for stem, track, origin in columns_of(_rows(corpus / "stems.parquet", Stem), "id", "track_id", "origin"):
        if stem in used:
            origins[origin] += 1
            songs.add(track)  # a remix has stems of several
    rights = Counter(stated for song, stated in columns_of(_rows(corpus / "tracks.parquet", Track), "id", "rights") if song in songs)
    rights += Counter({"unknown": len(songs) - rights.total()})
    head = {**_head(pairs, examples, rights), **(format_.card_head(corpus / DATASET, pairs, examples) if len(pairs) else {})}
    body = [
        *_contents(pairs, examples),
        *_loading(corpus / DATASET, pairs, examples, format_),
        *((ROWS, "") if len(pairs) else ()),
        *settings.lines(),
        *_origins(origins, corpus),
        *_rights(rights),
    ]
    _replace(corpus / DATASET / table.CARD_FILE, [*_yaml(head), "", *_title("dataset", format_.format_name), *body])
    kept = {key: value for key, value in head.items() if key not in ("configs", "dataset_info")}
    _replace(corpus / "README.md", [*_yaml(kept), "", *_title("corpus", format_.format_name), *body])


def _rows(path: Path, record_type: Any) -> Sequence[Any]:
    return TableRows(path, record_type) if path.exists() else ()


def _replace(path: Path, lines: Sequence[str]) -> None:
    data = ("\n".join(lines).rstrip() + "\n").encode()
    if not path.exists() or regular(path).read_bytes() != data:
        write_bytes(path, data)


def _yaml(head: dict[str, Any]) -> list[str]:
    import yaml

    return ["---", yaml.safe_dump(head, sort_keys=False, allow_unicode=True, width=120).rstrip(), "---"]


def _head(pairs: Sequence[Pair], examples: Sequence[Example], rights: Counter[str]) -> dict[str, Any]:
    """What the Hub and ``datasets`` read, whatever the format."""
    head: dict[str, Any] = {"pretty_name": "Training pairs for music mixing", **_licence(rights)}
    head["task_categories"] = ["audio-to-audio"]
    head["tags"] = ["audio", "music", "automatic-mixing", "audio-effects", *sorted({kind for (kind,) in columns_of(pairs, "kind")})]
    head["size_categories"] = [next((name for limit, name in SIZES if len(examples) < limit), "n>10M")]
    return head


def data_files(pairs: Sequence[Pair], suffix: str) -> list[dict[str, Any]]:
    """The Hub's ``configs``: for each kind the shards of its splits; the first kind is the default."""
    return [
        {
            "config_name": kind,
            "data_files": [{"split": split, "path": f"{kind}/{split}-*{suffix}"} for split in splits],
            **({"default": True} if number == 0 else {}),
        }
        for number, (kind, splits) in enumerate(split_counts(pairs).items())
    ]


def split_counts(pairs: Sequence[Pair]) -> dict[str, dict[str, int]]:
    """kind -> split -> pairs, in a fixed order."""
    counts = Counter(columns_of(pairs, "kind", "split"))
    kinds = sorted({kind for kind, _ in counts})
    return {kind: {split: counts[kind, split] for split in get_args(Split) if counts[kind, split]} for kind in kinds}


def _licence(rights: Counter[str]) -> dict[str, str]:
    """The Hub's name of the licence, if all songs have one that is in its list."""
    found = {_hub_name(text) for text in rights} or {"unknown"}
    if len(found) == 1 and (name := found.pop()):
        return {"license": name}
    return {"license": "other", "license_name": "as-each-song", "license_link": "README.md"}


def _hub_name(text: str) -> str | None:
    name = normalise(text)
    return name.lower() if re.fullmatch(r"CC0-1\.0|CC-BY(-[A-Z]{2})*-\d\.\d", name) else HUB_NAMES.get(name)


def _title(what: str, format_name: str) -> list[str]:
    if what == "dataset":
        return ["# Training pairs for music mixing", "", f"Made by stemwright; its format is `{format_name}`.", ""]
    return [
        "# A corpus of stemwright",
        "",
        "`dataset/` is what a training job reads; it is self-contained and has its own card. Beside it: `config.toml`, as run; the",
        "tables (`*.parquet`) from the songs to every rendered file; `stems/`, which sum to their mixtures.",
        "",
    ]


def _contents(pairs: Sequence[Pair], examples: Sequence[Example]) -> list[str]:
    groups, songs = KindsById(pairs), defaultdict[tuple[str, str], IdSet](IdSet)
    lengths = np.fromiter((frames / rate for frames, rate in columns_of(pairs, "num_frames", "sample_rate")), np.float64)
    for kind, split, track in columns_of(pairs, "kind", "split", "track_id"):
        songs[kind, split].add(track)
    rows: dict[tuple[str, str], list[float]] = defaultdict(lambda: [0, 0.0, 0])
    for example in examples:
        row = rows[groups.names[groups.number(example.pair_id)]]
        row[0] += 1
        row[1] += float(lengths[groups.row(example.pair_id)])
        row[2] += len(example.signals)
    lines = []
    for kind, split in sorted(rows, key=lambda key: (key[0], get_args(Split).index(key[1]))):
        count, seconds, signals = rows[kind, split]
        lines.append(f"| {kind} | {split} | {count:,} | {len(songs[kind, split]):,} | {signals:,} | {seconds / 3600:.2f} |")
    table_head = ["| kind | split | examples | songs | signals | hours |", "|---|---|---:|---:|---:|---:|"]
    return ["## Contents", "", *table_head, *lines, ""]


def _loading(dataset: Path, pairs: Sequence[Pair], examples: Sequence[Example], format_: type[Described]) -> list[str]:
    if not len(pairs):
        return []
    kind, splits = next(iter(split_counts(pairs).items()))
    split, groups = next(iter(splits)), KindsById(pairs)
    first = next(example for example in examples if groups.names[groups.number(example.pair_id)][0] == kind).signals[0]
    shards = (path for (path,) in columns_of(read(dataset), "path")) if format_.shard_suffix else ()
    last = sum(path.startswith(f"{kind}/{split}-") for path in shards) - 1
    code = format_.loading.format(kind=kind, split=split, column=f"{first.role}_{first.name}", last=max(0, last))
    return ["## Loading", "", "```python", code, "```", ""]


class _Settings:
    """Lowest, median and highest value of each setting, and how often each choice was made; equal values are kept once, with a count."""

    def __init__(self) -> None:
        self._acting: set[tuple[str, str, str]] = set()
        self._numbers: dict[tuple[str, str, str], Counter[float]] = defaultdict(Counter)
        self._choices: dict[tuple[str, str, str], Counter[str]] = defaultdict(Counter)

    def add(self, pair: Pair) -> None:
        """Counts the settings of a pair."""
        for use in _uses(pair):
            for name, value in use.settings.items():
                key = (pair.kind, use.effect, name)
                if value != _neutral(use.effect, name):
                    self._acting.add(key)
                number = float(value) if value in ("inf", "-inf") else value
                if isinstance(number, (bool, str)):
                    self._choices[key][str(value).lower()] += 1
                else:
                    self._numbers[key][float(number)] += 1

    def lines(self) -> list[str]:
        """The part of the card about them; none if no effect acts."""
        if not self._acting:
            return []
        lines = ["## Settings", "", "| kind | setting | pairs | lowest | median | highest |", "|---|---|---:|---:|---:|---:|"]
        for key in sorted(self._acting):
            kind, effect, name = key
            if key in self._numbers:
                found = self._numbers[key]
                shown = f"{min(found):.4g} | {median_of(found):.4g} | {max(found):.4g}"
                lines.append(f"| {kind} | {effect}.{name} | {found.total():,} | {shown} |")
            else:
                counted = ", ".join(f"{value}: {count:,}" for value, count in sorted(self._choices[key].items()))
                lines.append(f"| {kind} | {effect}.{name} | {self._choices[key].total():,} | {counted} | | |")
        return [*lines, ""]


def median_of(counts: Counter[float]) -> float:
    """The median of values with their counts: what ``statistics.median`` gives for the values repeated."""
    values, ends = sorted(counts), list(accumulate(counts[value] for value in sorted(counts)))
    low, high = (values[bisect_right(ends, at)] for at in ((ends[-1] - 1) // 2, ends[-1] // 2))
    return low if (ends[-1] % 2) else (low + high) / 2


@cache
def _neutral(effect: str, name: str) -> object:
    """The value of a setting with which the effect does nothing, as a row has it."""
    neutral = fields(EFFECTS[effect].Settings)[name].neutral
    return str(neutral) if neutral in (math.inf, -math.inf) else neutral


def _uses(pair: Pair) -> Iterable[EffectUse]:
    """The effects of a pair, each once with the settings it has."""
    seen: dict[str, EffectUse] = {}
    for signal in (*pair.inputs, *pair.targets):
        for chain in signal.chains:
            seen.update({f"{use.effect} {sorted(use.settings.items())}": use for use in chain})
    return seen.values()


def _origins(origins: Counter[str], corpus: Path) -> list[str]:
    """Who made the stems, and what was installed when they were."""
    if not origins:
        return []
    lines = [f"| {_cell(origin)} | {count:,} |" for origin, count in sorted(origins.items())]
    versions = ", ".join(f"{name} {version}" for name, version in sorted(table.versions(corpus / "stems.parquet").items()))
    head = ["| stems by | stems |", "|---|---:|"]
    return ["## Models and versions", "", *head, *lines, "", f"`reference`: a multitrack's own. Installed then: {versions}.", ""]


def _rights(rights: Counter[str]) -> list[str]:
    lines = [f"| {_cell(text)} | {count:,} |" for text, count in sorted(rights.items())]
    phrase = "As stated by the songs' tags, list or data set. Work derived from a song needs the permission of the song's owner as well."
    return ["## Rights", "", phrase, "", "| rights | songs |", "|---|---:|", *lines, ""]


def _cell(text: str) -> str:
    """Text from a table of ours, as a cell: it may hold anything."""
    return re.sub(r"\s+", " ", text).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;") or "unknown"
