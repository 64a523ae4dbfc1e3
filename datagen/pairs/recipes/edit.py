"""``edit``: (text, before, after). A mix, a sentence that says what to change, and the mix so changed; for text-driven editors.

Conventions
    before is the sum of the stems, after the same sum with the named stems processed; the text is ``Pair.text``, and
    ``stemwright.datagen.edit.grammar.parse`` gives its label back. "remove reverb" swaps the sides: before has the reverberation.
    The row's branches are the same label in the form of effects: a muted stem has no branch, a reverberated one has two.
    An edit names stems that sound in the excerpt, and never all stems of the track. One that still cannot be heard is drawn again.
    The effect that an edit is about is ``added``, that of "remove reverb" ``removed``; what only prepares for it has no role.
    Texts of the train split use wordings that are not held out; those of valid and test use any.
    Where the sum exceeds full scale, the writer gives both sides one gain and records it, as for every example.

References
    AMSS-Net (Choi et al. 2021); see ``stemwright.datagen.edit.grammar`` for the values.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field, field_validator

from stemwright.datagen.edit import grammar
from stemwright.datagen.edit.grammar import Amount, Edit, Operation
from stemwright.datagen.pairs.drawing import HIGHEST_SHARE, Role
from stemwright.datagen.pairs.recipes.base import MOST_PER_TRACK, Draft, RecipeConfig, TrackMaterial, min_change_field
from stemwright.datagen.pairs.section import since
from stemwright.manifests.pair_records import Branch, Signal
from stemwright.manifests.records import EffectUse, Refused, Stem

NEED_OTHERS = ("mute", "isolate")  # they make no sense for the only stem
NEED_STEREO = ("pan", "width")
FREQUENCIES = ("lowpass", "highpass", "eq")


class Config(RecipeConfig):
    """The section ``[pairs.edit]``: a mix, a sentence that says what to change, and the changed mix."""

    per_track: int = Field(
        0,
        ge=0,
        le=MOST_PER_TRACK,
        description="number of pairs of this kind planned for each track; 0: none",
        json_schema_extra=since("0.1", unit="pairs a track"),
    )
    stems: tuple[str, ...] = Field(
        (),
        description="names of the stems that edits may name; empty: all stems of the track that the grammar has a word for",
        json_schema_extra=since("0.1"),
    )
    operations: tuple[Operation, ...] = Field(
        grammar.FIRST_OPERATIONS,
        min_length=1,
        description="edit operations to draw from; beside the default there are eq, width, compressor and reverb",
        json_schema_extra=since("0.1"),
    )
    wordings: Literal["first", "all"] = Field(
        "first",
        description="sentences and amounts to draw from; first: those of the first version of the grammar; all: those of later ones, too",
        json_schema_extra=since("0.1"),
    )
    most_stems: int = Field(
        3, ge=1, le=64, description="largest number of stems that one edit names", json_schema_extra=since("0.1", unit="stems")
    )
    min_change_db: float = min_change_field()
    mixture: Literal["sum", "released"] = Field(
        "sum",
        description="mix that is edited; sum: the sum of the stems; released: the stems and the residual, on both sides",
        json_schema_extra=since("0.1"),
    )

    @field_validator("stems")
    @classmethod
    def _known(cls, stems: tuple[str, ...]) -> tuple[str, ...]:
        for name in stems:
            if name not in grammar.STEMS:
                near = difflib.get_close_matches(name, grammar.STEMS, n=1, cutoff=0.0)[0]
                raise ValueError(
                    f"no sentence of the grammar names a stem {name!r}; did you mean {near!r}? The grammar has {', '.join(grammar.STEMS)}"
                )
        return stems


def draft(material: TrackMaterial, config: Config, rng: np.random.Generator) -> Draft:
    """Plans one edit of a stem that sounds."""
    names = _grammar_stems(material, config)
    sounding = [name for name in names if name in material.sounding] or names[:1]
    first = sounding[_below(len(sounding), rng)]
    start_frame = material.excerpt(first, rng)
    names = [name for name in names if name == first or material.sounds_in(name, start_frame)]
    edit, in_words = _label(material, config, _selection(first, names, material, config, rng), rng)
    held_out = False if material.track.split == "train" else None
    phrase = grammar.wordings(edit.operation, amount=edit.amount, held_out=held_out, more=config.wordings == "all")
    text = grammar.say(edit, phrase[_below(len(phrase), rng)], in_words=in_words)
    stems = material.stems if config.mixture == "released" else tuple(material.named.values())
    if "plain" not in material.cache:
        material.cache["plain"] = (material.sum_of("before", stems), material.sum_of("after", stems))
    before, after = material.cache["plain"]
    if edit.operation == "dereverb":
        return Draft(start_frame, (_edited("before", stems, edit, "removed"),), (after,), text, min_change_db=config.min_change_db)
    return Draft(start_frame, (before,), (_edited("after", stems, edit, "added"),), text, min_change_db=config.min_change_db)


def _grammar_stems(material: TrackMaterial, config: Config) -> list[str]:
    """The stems of the track that an edit may name. Raises Refused if there is none."""
    names = [name for name in material.choose(config.stems) if name in grammar.STEMS]
    if not names:
        raise Refused(f"none of {', '.join(material.named)} can be named in an edit; the grammar has {', '.join(grammar.STEMS)}")
    return names


def _selection(first: str, names: Sequence[str], material: TrackMaterial, config: Config, rng: np.random.Generator) -> tuple[str, ...]:
    """An ordered selection that holds ``first``, but not every stem of the track."""
    most = max(1, min(config.most_stems, len(names), len(material.named) - 1))
    others = [name for name in names if name != first]
    keys = rng.random(len(others)).tolist()
    chosen = [others[index] for index in sorted(range(len(others)), key=keys.__getitem__)][: _below(most, rng)]
    chosen.insert(_below(len(chosen) + 1, rng), first)
    return tuple(chosen)


def _label(material: TrackMaterial, config: Config, chosen: tuple[str, ...], rng: np.random.Generator) -> tuple[Edit, bool]:
    """Operation and amount for the stems chosen, and whether the amount is a word. Raises Refused if no operation is possible."""
    possible = {operation: amounts for operation in config.operations if (amounts := _amounts(operation, chosen, material, config))}
    if not possible:
        raise Refused(f"none of {', '.join(config.operations)} is possible with {', '.join(material.named)} at {material.sample_rate} Hz")
    operation = tuple(possible)[_below(len(possible), rng)]
    in_words, amounts = rng.random() < 0.5, possible[operation]
    if operation == "volume":
        sizes = tuple(grammar.VOLUME_WORDS.values()) if in_words else grammar.VOLUME_DB
        amounts = tuple(sign * size for size in sizes for sign in (1.0, -1.0))
    return Edit(operation, chosen, amounts[_below(len(amounts), rng)]), in_words


def _amounts(operation: Operation, chosen: tuple[str, ...], material: TrackMaterial, config: Config) -> tuple[Amount, ...]:
    """The amounts that are possible: none for the only stem to be muted, a mono one to be panned, a cutoff that the rate cannot hold."""
    if operation in NEED_OTHERS and len(material.named) == 1:
        return ()
    if operation in NEED_STEREO and any(material.named[name].audio.num_channels != 2 for name in chosen):
        return ()
    amounts = grammar.amounts(operation, more=config.wordings == "all")
    if operation not in FREQUENCIES:
        return amounts
    limit = HIGHEST_SHARE * material.sample_rate
    return tuple(amount for amount in amounts if _highest_hz(Edit(operation, chosen, amount)) <= limit)


def _highest_hz(edit: Edit) -> float:
    """The highest frequency that an edit sets."""
    uses = (use for name in edit.stems for chain in grammar.chains(edit, name) for use in chain)
    return max(float(value) for use in uses for setting, value in use.settings.items() if setting.endswith("hz"))


def _edited(name: str, stems: Sequence[Stem], edit: Edit, role: Role) -> Signal:
    chains = ((stem.id, chain) for stem in stems for chain in grammar.chains(edit, stem.name))
    branches = (Branch(source_id=stem_id, chain=(*chain[:-1], *_with_role(chain[-1:], role))) for stem_id, chain in chains)
    return Signal(name=name, branches=tuple(branches))


def _with_role(uses: Sequence[EffectUse], role: Role) -> tuple[EffectUse, ...]:
    return tuple(use.model_copy(update={"role": role}) for use in uses)


def _below(count: int, rng: np.random.Generator) -> int:
    return int(rng.random() * count)
