"""The section ``[separation]``: how mixtures become stems, and whether their drums are taken further apart."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from stemwright.datagen.pairs.section import Section, since
from stemwright.manifests.names import Name
from stemwright.separation.quality import Limits
from stemwright.separation.separator import SEPARATORS, WAYS, checked_reference, names_other


class LimitsConfig(Section):
    """Limits on the stems of a track, separated or a multitrack's own; the defaults reject only what cannot be right.

    Checked once, when the stems of a track are made: finished tracks are not checked again.
    """

    closure_db: float = Field(
        Limits().closure_db,
        ge=-200.0,
        le=200.0,
        description="highest residual: a track is rejected if the energy of mixture - sum(stems), relative to the energy of the "
        "mixture, is above this",
        json_schema_extra=since("0.1", unit="dB"),
    )
    bleed: float = Field(
        Limits().bleed,
        ge=0.0,
        le=1.0,
        description="highest correlation between the samples of two stems: a track is rejected if any two stems exceed it. Good "
        "stems rarely exceed 0.5; two copies of one signal reach 1",
        json_schema_extra=since("0.1", unit="correlation"),
    )
    clipped_share: float = Field(
        Limits().clipped_share,
        ge=0.0,
        le=1.0,
        description="largest share of clipped samples: a track is rejected if more samples of its mixture are in runs of two or "
        "more at full scale",
        json_schema_extra=since("0.1", unit="fraction"),
    )


class DrumsConfig(Section):
    """A further model that takes the stem ``drums`` of every track apart: kick, snare, toms, cymbals, or whatever it gives.

    The parts sum to the stem with a residual of their own, and stay beside it: whatever uses stems uses the whole ``drums``, and
    ``preset = "drums"`` of ``[pairs.mix]`` the parts.
    """

    model: str | None = Field(
        None,
        description="Demucs model of drums by its name or address (hf://OWNER/NAME), or another separator: package.module:object, "
        "onnx:path/model.onnx; not given: drums are not taken apart. It runs with the device, precision and engine of [separation]",
        json_schema_extra=since("0.1"),
    )
    model_folder: str | None = Field(
        None,
        description="folder of its files, as separation.model_folder; relative to the configuration file",
        json_schema_extra=since("0.1"),
    )
    names: dict[str, Name] = Field(
        {},
        description='names of parts in place of those that the model gives, such as { bombo = "kick", platillos = "cymbals" }; '
        'preset = "drums" of [pairs.mix] finds kick, snare, hihat, toms and cymbals by their names',
        json_schema_extra=since("0.1"),
    )

    @property
    def separator(self) -> str | None:
        """Another separator than Demucs that the model names."""
        return self.model if self.model is not None and names_other(self.model) else None


class SeparationConfig(Section):
    """How mixtures become stems. ``auto`` takes a multitrack's own stems and separates every other track."""

    separator: str = Field(
        "auto",
        description="source of the stems; auto: the multitrack's own stems where there are some, Demucs for every other track; "
        "demucs: separate every track; reference: use multitracks only, reject other tracks. Any other separator is "
        "given by its name, as package.module:object, or as onnx:path/model.onnx (relative to the configuration file), "
        "and separates every track; the keys model, model_folder, precision, engine and input_lufs apply to Demucs only",
        json_schema_extra=since("0.1", choices=(*WAYS, *SEPARATORS.others())),
    )
    model: str = Field(
        "htdemucs", description="name of a Demucs model or bag of models; `stemwright models` lists them", json_schema_extra=since("0.1")
    )
    model_folder: str | None = Field(
        None,
        description="folder of model files (NAME.yaml and SIG.safetensors), for use without a network connection; relative to the "
        "configuration file",
        json_schema_extra=since("0.1"),
    )
    device: str = Field(
        "auto",
        description="device that runs the networks: cpu, cuda, cuda:1, mps; auto: a GPU if there is one, else the CPU",
        json_schema_extra=since("0.1"),
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto",
        description="number format of the networks; fp32 is exact; auto uses bf16 only where a measurement on this machine shows "
        "it to be faster and to change every stem by less than -45 dB, else fp32",
        json_schema_extra=since("0.1"),
    )
    engine: Literal["auto", "torch", "openvino"] = Field(
        "auto",
        description="library that runs the networks; auto: OpenVINO on a CPU if it is installed, else PyTorch",
        json_schema_extra=since("0.1"),
    )
    input_lufs: float | None = Field(
        None,
        ge=-70.0,
        le=0.0,
        description="integrated loudness that each mixture is scaled to before separation; the stems are scaled back; not given: "
        "no scaling",
        json_schema_extra=since("0.1", unit="LUFS"),
    )
    limits: LimitsConfig = Field(default_factory=LimitsConfig)
    drums: DrumsConfig = Field(default_factory=DrumsConfig)

    @field_validator("separator")
    @classmethod
    def _is_a_separator(cls, reference: str) -> str:
        return checked_reference(reference)
