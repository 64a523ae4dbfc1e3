"""The tables of a corpus, by name, and what their rows are."""

from __future__ import annotations

from stemwright.manifests.feature_rows import StemFeatures, StemStatistic
from stemwright.manifests.pair_records import Example, Pair
from stemwright.manifests.records import Estimate, Normalisation, Part, Record, Rejected, Shard, Stem, Track, TrackEstimate

ROW_TYPES: dict[str, type[Record]] = {
    "tracks": Track,
    "stems": Stem,
    "parts": Part,  # of stems that a further model takes apart
    "estimates": Estimate,
    "part_estimates": Estimate,
    "track_estimates": TrackEstimate,
    "features": StemFeatures,
    "profile": StemFeatures,
    "statistics": StemStatistic,
    "normalisations": Normalisation,
    "pairs": Pair,
    "redraws": Pair,  # drawn while rendering, in place of pairs whose wet and dry sounded alike
    "examples": Example,
    "shards": Shard,
    "rejected": Rejected,
}
