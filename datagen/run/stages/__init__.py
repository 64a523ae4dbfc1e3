"""The stages of a corpus: each reads the tables before it and writes its own; one file each.

    catalog -> tracks      separate -> stems      estimate -> estimates      plan -> pairs      render -> dataset/ and examples

Conventions
    A stage takes the corpus, its workers and a progress callback, and returns a ``Summary``.
    A stage is imported when it is first looked up: planning needs no kernels and no networks.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from stemwright.datagen.run.stages.summary import Summary
from stemwright.datagen.run.tasks import Workers

if TYPE_CHECKING:
    from stemwright.datagen.run.stages.cataloguing import run_catalog
    from stemwright.datagen.run.stages.estimating import run_estimate
    from stemwright.datagen.run.stages.planning import run_plan
    from stemwright.datagen.run.stages.rendering import run_render
    from stemwright.datagen.run.stages.separating import run_separate
    from stemwright.datagen.run.stages.separator_order import separator_of

__all__ = ["Summary", "build_stages", "run_catalog", "run_estimate", "run_plan", "run_render", "run_separate", "separator_of"]

MODULES = {
    "run_catalog": "cataloguing",
    "run_estimate": "estimating",
    "run_plan": "planning",
    "run_render": "rendering",
    "run_separate": "separating",
    "separator_of": "separator_order",
}


def __getattr__(name: str) -> Any:
    if name not in MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{MODULES[name]}"), name)


def build_stages(
    workers: Workers | None = None, *, limit: int | None = None, offline: bool = False, trust_pickle: bool = False
) -> dict[str, Callable[..., Summary]]:
    """The stages of a build by name, in their order, each a function of the corpus and ``on_progress``; without workers in this process.

    ``limit`` is the number of songs; ``offline`` and ``trust_pickle`` say how weights may be fetched and read.
    """
    from stemwright.datagen.run.stages.cataloguing import run_catalog
    from stemwright.datagen.run.stages.estimating import run_estimate
    from stemwright.datagen.run.stages.planning import run_plan
    from stemwright.datagen.run.stages.rendering import run_render
    from stemwright.datagen.run.stages.separating import run_separate

    workers = workers or Workers()
    elsewhere = replace(workers, resources={})  # a GPU is for the networks; the other stages use all workers
    return {
        "catalog": partial(run_catalog, workers=elsewhere, limit=limit),
        "separate": partial(run_separate, offline=offline, trust_pickle=trust_pickle, workers=workers),
        "estimate": partial(run_estimate, workers=elsewhere),
        "plan": run_plan,
        "render": partial(run_render, workers=elsewhere),
    }
