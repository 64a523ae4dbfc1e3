"""Kernels of the declipper: covariances of the clipped samples of many frames, and the bounds that each of these samples has.

Conventions
    F frames of N samples, of which the clipped ones of frame f are ``places[starts[f] : starts[f + 1]]``, increasing. Everything is
    float64. A sample is multiplied by its sign before it meets its bound, so that each bound is a lower one.

References
    Minka 2001, "Expectation propagation for approximate Bayesian inference": a bound as a Gaussian factor, precision ``tau`` and ``nu``
    its product with the mean, that gives the marginal the moments of the truncated one.
"""

from __future__ import annotations

import math

from stemwright.separation.kernels import njit

FAR = 8.0  # standard deviations beyond which the moments of a truncated normal follow from their asymptotic series


@njit(nogil=True)
def fill_precisions(frames, starts, places, inverse, tau, precisions):  # type: ignore[no-untyped-def]
    """Fills precisions [B, n, n] of the clipped samples of B frames, padded by an identity.

    inverse [F, N] is the first column of each frame's circulant precision; what the bounds add stands on the diagonal.
    """
    size = precisions.shape[1]
    for b in range(len(frames)):
        first = starts[frames[b]]
        count = starts[frames[b] + 1] - first
        for i in range(size):
            for j in range(size):
                precisions[b, i, j] = 0.0
            if i < count:
                for j in range(count):
                    precisions[b, i, j] = inverse[frames[b], abs(places[first + i] - places[first + j])]
                precisions[b, i, i] += tau[first + i]
            else:
                precisions[b, i, i] = 1.0


@njit(nogil=True)
def read_covariances(frames, starts, places, covariances, right, mean, variance, lags):  # type: ignore[no-untyped-def]
    """Fills mean and variance of every clipped sample, and adds covariances [B, n, n] to lags [F, N] by the distance of both samples."""
    for b in range(len(frames)):
        first = starts[frames[b]]
        count = starts[frames[b] + 1] - first
        for i in range(count):
            total = 0.0
            for j in range(count):
                total += covariances[b, i, j] * right[first + j]
            mean[first + i] = total
            variance[first + i] = covariances[b, i, i]
            lags[frames[b], 0] += covariances[b, i, i]
            for j in range(i):
                lags[frames[b], places[first + i] - places[first + j]] += 2.0 * covariances[b, i, j]


@njit(nogil=True)
def update_bounds(mean, variance, signs, bounds, tau, nu):  # type: ignore[no-untyped-def]
    """Replaces the Gaussian factors of all bounds by those that give each marginal the moments of its truncation."""
    for i in range(len(mean)):
        if not variance[i] > 0.0:
            continue
        precision = max(1.0 / variance[i] - tau[i], 1e-9 / variance[i])  # of the marginal without its own bound
        centre = (mean[i] * signs[i] / variance[i] - nu[i]) / precision
        spread = math.sqrt(1.0 / precision)
        z = (bounds[i] - centre) / spread
        if z < FAR:
            hazard = math.exp(-0.5 * z * z) * 0.7978845608028654 / math.erfc(z * 0.7071067811865476)  # density over tail
            share = 1.0 - hazard * (hazard - z)
        else:
            u = 1.0 / (z * z)
            hazard = z * (1.0 + u * (1.0 - u * (2.0 - 10.0 * u)))
            share = u * (1.0 - 6.0 * u)
        narrowed = precision / max(share, 1e-6)
        if narrowed > precision:
            tau[i] = narrowed - precision
            nu[i] = (centre + spread * hazard) * narrowed - centre * precision
        else:
            tau[i] *= 0.5
            nu[i] *= 0.5
