"""Settings of filters, from the frequency response: gain, cutoff, order, and centre, gain and q of peaks and shelves.

Conventions
    The response is the Fourier transform of the response to an impulse, evaluated at any frequency; the length is such that a filter of
    the expected frequency has died away. ``warped`` is tan(π f / sample_rate): filters by the bilinear transform have the shape of their
    analogue prototype over it, so q, order and the slope of a shelf are measured there.

References
    Butterworth 1930: |H|^-2 = 1 + r^2N. Bristow-Johnson, "Cookbook formulae for audio equalizer biquad filter coefficients" (W3C note,
    2021), analogue prototypes: a peak has half of its gain in dB at x - 1/x = ±1/q, a shelf half of it at x = 1.
"""

from __future__ import annotations

import math

import numpy as np

from stemwright.datagen.evaluate.label_measures.systems import Measure, Signal, System, db, impulse

HALF_POWER_DB = 10.0 * math.log10(2.0)
GRID = 3000
DEAD = 1e-9  # of the highest sample: what a response is cut at
NYQUIST = 0.4999  # of the sample rate: the highest frequency that is looked at


class MeasuredResponse:
    """The gain in dB of a system at any frequency."""

    def __init__(self, system: System, lowest_hz: float, slowness: float = 1.0) -> None:
        self.sample_rate = system.sample_rate
        whole = impulse(system, min(max(1.0, 40.0 * slowness / lowest_hz), 8.0), lead_s=min(max(0.1, 10.0 / lowest_hz), 1.0))
        audible = np.flatnonzero(np.abs(whole) > DEAD * np.abs(whole).max())
        self.impulse = whole[audible[0] : audible[-1] + 1] if len(audible) else whole[:1]
        self.time = np.arange(len(self.impulse)) / self.sample_rate

    def gain_db(self, hz: float) -> float:
        """The gain at a frequency."""
        return db(abs(np.dot(self.impulse, np.exp(-2j * math.pi * hz * self.time))))

    @property
    def at_nyquist_db(self) -> float:
        """The gain at half the sample rate."""
        return self.gain_db(self.sample_rate / 2.0)

    def grid(self, lowest_hz: float = 2.0) -> tuple[Signal, Signal]:
        """Frequencies evenly spaced in pitch up to half the sample rate, and the gain at each, interpolated between bins."""
        size = 2 ** max(18, math.ceil(math.log2(len(self.impulse))))
        gains = 20.0 * np.log10(np.maximum(np.abs(np.fft.rfft(self.impulse, size)), 1e-30))
        hz = np.geomspace(lowest_hz, NYQUIST * self.sample_rate, GRID)
        return hz, np.interp(hz, np.fft.rfftfreq(size, 1.0 / self.sample_rate), gains)

    def crossing_hz(self, level_db: float, below_hz: float, above_hz: float) -> float:
        """Where the gain crosses a level between two frequencies, at which it is on different sides of it. By bisection."""
        rises = self.gain_db(above_hz) > level_db
        for _ in range(32):
            middle = math.sqrt(below_hz * above_hz)
            if (self.gain_db(middle) > level_db) == rises:
                above_hz = middle
            else:
                below_hz = middle
        return math.sqrt(below_hz * above_hz)

    def warped(self, hz: float) -> float:
        """The frequency of the analogue prototype, but for a factor."""
        return math.tan(math.pi * hz / self.sample_rate)

    def unwarped(self, x: float) -> float:
        """The inverse of ``warped``."""
        return math.atan(x) * self.sample_rate / math.pi

    def first_crossing_hz(self, level_db: float, *, downwards: bool) -> float:
        """Where the gain first leaves the pass band, seen from its lower (``downwards`` in pitch False) or upper end."""
        hz, gains = self.grid()
        if downwards:
            hz, gains = hz[::-1], gains[::-1]
        outside = np.flatnonzero(gains < level_db)
        if len(outside) == 0 or outside[0] == 0:
            return math.nan
        pair = sorted((float(hz[outside[0] - 1]), float(hz[outside[0]])))
        return self.crossing_hz(level_db, *pair)


