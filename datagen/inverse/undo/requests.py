"""Which effects of a recording are to be undone, and what is known of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from stemwright.datagen.effects import EFFECTS
from stemwright.datagen.inverse import ESTIMATES
from stemwright.manifests.usage import UsageError

CLIP = "clip"  # has no inverse: what was above its ceiling is restored (``stemwright.datagen.inverse.clipping``)
Array = NDArray[np.floating[Any]]  # audio [C, T]

LEAST_CONFIDENCE = 0.8
Source = Literal["found", "settings", "row", "gain curve", "dry", "profile"]


@dataclass(frozen=True)
class UndoneEffect:
    """One effect that was undone: where its settings are from, and the confidence where they are not simply known.

    ``estimated`` says what the confidence is of where they were estimated blind: the columns of ``EffectEstimate`` but effect and settings.
    """

    effect: str
    source: Source
    settings: Mapping[str, Any]
    confidence: float | None = None
    estimated: Mapping[str, Any] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """The step as plain values for JSON."""
        known = {"effect": self.effect, "source": self.source, "settings": dict(self.settings), "confidence": self.confidence}
        return {**known, **{name: list(value) if isinstance(value, tuple) else value for name, value in self.estimated.items()}}


@dataclass(frozen=True)
class Undone:
    """A recording [C, T] without the effects of ``steps``, in the order in which they were undone; ``left`` says why others remain."""

    audio: Array
    steps: tuple[UndoneEffect, ...] = ()
    left: Mapping[str, str] = field(default_factory=dict)
    error_db: float | None = None  # against the dry reference, where there is one: energy of the difference over that of the reference
    notes: tuple[str, ...] = ()  # what was done to the dry reference


@dataclass(frozen=True)
class Knowledge:
    """What is known of one signal: the chain it went through, the dry chain that is to remain, a gain curve, or dry sound [C, T]."""

    chain: tuple[Any, ...] = ()
    remaining: tuple[Any, ...] = ()
    gain: Array | None = None
    dry: Array | None = None
    profile: Any = None  # a ``StemProfile``
    source: Source = "settings"
    is_settled: bool = False  # whether the chain is all that was done, though it may be empty


@dataclass(frozen=True)
class Request:
    """The request of a command: effects by name (empty: what the knowledge says, else clipping), files of what is known, and limits."""

    effects: tuple[str, ...] = ()
    settings: Path | None = None
    gain: Path | None = None
    dry: Path | None = None
    profile: Path | None = None
    least_confidence: float = LEAST_CONFIDENCE

    def plain(self) -> dict[str, Any]:
        """The request as plain values: what a result depends on, beside the recording."""
        files = {name: str(path) if (path := getattr(self, name)) else None for name in ("settings", "gain", "dry", "profile")}
        return {"effects": list(self.effects), **files, "least_confidence": self.least_confidence}


def check_request(request: Request, *, has_stems: bool) -> None:
    """Raises UsageError, with what to give instead, for effects that cannot be undone with what is known."""
    known = [name for name in ("settings", "gain", "dry", "profile") if getattr(request, name)]
    if len(known) > 1 and known != ["settings", "dry"]:  # a dry reference tells whether the settings are of this recording
        raise UsageError(f"--{known[0]} and --{known[1]} are both given; the settings can follow from one of them only")
    for name in request.effects:
        EFFECTS[name]  # raises, naming the nearest one
    if request.settings and request.effects:
        raise UsageError("--effect and --settings are both given; all effects of the settings are undone: leave out --effect")
    if request.profile and not has_stems:
        raise UsageError("--profile describes stems by their names: give --stems FOLDER, or --separate")
    if not 0.0 <= request.least_confidence <= 1.0:
        raise UsageError(f"expected a confidence from 0 to 1; got {request.least_confidence:g}")
    others = [name for name in request.effects if name != CLIP]
    if request.profile:
        _check_able(others, ESTIMATES, "can be estimated against a profile")
    elif request.dry or not known:
        able = [name for name, effect in EFFECTS.items() if hasattr(effect, "invert")]
        _check_able(others, able, "can be inverted")
    if others and not known:
        raise UsageError(
            f"the settings of {', '.join(others)} do not follow from the recording alone: give --settings FILE, --dry FILE, or --profile "
            "with --stems. Only clipping is found by itself"
        )


def _check_able(names: Sequence[str], able: Any, what: str) -> None:
    if lacking := [name for name in names if name not in able]:
        dynamic = [name for name in lacking if "dynamic" in EFFECTS[name].TRAITS]
        hint = f"; a {dynamic[0]} is undone by its gain curve: --gain-curve FILE" if dynamic else ""
        raise UsageError(f"{', '.join(lacking)}: only {', '.join([*able, CLIP])} {what}{hint}")
