"""The stages of a corpus: each reads the tables before it and writes its own; one file each.

    catalog -> tracks      separate -> stems      estimate -> estimates      plan -> pairs      render -> dataset/ and examples

Conventions
    A stage takes the corpus, where its work is to be done, and whom to tell about progress, and returns a ``Summary``.
"""

from __future__ import annotations

from datagen.stages.base import Summary
from datagen.stages.cataloguing import run_catalog
from datagen.stages.estimating import run_estimate
from datagen.stages.planning import run_plan
from datagen.stages.rendering import run_render
from datagen.stages.separating import run_separate, separator_of

__all__ = ["Summary", "run_catalog", "run_estimate", "run_plan", "run_render", "run_separate", "separator_of"]
