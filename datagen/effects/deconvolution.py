"""Finding a room from a dry and a wet signal: deconvolution, then decay by bands.

Conventions
    What the room added is wet minus dry; its response is the regularised quotient of the spectra. The noise of the response itself cannot
    be named (``seed`` stays 0): decay, damping, pre-delay and level are what a room with other noise can share. Signals are [C, T].
    A dry signal shows only the frequencies that it holds. Of noise the decay is found within a few per cent, of drums, voices and chords
    within about a tenth; of a bass, whose gaps nothing fills, neither decay nor pre-delay can be trusted. The level comes from energies,
    not from the response, and holds within a decibel on most music. ``benchmarks/fit.py`` prints the errors.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.fft import irfft, next_fast_len, rfft
from scipy.optimize import minimize
from scipy.signal import butter, lfilter, sosfiltfilt

from datagen.effects import room
from datagen.effects.signal import NotIdentifiableError, pair

COVERAGE = 0.8  # of a band that the dry signal must fill for its decay to be believed
# Of the mean power of the dry signal. The first shows the decay; the onset is taken from the one whose response stands out most.
REGULARISATIONS = (1e-7, 1e-5, 1e-3)
WINDOW, HOP = 512, 128  # samples, for the energies that give the level
# The inner part of each band of the room, and the frequency that its decay is that of.
BANDS_HZ = ((80.0, 400.0, room.EDGES_HZ[0] / 2.0**1.5), *((1.2 * edge, 1.8 * edge, edge * math.sqrt(2.0)) for edge in room.EDGES_HZ))
FRAME_S = 0.01
LONGEST_S = 10.0


def fit_room(wet: torch.Tensor, dry: torch.Tensor, sample_rate: int) -> room.Settings:
    """Decay, damping, pre-delay and level of the room that turns dry into wet."""
    wet, dry = pair(wet, dry)
    added = (wet - dry).numpy()
    if not float((added**2).sum()) > 1e-10 * float(dry.square().sum()):
        raise NotIdentifiableError("wet is dry: there is no room between them")
    size = next_fast_len(2 * dry.shape[-1], real=True)
    spectrum, target = rfft(dry.numpy(), size), rfft(added, size)
    power = np.abs(spectrum) ** 2
    hz = np.arange(power.shape[-1]) * sample_rate / size
    onsets, responses, shares = [], [], []
    for share in REGULARISATIONS:
        floored = power + share * power.mean(-1, keepdims=True)
        response = irfft(target * spectrum.conj() / floored, size)
        # Negative times hold what deconvolution makes of noise and of missing frequencies: the floor.
        responses.append((response[:, : size // 2], response[:, size // 2 :]))
        onsets.append(_onset(*responses[-1], sample_rate))
        shares.append((power / floored).mean(0))
    start = max(onsets, key=lambda onset: onset[1])[0]
    (tail, before), heard = responses[0], shares[0]
    bands = [band for band in BANDS_HZ if band[1] < 0.48 * sample_rate and heard[(hz > band[0]) & (hz < band[1])].mean() > COVERAGE]
    rates, weights, places = _decays(tail[:, start:], before, sample_rate, bands)
    # 1 / T_b = (1 + damping f_b / 4 kHz) / rt60 is a line over the frequency of the band.
    if len(rates) > 1 and max(places) > 2.0 * min(places):
        slope, level = np.polyfit(np.array(places) / room.DAMPED_HZ, rates, 1, w=weights)
    else:
        slope, level = 0.0, float(np.average(rates, weights=weights))
    level = max(level, 1.0 / LONGEST_S)
    rt60_s, damping = 1.0 / level, min(max(slope / level, 0.0), 4.0)
    found = room.Settings(
        rt60_s=min(max(rt60_s, 0.05), LONGEST_S), pre_delay_ms=min(1000.0 * start / sample_rate, 200.0), damping=damping, wet_db=0.0
    )
    return found.model_copy(update={"wet_db": min(max(_level_db(added, dry.numpy(), sample_rate, found), -60.0), 12.0)})


def _level_db(added: np.ndarray, dry: np.ndarray, sample_rate: int, settings: room.Settings) -> float:
    """The energy of the room's response, from the short spectra of what it added: every time and frequency has one vote.

    The power that a room of decaying noise adds is, in the mean over rooms, that of dry, delayed and smeared by the decay. The power of one
    room is that times a number drawn for each place.
    """
    powers = [_powers(audio) for audio in (added, dry)]
    hz = np.fft.rfftfreq(WINDOW, 1.0 / sample_rate)
    edges = [0.0, *room.EDGES_HZ, math.inf]
    late = round(settings.pre_delay_ms * sample_rate / 1000.0 / HOP)
    quotients, energies = [], []
    for low_hz, high_hz, centre_hz in zip(edges, edges[1:], [band[2] for band in BANDS_HZ], strict=False):
        rows = (hz >= max(low_hz, 60.0)) & (hz < high_hz)
        if not rows.any():
            continue
        rate = 6.0 * math.log(10.0) * (1.0 + settings.damping * centre_hz / room.DAMPED_HZ) / settings.rt60_s
        keep = math.exp(-rate * HOP / sample_rate)
        expected = lfilter([0.0] * late + [1.0 - keep], [1.0, -keep], powers[1][:, rows], axis=-1)
        heard = expected > 1e-6 * expected.mean((0, 2), keepdims=True)
        # Noise of one density in all bands: a band's energy falls with its decay.
        energies.append((1.0 / rate, int(rows.sum())))
        quotients.append(rate * powers[0][:, rows][heard] / expected[heard])
    # The quotients are exponentially distributed; their median is not carried away where short spectra smear an onset.
    density = float(np.median(np.concatenate(quotients))) / math.log(2.0)
    mean = sum(energy * number for energy, number in energies) / sum(number for _, number in energies)
    return 10.0 * math.log10(max(density * mean, 1e-12))


def _powers(audio: np.ndarray) -> np.ndarray:
    window = torch.hann_window(WINDOW, dtype=torch.float64)
    spectrum = torch.stft(torch.from_numpy(audio), WINDOW, HOP, window=window, center=True, pad_mode="constant", return_complex=True)
    return np.asarray(spectrum.abs().square())


def _onset(tail: np.ndarray, before: np.ndarray, sample_rate: int) -> tuple[int, float]:
    """The first sample of the response, and how far it stands out of the floor.

    It begins where its energy within a millisecond first comes near its early maximum.
    """
    width = max(round(0.001 * sample_rate), 4)
    energy = np.cumsum(np.concatenate([[0.0], (tail[:, : round(0.5 * sample_rate)] ** 2).sum(0)]))
    smooth = energy[width:] - energy[:-width]
    floor = float((before**2).sum(0).mean()) * width
    high = float(np.quantile(smooth, 0.98))
    level = floor + 0.2 * (high - floor)
    # A window passes a fifth of the level when a fifth of it lies inside.
    return max(int(np.argmax(smooth > level)) + round(0.8 * width), 0), high / max(floor, 1e-300)


def _decays(
    tail: np.ndarray, before: np.ndarray, sample_rate: int, bands: list[tuple[float, float, float]]
) -> tuple[list[float], list[float], list[float]]:
    """1 / T of each band of the room that rises above its floor, with a weight and the band's centre in Hz.

    The energy of a frame is a decay over a floor times a random number of known distribution: both are where that is most likely.
    """
    rates, weights, places = [], [], []
    for low_hz, high_hz, centre_hz in bands:
        sos = butter(3, (low_hz, high_hz), "bandpass", fs=sample_rate, output="sos")
        width = round(FRAME_S * sample_rate)
        frames = [_frames(sosfiltfilt(sos, part), width) for part in (tail[:, : round(LONGEST_S * sample_rate)], before)]
        floor = float(frames[1][len(frames[1]) // 2 :].mean())
        height_db = 10.0 * math.log10(float(frames[0][:2].mean()) / max(floor, 1e-30))
        if height_db < 10.0:
            continue
        time_s = (np.arange(len(frames[0])) + 0.5) * FRAME_S

        def unlikely(values: np.ndarray, energy: np.ndarray = frames[0], time_s: np.ndarray = time_s, floor: float = floor) -> float:
            expected = np.exp(values[0] - 6.0 * math.log(10.0) * time_s * math.exp(values[1])) + floor
            return float((np.log(expected) + energy / expected).mean())

        starts = [[math.log(frames[0][:2].mean()), -math.log(t)] for t in (0.2, 0.6, 2.0)]
        found = min((minimize(unlikely, start, method="Nelder-Mead") for start in starts), key=lambda result: result.fun)
        rates.append(math.exp(found.x[1]))
        # The error of a rate falls with its band's width and the part of the decay above the floor.
        weights.append(math.sqrt(high_hz - low_hz) * min(height_db, 40.0) / math.exp(found.x[1]))
        places.append(centre_hz)
    if not rates:
        raise NotIdentifiableError(
            "the response between dry and wet does not decay: dry is too short or too narrow, or no room lies between them"
        )
    return rates, weights, places


def _frames(signal: np.ndarray, width: int) -> np.ndarray:
    """Mean energy of the channels in frames of ``width`` samples."""
    number = signal.shape[-1] // width
    return np.asarray((signal[:, : number * width] ** 2).reshape(len(signal), number, width).mean((0, 2)))
