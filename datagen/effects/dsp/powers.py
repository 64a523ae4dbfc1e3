"""Powers of many numbers at once: log2 and exp2 without a branch, which LLVM vectorises.

    r^s = 2^(s log2 r),    log2 r = e + (2 / ln 2) artanh((m - 1) / (m + 1)),    r = m 2^e,  sqrt(1/2) <= m < sqrt(2)

Conventions
    Parts of kernels, in float64. r is positive and normal. log2 has a relative error of at most 2^-52; exp2 is within two rounding errors
    of an exponent that is exact: a power is as exact as that of the C library, exp(s log r), which rounds its exponent too. 1^s is 1.
    Exponents and whole numbers are read off and put into the bits of a float, which needs no instruction that vectors lack: adding
    1.5 * 2^52 rounds to a whole number and leaves it in the lowest bits.

References
    Both series are Taylor's. |(m - 1) / (m + 1)| < 0.172: ten terms leave 2^-53. |t - round(t)| <= 1/2: twelve leave 2^-52.
"""

from __future__ import annotations

import math

import numpy as np

from stemwright.separation.kernels import cast, njit

CONTRACT = {"contract"}  # fused multiply-add where the CPU has it; a kernel that calls these functions needs the flag too
WHOLE = 1.5 * 2.0**52
WHOLE_BITS = int(np.float64(WHOLE).view(np.int64))
LEAST_BITS = int(np.float64(math.sqrt(0.5)).view(np.int64))
A0, A1, A2, A3, A4, A5, A6, A7, A8, A9 = (2.0 / (math.log(2.0) * (2 * k + 1)) for k in range(10))
B1, B2, B3, B4, B5, B6, B7, B8, B9, B10, B11, B12 = (math.log(2.0) ** k / math.factorial(k) for k in range(1, 13))


@njit(fastmath=CONTRACT, part=True)
def log2(r):  # type: ignore[no-untyped-def]
    """The logarithm of r to the base 2."""
    bits = cast(r)
    exponent = (bits - LEAST_BITS) >> 52
    m = cast(bits - (exponent << 52)) - 1.0
    z = m / (2.0 + m)
    w = z * z
    series = A1 + w * (A2 + w * (A3 + w * (A4 + w * (A5 + w * (A6 + w * (A7 + w * (A8 + w * A9)))))))
    return (cast(exponent + WHOLE_BITS) - WHOLE) + z * (A0 + w * series)


@njit(fastmath=CONTRACT, part=True)
def exp2(t):  # type: ignore[no-untyped-def]
    """2^t for t up to 1000; below -1000 it is 2^-1000."""
    shifted = max(t, -1000.0) + WHOLE
    q = max(t, -1000.0) - (shifted - WHOLE)
    series = B5 + q * (B6 + q * (B7 + q * (B8 + q * (B9 + q * (B10 + q * (B11 + q * B12))))))
    power = 1.0 + q * (B1 + q * (B2 + q * (B3 + q * (B4 + q * series))))
    return cast(cast(power) + (cast(shifted) << 52))
