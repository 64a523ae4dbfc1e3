"""The page of the public names: what ``import stemwright`` gives, with signatures and docstrings read by Sphinx."""

from __future__ import annotations

import inspect
from pathlib import Path

import stemwright

HEAD = """# Python

`import stemwright as sw` loads nothing heavy; a name is imported when it is first used. Every name on this page is public: it keeps its
meaning, and a change is announced in the [changelog](../changelog.md) before it is made. Everything else may change.

Audio is a float32 array `[C, T]` with full scale 1.0, unless a name says otherwise. What is silent has no loudness: `-inf`.

"""


GROUPS = {  # heading -> names; what is in no group is listed last
    "A mix balance": ("balance", "separate", "measure_balance", "DemucsSeparator", "ReferenceStems"),
    "A training corpus": ("build", "check", "report", "read_table", "PairDataset", "Vocabulary"),
    "Loudness": ("integrated_loudness", "momentary_loudness", "short_term_loudness", "loudness_range", "true_peak"),
    "Effects": ("EFFECTS", "apply_chain", "invert_chain", "fit", "fit_chain", "fit_console"),
    "Estimates without the dry signal": ("estimate_effects", "Profile", "estimate_reverberation"),
    "Clipping": ("detect_clipping", "declip"),
    "Edits by text": ("parse_edit", "edit"),
    "Sound files": ("load", "save", "blocks"),
}
MEMBERS = {  # of a class: what users call; all that it documents otherwise
    "DemucsSeparator": "stem_names, sample_rate, num_channels, origin, separate, separate_file",
    "ReferenceStems": "separate",
    "PairDataset": "pair, set_epoch",
}


def write(path: Path) -> None:
    """Writes the page."""
    names = [name for name in stemwright.__all__ if not name.startswith("_")]
    known = {name for group in GROUPS.values() for name in group}
    groups = {**GROUPS, "More": tuple(name for name in names if name not in known)}
    parts = [f"## {title}\n\n" + "\n".join(_name(name) for name in group if name in names) for title, group in groups.items() if group]
    path.write_text(HEAD + "\n".join(parts), encoding="utf-8")


def _name(name: str) -> str:
    value = getattr(stemwright, name)
    if inspect.isclass(value):
        members = MEMBERS.get(name, "")
        directive, options = "autoclass", f"\n   :members: {members}".rstrip()
    elif callable(value):
        directive, options = "autofunction", ""
    else:
        directive, options = "autodata", "\n   :no-value:"
    return f"### {name}\n\n```{{eval-rst}}\n.. currentmodule:: stemwright\n\n.. {directive}:: {name}{options}\n```\n"