def gain_at(hz: float) -> Measure:
    """The gain in dB at a frequency."""
    return lambda system, _: MeasuredResponse(system, hz).gain_db(hz)


def cutoff(*, high: bool, drop_db: float = HALF_POWER_DB) -> Measure:
    """The frequency in Hz at which a low-pass (or high-pass) has lost 3.01 dB of its gain at 0 Hz (or half the sample rate)."""

    def measure(system: System, expected: float) -> float:
        response = MeasuredResponse(system, expected)
        reference = response.at_nyquist_db if high else response.gain_db(0.0)
        return response.first_crossing_hz(reference - drop_db, downwards=high)

    return measure


def order(cutoff_hz: float, *, high: bool) -> Measure:
    """The order of a Butterworth filter: half of the slope of |H|^-2 - 1 over the warped frequency, both logarithmic."""

    def measure(system: System, _: float) -> float:
        response = MeasuredResponse(system, cutoff_hz)
        reference = response.at_nyquist_db if high else response.gain_db(0.0)
        edge_hz = response.first_crossing_hz(reference - HALF_POWER_DB, downwards=high)
        if math.isnan(edge_hz):
            return math.nan
        ratios = (1.5, 2.5)
        lost = []
        for ratio in ratios:
            x = response.warped(edge_hz) * (1.0 / ratio if high else ratio)
            lost.append(10.0 ** ((reference - response.gain_db(response.unwarped(x))) / 10.0) - 1.0)
        return 0.5 * math.log(lost[1] / lost[0]) / math.log(ratios[1] / ratios[0])

    return measure


def slope_db(cutoff_hz: float, *, high: bool) -> Measure:
    """The slope of a filter in dB an octave: 6.02 times its order."""
    of = order(cutoff_hz, high=high)
    return lambda system, expected: 20.0 * math.log10(2.0) * of(system, expected)


def _extremum(response: MeasuredResponse) -> tuple[float, float]:
    """Frequency and gain where the response is furthest from its gain at 0 Hz, refined by golden section."""
    floor = response.gain_db(0.0)
    hz, gains = response.grid()
    place = int(np.argmax(np.abs(gains - floor)))
    low, high = float(hz[max(place - 2, 0)]), float(hz[min(place + 2, GRID - 1)])
    ratio = (math.sqrt(5.0) - 1.0) / 2.0
    for _ in range(28):
        near, far = high * (low / high) ** ratio, low * (high / low) ** ratio
        if abs(response.gain_db(near) - floor) > abs(response.gain_db(far) - floor):
            high = far
        else:
            low = near
    centre = math.sqrt(low * high)
    return centre, response.gain_db(centre) - floor


def peak_hz(system: System, expected: float) -> float:
    """The frequency of a peak or dip, in Hz."""
    return _extremum(MeasuredResponse(system, expected, 3.0))[0]


def peak_db(lowest_hz: float = 100.0) -> Measure:
    """The gain of a peak or dip against that at 0 Hz, in dB."""
    return lambda system, _: _extremum(MeasuredResponse(system, lowest_hz, 3.0))[1]


def peak_q(near_hz: float) -> Measure:
    """The q of a peak: its centre over the width between the points of half its gain in dB, on the warped frequency axis."""

    def measure(system: System, _: float) -> float:
        response = MeasuredResponse(system, near_hz, 5.0)
        centre, gain = _extremum(response)
        half = response.gain_db(0.0) + gain / 2.0
        lower = response.warped(response.crossing_hz(half, 0.01, centre))
        upper = response.warped(response.crossing_hz(half, centre, NYQUIST * response.sample_rate))
        return response.warped(centre) / (upper - lower)

    return measure


