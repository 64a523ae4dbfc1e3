"""How flat tops begin and end: a clipper cuts both sides of a wave, a limiter without look-ahead only the one that rises.

The limiter's gain follows a rising wave, whose samples are all at the ceiling, and recovers slowly. So its flat tops end at the wave's own
maximum, which is round, whereas a clipper's end as steep as the wave crosses the ceiling. The end is seen from three samples after a flat
top, at distances s, 2 s and 3 s, an eighth of its length: below it by D1, D2 and D3. For a parabola at its maximum (D3 - D2) / (D2 - D1) is
5/3 and D1 / D2 0.25 to 0.33; for one that was cut at a flat top's length 1.2 and 0.5.

Conventions
    Flat tops are runs of samples within ``FLAT_STEPS`` fine steps. They are counted on the step that they begin on, by columns:
    ``STEEP_ENTRY``, ``STEEP_EXIT`` where the way in or out is the steeper one; ``ROUND_EXIT``, ``CUT_EXIT``, and ``OTHER_EXIT`` where it
    cannot be seen: the sound is too rough there, or rounded too coarsely.
"""

from __future__ import annotations

import numpy as np

from stemwright.separation.clip_detection.scale import FINE_SHIFT, FLOOR_BITS, NUM_FINE
from stemwright.separation.kernels import njit

EDGE = 3
FLAT_STEPS = 4
LONG = 3  # samples of a flat top whose entry and exit are compared
STEEPER = 1.5  # times the step at the other end
LEAST_RUN, PARTS = 4, 8  # samples of a flat top whose end is seen, and how many distances it has
ROUND, CUT = 1.4, 1.3  # (D3 - D2) / (D2 - D1): of round ends at least, of cut ones less
FALL = 0.6  # D1 / (D2 - D1): of round ends less, of cut ones more, unless the distance is a sample, in which a ceiling is anywhere
LEAST_BENT = 6.0  # D2 - D1 in the smallest steps of the signal: two values of 16 bits have no shape
STEEP_ENTRY, STEEP_EXIT, ROUND_EXIT, CUT_EXIT, OTHER_EXIT = range(COLUMNS := 5)
RUN, FIRST, RISE, GRAIN, STAGE, END, DISTANCE, SIDE, STEP, CEILING, D1, D2 = range(STATES := 12)


@njit(nogil=True, part=True)
def _end(first, second, third, state):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """The column of a flat top that falls by D1, D2 and D3."""
    bent = second - first
    if first < 0.0 or third <= second or bent < LEAST_BENT * state[GRAIN]:
        return OTHER_EXIT
    if third - second >= ROUND * bent and first < FALL * bent:
        return ROUND_EXIT
    if third - second < CUT * bent and (state[DISTANCE] == 1.0 or first > FALL * bent):
        return CUT_EXIT
    return OTHER_EXIT


@njit(nogil=True)
def count_flat_tops(x, start, flat, state):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """Counts from ``EDGE`` to len(x) - EDGE in flat [2, fine, columns]. x begins at frame ``start``; state is kept between its blocks."""
    bits = x.view(np.int32)
    before = (bits[EDGE - 1] & 0x7FFFFFFF) - FLOOR_BITS
    last = (before >> FINE_SHIFT) + 1 if 0 <= before < NUM_FINE << FINE_SHIFT else 0  # 0: on no step
    last_side = 1 if bits[EDGE - 1] < 0 else 0
    run, first = int(state[RUN]), int(state[FIRST])
    for n in range(EDGE, len(x) - EDGE):
        side = 1 if bits[n] < 0 else 0
        above = (bits[n] & 0x7FFFFFFF) - FLOOR_BITS
        step = (above >> FINE_SHIFT) + 1 if 0 <= above < NUM_FINE << FINE_SHIFT else 0
        way = abs(x[n] - x[n - 1])
        if 0.0 < way < state[GRAIN]:
            state[GRAIN] = way
        if run > 0 and side == last_side and abs(step - first) <= FLAT_STEPS:
            run += 1
        else:
            if run >= LONG and (side != last_side or step < first):
                if state[RISE] > STEEPER * way:
                    flat[last_side, first - 1, STEEP_ENTRY] += 1
                elif way > STEEPER * state[RISE]:
                    flat[last_side, first - 1, STEEP_EXIT] += 1
                if run >= LEAST_RUN:
                    if state[STAGE] > 0.0:
                        flat[int(state[SIDE]), int(state[STEP]), OTHER_EXIT] += 1
                    state[STAGE], state[END], state[DISTANCE] = 1.0, start + n - 1, max(1, run // PARTS)
                    state[SIDE], state[STEP], state[CEILING] = last_side, first - 1, abs(x[n - 1])
            run = 1 if side != last_side or step > last else 0
            first, state[RISE] = step, way
        last, last_side = step, side
        if state[STAGE] > 0.0 and start + n == state[END] + state[STAGE] * state[DISTANCE]:
            down = state[CEILING] - (x[n] if state[SIDE] == 0.0 else -x[n])
            if state[STAGE] == 1.0:
                state[D1], state[STAGE] = down, 2.0
            elif state[STAGE] == 2.0:
                state[D2], state[STAGE] = down, 3.0
            else:
                state[STAGE] = 0.0
                flat[int(state[SIDE]), int(state[STEP]), _end(state[D1], state[D2], down, state)] += 1
    state[RUN], state[FIRST] = run, first
