"""The stages of a corpus: each reads the tables before it and writes its own; one file each.

    catalog -> tracks      separate -> stems      estimate -> estimates      plan -> pairs      render -> dataset/ and examples

Conventions
    A stage takes the corpus, its workers and a progress callback, and returns a ``Summary``.
"""

from __future__ import annotations

from stemwright.datagen.run.stages.cataloguing import run_catalog
from stemwright.datagen.run.stages.estimating import run_estimate
from stemwright.datagen.run.stages.planning import run_plan
from stemwright.datagen.run.stages.rendering import run_render
from stemwright.datagen.run.stages.separating import run_separate, separator_of
from stemwright.datagen.run.stages.summary import Summary

__all__ = ["Summary", "run_catalog", "run_estimate", "run_plan", "run_render", "run_separate", "separator_of"]