def _band_edges(response: MeasuredResponse, *, notch: bool, drop_db: float = HALF_POWER_DB) -> tuple[float, float]:
    """Where a band-pass has lost 3.01 dB of its greatest gain, or a band-stop of its gain at 0 Hz, on both sides."""
    hz, gains = response.grid()
    place = int(np.argmin(gains) if notch else np.argmax(gains))
    level = (response.gain_db(0.0) if notch else response.gain_db(float(hz[place]))) - drop_db
    middle = float(hz[place])
    return response.crossing_hz(level, 0.5, middle), response.crossing_hz(level, middle, NYQUIST * response.sample_rate)


def band_centre(*, notch: bool, drop_db: float = HALF_POWER_DB) -> Measure:
    """The middle of both edges of a band-pass or band-stop, in Hz."""
    return lambda system, expected: sum(_band_edges(MeasuredResponse(system, expected / 4.0), notch=notch, drop_db=drop_db)) / 2.0


def band_share(*, notch: bool, drop_db: float = HALF_POWER_DB) -> Measure:
    """The width of a band-pass or band-stop over the middle of its edges."""

    def measure(system: System, _: float) -> float:
        low, high = _band_edges(MeasuredResponse(system, 100.0), notch=notch, drop_db=drop_db)
        return 2.0 * (high - low) / (high + low)

    return measure


def band_q(near_hz: float, *, notch: bool) -> Measure:
    """The q of a band-pass or notch of second order: its centre over its width in Hz between the points of -3.01 dB."""

    def measure(system: System, _: float) -> float:
        response = MeasuredResponse(system, near_hz, 10.0)
        low, high = _band_edges(response, notch=notch)
        return response.unwarped(math.sqrt(response.warped(low) * response.warped(high))) / (high - low)

    return measure


def band_middle(*, notch: bool) -> Measure:
    """The geometric middle of both edges on the warped axis, in Hz: the centre of a filter of second order."""

    def measure(system: System, expected: float) -> float:
        response = MeasuredResponse(system, expected, 5.0)
        low, high = (response.warped(edge) for edge in _band_edges(response, notch=notch))
        return response.unwarped(math.sqrt(low * high))

    return measure


def shelf_db(*, high: bool) -> Measure:
    """The gain of a low (or high) shelf in dB: that at its end of the spectrum against the other end."""

    def measure(system: System, _: float) -> float:
        response = MeasuredResponse(system, 20.0)
        difference = response.gain_db(0.0) - response.at_nyquist_db
        return -difference if high else difference

    return measure


def _shelf_centre_hz(response: MeasuredResponse) -> float:
    half = (response.gain_db(0.0) + response.at_nyquist_db) / 2.0
    return response.crossing_hz(half, 0.5, NYQUIST * response.sample_rate)


def shelf_hz(system: System, expected: float) -> float:
    """The frequency in Hz at which a shelf has half of its gain in dB."""
    return _shelf_centre_hz(MeasuredResponse(system, expected, 3.0))


def shelf_q(near_hz: float) -> Measure:
    """The q of a shelf, of its slope s where it has half of its gain: with A = 10^(gain / 40) the prototype has
    s = d ln|H| / d ln x = 2 (A^2 - 1) / ((A - 1)^2 + A / q^2), which is solved for q.
    """

    def measure(system: System, _: float) -> float:
        response = MeasuredResponse(system, near_hz, 5.0)
        root = 10.0 ** (abs(response.gain_db(0.0) - response.at_nyquist_db) / 40.0)
        x, step = response.warped(_shelf_centre_hz(response)), 0.01
        gains = [response.gain_db(response.unwarped(x * factor)) for factor in (1.0 - step, 1.0 + step)]
        slope = abs(gains[1] - gains[0]) * math.log(10.0) / 20.0 / math.log((1.0 + step) / (1.0 - step))
        rest = 2.0 * (root**2 - 1.0) / slope - (root - 1.0) ** 2
        return math.sqrt(root / rest) if rest > 0.0 else math.nan

    return measure
