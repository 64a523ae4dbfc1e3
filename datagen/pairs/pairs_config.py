"""The section ``[pairs]`` of the configuration: what all pairs share, and one section for each recipe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field, ModelWrapValidatorHandler, model_validator

from stemwright.datagen.pairs.recipes import RECIPES
from stemwright.datagen.pairs.section import ExtensibleSection, since, with_sections


class PairsBase(ExtensibleSection):
    """What all pairs share: excerpts of one length at one rate."""

    sample_rate: int = Field(
        44_100,
        ge=8_000,
        le=192_000,
        description="sample rate of every pair; if the key is left out, a preset's published sample rate replaces the default",
        json_schema_extra=since("0.1", unit="Hz"),
    )
    duration_s: float = Field(
        5.0,
        gt=0.05,
        le=600.0,
        description="duration of every pair; if the key is left out, a preset's published duration replaces the default",
        json_schema_extra=since("0.1", unit="s"),
    )

    @property
    def num_frames(self) -> int:
        """Length of an excerpt in frames."""
        return round(self.duration_s * self.sample_rate)

    @model_validator(mode="wrap")
    @classmethod
    def _shape_of_presets(cls, values: Any, handler: ModelWrapValidatorHandler[PairsBase]) -> PairsBase:
        """Where the section gives no rate or no length, those that the presets of its recipes were published with."""
        section = handler(values)
        given = {name: getattr(section, name) for name in ("sample_rate", "duration_s") if name in section.model_fields_set}
        recipes = [getattr(section, kind) for kind in RECIPES if hasattr(section, kind)]
        shapes = {recipe.shape for recipe in recipes if recipe.per_track and recipe.shape}
        if not shapes or len(given) == 2:
            return section
        if len(shapes) > 1:
            wanted = " and ".join(f"{shape.num_frames} frames at {shape.sample_rate} Hz" for shape in sorted(shapes))
            raise ValueError(f"the presets of several recipes were published with {wanted}; give pairs.sample_rate and pairs.duration_s")
        (shape,) = shapes
        sample_rate = given.get("sample_rate", shape.sample_rate)
        of_shape = {"sample_rate": sample_rate, "duration_s": given.get("duration_s", shape.num_frames / sample_rate)}
        return type(section).model_construct(section.model_fields_set, **{**section.__dict__, **of_shape})


if TYPE_CHECKING:
    PairsConfig = PairsBase
else:  # one section for each recipe, whichever there are
    PairsConfig = with_sections(
        PairsBase,
        "PairsConfig",
        {name: RECIPES[name].Config() for name in RECIPES.own},
        {name: recipe.Config(per_track=0) for name, recipe in RECIPES.others().items()},
    )
