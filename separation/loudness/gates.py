"""The gates of BS.1770 and R 128: what is below them does not count. Apart from the meter, since settings need no kernels.

References
    Recommendation ITU-R BS.1770-5 (2023), annex 1. EBU Tech 3342 (2023), loudness range.
"""

from __future__ import annotations

ABSOLUTE_GATE_LUFS = -70.0  # BS.1770-5, eq. 5
RELATIVE_GATE_LU = -10.0  # BS.1770-5, eq. 6
RANGE_GATE_LU = -20.0  # Tech 3342
