"""stemwright turns released mixtures into training data for music mixing models: ``import stemwright as sw``.

    a training corpus     build, check, report, read_table, PairDataset, Vocabulary
    a mix balance         balance, compare_songs, separate, measure_balance, DemucsSeparator, ReferenceStems
    loudness              integrated_loudness, momentary_loudness, short_term_loudness, loudness_range, true_peak
    effects               EFFECTS, apply_chain, invert_chain, fit, fit_chain, fit_console, estimate_effects, Profile,
                          estimate_reverberation
    clipping              detect_clipping, declip
    edits by text         parse_edit, edit
    sound files           load, save, blocks
    extensions            the contracts that they must fulfil: ``from stemwright import testing``

Every name here has a docstring with an example: ``help(sw.balance)``. They are kept: a change to one is announced in CHANGELOG, and the
old form works for one release with a DeprecationWarning. Everything else is private by omission and may change at any time.

Conventions
    Audio is float numpy [C, T], full scale 1.0; effects and fits take torch tensors as well. Time is the last axis, ``sample_rate`` in Hz.
    Loudness is in LUFS, levels against a mixture in LU, gains in dB. What a user got wrong is a ValueError that says what to do.
    Nothing is imported before it is used.

The sources are in the folders ``manifests``, ``separation`` and ``datagen`` of the repository. This folder gives them their one import
name: the wheel maps them below ``stemwright`` (``package-dir`` in ``pyproject.toml``), and in a checkout they are links, so that Python,
pytest, mypy and editors see a new file at once. A strict editable install would need to be made again for every file.
"""

import difflib
import importlib
import logging
from typing import TYPE_CHECKING, Any

from stemwright.manifests import __version__

if TYPE_CHECKING:
    from stemwright.datagen.dataset.labels import Vocabulary
    from stemwright.datagen.dataset.loader import PairDataset
    from stemwright.datagen.effects import EFFECTS, apply_chain, invert_chain
    from stemwright.datagen.inverse import fit
    from stemwright.datagen.inverse.blind.heard_reverberation import estimate_reverberation
    from stemwright.datagen.inverse.blind.profile import Profile
    from stemwright.datagen.inverse.blind.stem_estimates import estimate_effects
    from stemwright.datagen.inverse.chain import fit_chain
    from stemwright.datagen.inverse.clipping.declipping import declip
    from stemwright.datagen.inverse.clipping.detect import detect_clipping
    from stemwright.datagen.inverse.console import fit_console
    from stemwright.datagen.public.corpora import build, check, report
    from stemwright.datagen.public.mix_balance import balance
    from stemwright.datagen.public.song_edits import edit, parse_edit
    from stemwright.datagen.public.song_groups import compare_songs
    from stemwright.datagen.public.song_stems import separate
    from stemwright.datagen.public.sound_files import blocks, load
    from stemwright.manifests.sound.writing import save
    from stemwright.manifests.table import frame as read_table
    from stemwright.separation.balance.measure import measure_balance
    from stemwright.separation.demucs.separator import DemucsSeparator
    from stemwright.separation.loudness.meter import integrated_loudness, loudness_range, momentary_loudness, short_term_loudness
    from stemwright.separation.loudness.true_peak import true_peak
    from stemwright.separation.separator import ReferenceStems

# Public name -> where it is: what ``__getattr__`` imports when the name is first used. The imports above say the same to type checkers.
PUBLIC = {
    "EFFECTS": "stemwright.datagen.effects:EFFECTS",
    "DemucsSeparator": "stemwright.separation.demucs.separator:DemucsSeparator",
    "PairDataset": "stemwright.datagen.dataset.loader:PairDataset",
    "Profile": "stemwright.datagen.inverse.blind.profile:Profile",
    "ReferenceStems": "stemwright.separation.separator:ReferenceStems",
    "Vocabulary": "stemwright.datagen.dataset.labels:Vocabulary",
    "apply_chain": "stemwright.datagen.effects:apply_chain",
    "balance": "stemwright.datagen.public.mix_balance:balance",
    "blocks": "stemwright.datagen.public.sound_files:blocks",
    "build": "stemwright.datagen.public.corpora:build",
    "check": "stemwright.datagen.public.corpora:check",
    "compare_songs": "stemwright.datagen.public.song_groups:compare_songs",
    "declip": "stemwright.datagen.inverse.clipping.declipping:declip",
    "detect_clipping": "stemwright.datagen.inverse.clipping.detect:detect_clipping",
    "edit": "stemwright.datagen.public.song_edits:edit",
    "estimate_effects": "stemwright.datagen.inverse.blind.stem_estimates:estimate_effects",
    "estimate_reverberation": "stemwright.datagen.inverse.blind.heard_reverberation:estimate_reverberation",
    "fit": "stemwright.datagen.inverse:fit",
    "fit_chain": "stemwright.datagen.inverse.chain:fit_chain",
    "fit_console": "stemwright.datagen.inverse.console:fit_console",
    "integrated_loudness": "stemwright.separation.loudness.meter:integrated_loudness",
    "invert_chain": "stemwright.datagen.effects:invert_chain",
    "load": "stemwright.datagen.public.sound_files:load",
    "loudness_range": "stemwright.separation.loudness.meter:loudness_range",
    "measure_balance": "stemwright.separation.balance.measure:measure_balance",
    "momentary_loudness": "stemwright.separation.loudness.meter:momentary_loudness",
    "parse_edit": "stemwright.datagen.public.song_edits:parse_edit",
    "read_table": "stemwright.manifests.table:frame",
    "report": "stemwright.datagen.public.corpora:report",
    "save": "stemwright.manifests.sound.writing:save",
    "separate": "stemwright.datagen.public.song_stems:separate",
    "short_term_loudness": "stemwright.separation.loudness.meter:short_term_loudness",
    "true_peak": "stemwright.separation.loudness.true_peak:true_peak",
}

__all__ = [
    "EFFECTS",
    "DemucsSeparator",
    "PairDataset",
    "Profile",
    "ReferenceStems",
    "Vocabulary",
    "__version__",
    "apply_chain",
    "balance",
    "blocks",
    "build",
    "check",
    "compare_songs",
    "declip",
    "detect_clipping",
    "edit",
    "estimate_effects",
    "estimate_reverberation",
    "fit",
    "fit_chain",
    "fit_console",
    "integrated_loudness",
    "invert_chain",
    "load",
    "loudness_range",
    "measure_balance",
    "momentary_loudness",
    "parse_edit",
    "read_table",
    "report",
    "save",
    "separate",
    "short_term_loudness",
    "true_peak",
]

logging.getLogger("stemwright").addHandler(logging.NullHandler())  # as libraries do: the program that uses this one decides what is shown


def __getattr__(name: str) -> Any:
    if name not in PUBLIC:
        near = difflib.get_close_matches(name, PUBLIC, n=1, cutoff=0.6) if not name.startswith("_") else []
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise AttributeError(f"module 'stemwright' has no attribute {name!r}{hint}", name=name)
    module, _, attribute = PUBLIC[name].partition(":")
    found = getattr(importlib.import_module(module), attribute)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
