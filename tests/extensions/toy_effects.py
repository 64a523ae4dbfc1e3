"""Three effects of another package, in three modules: a fader, a compressor and an equaliser that are not ours, with what they state.

None of them has a fit: a search knows them by their traits and settings alone.
"""

from pathlib import Path

NAME, VERSION = "toy-effects", "0.1"
MODULES = {
    "trim": '''"""A gain without a place."""
from stemwright.datagen.effects.settings import EffectSettings, setting
from stemwright.datagen.effects.signal import checked, column

NAME = "trim"
TRAITS = frozenset({"linear", "time-invariant", "commutes", "level"})
TYPICAL = {"trim_db": (-9.0, 3.0)}


class Settings(EffectSettings):
    trim_db: float = setting(0.0, low=-36.0, high=12.0, unit="dB", gain=True, tolerance=0.5)


def apply(audio, sample_rate, settings):
    return checked(audio, sample_rate) * 10.0 ** (column(settings.trim_db, audio) / 20.0)
''',
    "leveller": '''"""A compressor with two settings: nothing is called as in ours, and it has no make-up."""
from stemwright.datagen.effects import compressor
from stemwright.datagen.effects.settings import EffectSettings, setting
from stemwright.datagen.effects.signal import checked

NAME = "leveller"
TRAITS = frozenset({"time-invariant", "level-dependent", "dynamic", "flattening"})
TYPICAL = {"knee_db": (-40.0, -20.0), "strength": (0.2, 0.8)}


class Settings(EffectSettings):
    knee_db: float = setting(0.0, low=-60.0, high=0.0, unit="dBFS", level="absolute", bound="threshold", tolerance=1.0)
    strength: float = setting(0.0, low=0.0, high=1.0, tolerance=0.05)


def apply(audio, sample_rate, settings):
    return audio * gain_curve(audio, sample_rate, settings)


def gain_curve(audio, sample_rate, settings):
    ratio = 1.0 / (1.0 - 0.99 * float(settings.strength))
    threshold_db = min(float(settings.knee_db), 0.0)
    ours = compressor.Settings(threshold_db=threshold_db, ratio=ratio, attack_ms=8.0, release_ms=80.0)
    return compressor.gain_curve(checked(audio, sample_rate), sample_rate, ours)
''',
    "even": '''"""The root mean square at a level: another package's normalising effect."""
import math

import torch

from stemwright.datagen.effects.settings import EffectSettings, setting
from stemwright.datagen.effects.signal import checked, column

NAME = "even"
TRAITS = frozenset({"time-invariant", "level", "normalising"})
TYPICAL = {"rms_db": (-30.0, -20.0)}


class Settings(EffectSettings):
    rms_db: float = setting(math.inf, low=-60.0, high=0.0, off=math.inf, unit="dBFS", level="absolute", description="level to reach")


def apply(audio, sample_rate, settings):
    return levelled(audio, sample_rate, settings)[0]


def levelled(audio, sample_rate, settings):
    gain = gain_db(checked(audio, sample_rate), sample_rate, settings)
    return audio * 10.0 ** (gain.to(audio)[..., None, None] / 20.0), gain


def gain_db(audio, sample_rate, settings):
    target = column(settings.rms_db, audio.double())[..., 0, 0]
    gain = target - 10.0 * torch.log10(audio.double().square().mean((-2, -1)))
    return torch.where(torch.isfinite(gain), gain, torch.zeros_like(gain))


def is_too_soft(audio, sample_rate, settings):
    return bool((audio.square().mean((-2, -1)) == 0).any())


def reached(settings, loudness_lufs, peak_dbfs):
    return peak_dbfs is not None and peak_dbfs > settings["rms_db"] - 1.0
''',
    "tilt": '''"""More treble and less bass, or the other way round."""
from stemwright.datagen.effects.dsp.biquads import cascade, shelf
from stemwright.datagen.effects.settings import EffectSettings, setting
from stemwright.datagen.effects.signal import checked

NAME = "tilt"
TRAITS = frozenset({"linear", "time-invariant", "commutes", "filter"})
TYPICAL = {"tilt_db": (-6.0, 6.0)}


class Settings(EffectSettings):
    tilt_db: float = setting(0.0, low=-12.0, high=12.0, unit="dB", tolerance=1.0)


def apply(audio, sample_rate, settings):
    return cascade(checked(audio, sample_rate), sections(settings, sample_rate))


def sections(settings, sample_rate):
    bass, treble = (sign * 0.5 * settings.tilt_db for sign in (-1.0, 1.0))
    return [shelf(bass, 800.0, 0.5, sample_rate, high=False), shelf(treble, 800.0, 0.5, sample_rate, high=True)]
''',
}
FIT_RESPONSE = """

def fit_response(response, sample_rate, *, near=None, rounds=1, level_free=False):
    from scipy.optimize import minimize_scalar
    import numpy as np
    from stemwright.datagen.effects.dsp.biquads import response as of_sections

    weight = 1.0 / (response.error_db**2 + 0.01)

    def miss(tilt_db):
        ours = of_sections(sections(Settings(tilt_db=float(tilt_db)), sample_rate), response.hz, sample_rate)
        off_db = 20.0 * np.log10(np.abs(response.gain) / np.abs(ours) + 1e-9)
        return float((weight * (off_db - np.average(off_db, weights=weight)) ** 2).sum())

    return Settings(tilt_db=float(minimize_scalar(miss, bounds=(-12.0, 12.0), method="bounded").x))
"""


def install(folder: Path, *, with_fit_response: bool = False) -> Path:
    """Writes the package as a distribution into a folder, which then belongs on the path."""
    (folder / "toy_effects").mkdir(parents=True)
    (folder / "toy_effects" / "__init__.py").write_text("")
    for name, text in MODULES.items():
        more = FIT_RESPONSE if with_fit_response and name == "tilt" else ""
        (folder / "toy_effects" / f"{name}.py").write_text(text + more)
    info = folder / "toy_effects-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {NAME}\nVersion: {VERSION}\n")
    points = "\n".join(f"{name} = toy_effects.{name}" for name in MODULES)
    (info / "entry_points.txt").write_text(f"[stemwright.effects]\n{points}\n")
    return folder
