"""A corpus of made-up songs whose tables are written, without any sound: for tests of what only reads rows."""

from rows import corpus_rows, knowledge_of

from stemwright.datagen.pairs.plan import plan_pairs
from stemwright.datagen.run.configuration import check
from stemwright.datagen.run.corpus import Corpus
from stemwright.manifests import table
from stemwright.manifests.pair_records import Example, Pair, SignalFile
from stemwright.manifests.records import Estimate, Rejected, Stem, Track, content_id, seal

KINDS = {kind: {"per_track": 6} for kind in ("mix", "remix", "limit", "removal", "edit")}
RIGHTS = ("CC BY 4.0", "unknown", "all rights reserved")


def example_of(pair):
    audio = {"sample_rate": pair.sample_rate, "num_channels": 2, "num_frames": pair.num_frames, "num_bytes": 9, "sha256": "0" * 64}
    signals = [
        SignalFile(
            role=role,
            name=signal.name,
            audio={"path": f"dataset/{pair.id}/{role}_{signal.name}.flac", **audio},
            loudness_lufs=None if signal.view == "gain" else -20.0 - int(pair.id[0], 16) / 7,
            peak_dbfs=-3.0,
        )
        for role, group in (("input", pair.inputs), ("target", pair.targets))
        for signal in group
    ]
    return seal(Example, cache_key=pair.id, pair_id=pair.id, gain_db=0.0, signals=tuple(signals))


def made_corpus(folder):
    """Nine songs with pairs of all kinds, three quarters of which are rendered and one is drawn again."""
    made = Corpus(folder)
    config = check({"seed": 3, "songs": {"folder": "."}, "pairs": {"duration_s": 4.0, **KINDS}}, where="test")
    made.create(config)
    tracks, stems, estimates = corpus_rows(9)
    tracks = [track.model_copy(update={"rights": RIGHTS[number % 3]}) for number, track in enumerate(tracks)]
    pairs = plan_pairs(config, tracks, stems, estimates, optional_rows=knowledge_of(tracks, stems)).pairs
    again = pairs[7].model_copy(update={"id": content_id("again"), "redraw_of": pairs[7].id})
    facts = {"stage": "render", "row_id": pairs[7].id, "subject": "a pair"}
    refused = [seal(Rejected, **facts, reason="alike", replaced_by=again.id), seal(Rejected, **facts, reason="3.5 dB too soft")]
    examples = [example_of(pair) for number, pair in enumerate([*pairs, again]) if number % 4 and number != 7]
    found = {"tracks": (Track, tracks), "stems": (Stem, stems), "estimates": (Estimate, estimates), "pairs": (Pair, pairs)}
    found |= {"redraws": (Pair, [again]), "examples": (Example, examples), "rejected": (Rejected, refused)}
    for name, (record, written) in found.items():
        table.write(made.table(name), written, record)
    return made
