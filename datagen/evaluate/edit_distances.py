"""How far an edited mixture is from the requested edit: the two figures of AMSS-Net.

Conventions
    Audio is float [2, T], both on the scale of the pair (``AmssPair``). MAE is the mean absolute difference of all samples.
    MFCC-RMSE: 13 coefficients of 128 mel bands, spectra of 4096 samples 2048 apart, of each channel; the root of the mean square over the
    26 coefficients of both, averaged over frames, as scikit-learn 0.24 and later takes the RMSE of several outputs.

References
    Choi, Kim, Martinez Ramirez, Chung, Jung 2021, "AMSS-Net: Audio manipulation on user-specified sources with textual queries", and its
    repository ws-choi/AMSS-Net, task2_eval.py.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

COEFFICIENTS, MEL_BANDS, FRAME, HOP = 13, 128, 4096, 2048
Array = NDArray[np.floating]


def mean_absolute_error(found: Array, wanted: Array) -> float:
    """Mean absolute difference of two signals [C, T]. Raises ValueError where the shapes differ.

    >>> from stemwright.datagen.evaluate.edit_distances import mean_absolute_error
    >>> import numpy as np
    >>> mean_absolute_error(np.array([[0.0, 0.5]]), np.array([[0.25, 0.25]]))
    0.25
    """
    _check(found, wanted)
    return float(np.abs(found.astype(np.float64) - wanted).mean())


def mfcc_rmse(found: Array, wanted: Array, sample_rate: int) -> float:
    """Root mean square difference of the cepstra of two signals [C, T], averaged over frames; 0 if they are equal.

    Raises ValueError where the shapes differ.
    """
    _check(found, wanted)
    one, other = (np.concatenate([_mfcc(channel, sample_rate) for channel in audio]) for audio in (found, wanted))
    return float(np.sqrt(np.square(one - other).mean(axis=0)).mean())


def _mfcc(samples: Array, sample_rate: int) -> Array:
    import librosa

    found: Array = librosa.feature.mfcc(
        y=samples.astype(np.float32), sr=sample_rate, n_mfcc=COEFFICIENTS, n_mels=MEL_BANDS, n_fft=FRAME, hop_length=HOP
    )
    return found.astype(np.float64)


def _check(found: Array, wanted: Array) -> None:
    if found.shape != wanted.shape or found.ndim != 2:
        raise ValueError(f"expected two signals of one shape [channels, time]; got {list(found.shape)} and {list(wanted.shape)}")
