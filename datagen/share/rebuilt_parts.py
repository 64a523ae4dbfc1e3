"""The parts of stems in a rebuild: whether their model is the one of the recipes, and which part here is which of the recipes'."""

from __future__ import annotations

from collections.abc import Mapping

from stemwright.datagen.run.corpus import Corpus
from stemwright.datagen.run.stages.separator_order import SeparationOrder
from stemwright.datagen.share.reading import Recipes
from stemwright.manifests.records import Part, Track
from stemwright.separation.demucs.checkpoints import ModelError

COMPARED = ("weights", "bag", "segment_s", "separator", "version")  # of what identifies a model


def check_parts_model(recipes: Recipes, order: SeparationOrder) -> None:
    """Raises ModelError if the model that takes the drums apart is missing, or is not the one of the recipes."""
    of_parts, recorded = order.of_parts(), (recipes.manifest.get("parts_model") or {}).get("parts")
    if of_parts is None or not isinstance(recorded, dict):
        return
    here = of_parts.separator().identity["parts"]
    if wrong := [what for what in COMPARED if recorded.get(what) != here.get(what)]:
        raise ModelError(
            f"model {order.config.separation.drums.model!r} of the drums differs from the recipes' model in its {', '.join(wrong)}. "
            "Name the folder of the recipes' model with --model-folder"
        )


def matching_parts(recipes: Recipes, corpus: Corpus, tracks: Mapping[str, Track]) -> dict[str, str]:
    """{id of a recorded part: id of the part here}; ``tracks`` has the track here by the id of the recorded one."""
    here = corpus.rows("parts", Part) if corpus.table("parts").exists() else []
    found = {(row.track_id, row.part_of, row.name): row.id for row in here}
    matching = {}
    for recorded in recipes.rows("parts", Part):
        if (track := tracks.get(recorded.track_id)) is not None and (key := (track.id, recorded.part_of, recorded.name)) in found:
            matching[recorded.id] = found[key]
    return matching
