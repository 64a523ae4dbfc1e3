"""The recursions of ``stemwright.datagen.effects.dsp.following`` as Triton kernels: a thread for each row, eight samples fetched ahead.

Conventions
    Signals are float64 [R, T] on a GPU; inside they are [T, R], T rounded up to a multiple of 8. Only that module imports this one.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

ROWS = 32  # of one program: one warp, each thread with a row of its own
AHEAD = 8  # written out in the kernels


@triton.jit
def _follow(u, rise, fall, before, s, rows, frames, ROWS: tl.constexpr):  # type: ignore[no-untyped-def]
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    inside = row < rows
    up = tl.load(rise + row, mask=inside, other=0.0)
    down = tl.load(fall + row, mask=inside, other=0.0)
    state = tl.load(before + row, mask=inside, other=0.0)
    place = u + row
    out = s + row
    for _ in range(0, frames, 8):
        u0 = tl.load(place, mask=inside, other=0.0)
        u1 = tl.load(place + rows, mask=inside, other=0.0)
        u2 = tl.load(place + 2 * rows, mask=inside, other=0.0)
        u3 = tl.load(place + 3 * rows, mask=inside, other=0.0)
        u4 = tl.load(place + 4 * rows, mask=inside, other=0.0)
        u5 = tl.load(place + 5 * rows, mask=inside, other=0.0)
        u6 = tl.load(place + 6 * rows, mask=inside, other=0.0)
        u7 = tl.load(place + 7 * rows, mask=inside, other=0.0)
        s0 = state + tl.where(u0 > state, up, down) * (u0 - state)
        s1 = s0 + tl.where(u1 > s0, up, down) * (u1 - s0)
        s2 = s1 + tl.where(u2 > s1, up, down) * (u2 - s1)
        s3 = s2 + tl.where(u3 > s2, up, down) * (u3 - s2)
        s4 = s3 + tl.where(u4 > s3, up, down) * (u4 - s3)
        s5 = s4 + tl.where(u5 > s4, up, down) * (u5 - s4)
        s6 = s5 + tl.where(u6 > s5, up, down) * (u6 - s5)
        state = s6 + tl.where(u7 > s6, up, down) * (u7 - s6)
        tl.store(out, s0, mask=inside)
        tl.store(out + rows, s1, mask=inside)
        tl.store(out + 2 * rows, s2, mask=inside)
        tl.store(out + 3 * rows, s3, mask=inside)
        tl.store(out + 4 * rows, s4, mask=inside)
        tl.store(out + 5 * rows, s5, mask=inside)
        tl.store(out + 6 * rows, s6, mask=inside)
        tl.store(out + 7 * rows, state, mask=inside)
        place += 8 * rows
        out += 8 * rows


@triton.jit
def _decay(b, a, s, rows, frames, ROWS: tl.constexpr):  # type: ignore[no-untyped-def]
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    inside = row < rows
    state = tl.zeros((ROWS,), tl.float64)
    place = b + row
    factor = a + row
    out = s + row
    for _ in range(0, frames, 8):
        b0 = tl.load(place, mask=inside, other=0.0)
        b1 = tl.load(place + rows, mask=inside, other=0.0)
        b2 = tl.load(place + 2 * rows, mask=inside, other=0.0)
        b3 = tl.load(place + 3 * rows, mask=inside, other=0.0)
        b4 = tl.load(place + 4 * rows, mask=inside, other=0.0)
        b5 = tl.load(place + 5 * rows, mask=inside, other=0.0)
        b6 = tl.load(place + 6 * rows, mask=inside, other=0.0)
        b7 = tl.load(place + 7 * rows, mask=inside, other=0.0)
        a0 = tl.load(factor, mask=inside, other=0.0)
        a1 = tl.load(factor + rows, mask=inside, other=0.0)
        a2 = tl.load(factor + 2 * rows, mask=inside, other=0.0)
        a3 = tl.load(factor + 3 * rows, mask=inside, other=0.0)
        a4 = tl.load(factor + 4 * rows, mask=inside, other=0.0)
        a5 = tl.load(factor + 5 * rows, mask=inside, other=0.0)
        a6 = tl.load(factor + 6 * rows, mask=inside, other=0.0)
        a7 = tl.load(factor + 7 * rows, mask=inside, other=0.0)
        s0 = b0 + a0 * state
        s1 = b1 + a1 * s0
        s2 = b2 + a2 * s1
        s3 = b3 + a3 * s2
        s4 = b4 + a4 * s3
        s5 = b5 + a5 * s4
        s6 = b6 + a6 * s5
        state = b7 + a7 * s6
        tl.store(out, s0, mask=inside)
        tl.store(out + rows, s1, mask=inside)
        tl.store(out + 2 * rows, s2, mask=inside)
        tl.store(out + 3 * rows, s3, mask=inside)
        tl.store(out + 4 * rows, s4, mask=inside)
        tl.store(out + 5 * rows, s5, mask=inside)
        tl.store(out + 6 * rows, s6, mask=inside)
        tl.store(out + 7 * rows, state, mask=inside)
        place += 8 * rows
        factor += 8 * rows
        out += 8 * rows


def follow(u: torch.Tensor, rise: torch.Tensor, fall: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
    """s [R, T] of u [R, T]."""
    rows, frames = u.shape
    turned = _time_first(u)
    s = torch.empty_like(turned)
    _follow[(triton.cdiv(rows, ROWS),)](
        turned, rise.contiguous(), fall.contiguous(), before.contiguous(), s, rows, len(turned), ROWS=ROWS, num_warps=1
    )
    return s[:frames].t().contiguous()


def decay(b: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
    """s[n] = b[n] + a[n] s[n-1], all [R, T]."""
    rows, frames = b.shape
    turned = _time_first(b)
    s = torch.empty_like(turned)
    _decay[(triton.cdiv(rows, ROWS),)](turned, _time_first(a), s, rows, len(turned), ROWS=ROWS, num_warps=1)
    return s[:frames].t().contiguous()


def _time_first(signal: torch.Tensor) -> torch.Tensor:
    """[R, T] -> [T', R] with T' a multiple of ``AHEAD``."""
    return torch.nn.functional.pad(signal, (0, -signal.shape[1] % AHEAD)).t().contiguous()
