"""Training of the gain that takes compression off, by frames, so that it needs no sound."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch
from removal_networks import GainRider, si_sdr_of_gain
from torch import Tensor, nn

STEP_SIZE, BATCH, CROP, SILENT = 3e-3, 8, 1024, 0.05


def train_rider(seen: Tensor, sums: Tensor, minutes: float, state: Path, device: str = "cpu") -> GainRider:
    """Trains on levels and sums [N, 3, F] for so many minutes of the processor's time, from where it was stopped.

    A step takes parts of CROP frames of BATCH excerpts; those in which hardly any of the excerpt's energy is are left out.
    """
    torch.manual_seed(0)
    network = GainRider().to(device)
    optimiser = torch.optim.AdamW(network.parameters(), STEP_SIZE, weight_decay=0.01)
    used, steps = 0.0, 0
    if state.exists():
        before = torch.load(state, map_location=device, weights_only=True)
        network.load_state_dict(before["network"])
        optimiser.load_state_dict(before["optimiser"])
        used, steps = before["used"], before["steps"]
        torch.manual_seed(steps)
    began, better = time.process_time() - used, list[float]()
    while (share := (time.process_time() - began) / (60.0 * minutes)) < 1.0:
        for group in optimiser.param_groups:
            group["lr"] = STEP_SIZE * min(1.0, (steps + 1) / 30) * (1.0 - share)
        gained = step_of(network, optimiser, seen, sums)
        better.append(gained)
        steps += 1
        if steps % 200 == 0:
            print(f"compressor: step {steps}, SI-SDR better by {np.nanmean(better[-200:]):+.2f} dB", flush=True)
            used = time.process_time() - began
            part = state.with_suffix(".part")
            torch.save({"network": network.state_dict(), "optimiser": optimiser.state_dict(), "used": used, "steps": steps}, part)
            part.replace(state)
    return network.cpu().eval()


def step_of(network: GainRider, optimiser: torch.optim.Optimizer, seen: Tensor, sums: Tensor) -> float:
    """One step; by how many dB the gain is better than none, NaN where the parts drawn are silent."""
    chosen = torch.randint(len(seen), (BATCH,))
    start = int(torch.randint(max(1, seen.shape[-1] - CROP + 1), ()))
    part = slice(start, start + CROP)
    sounds = sums[chosen, 2, part].sum(-1) > SILENT * sums[chosen, 2].sum(-1)
    if not sounds.any():
        return float("nan")
    device = next(network.parameters()).device
    level, energy = (each[chosen[sounds], :, part].to(device) for each in (seen, sums))
    score = si_sdr_of_gain(network.gain(level), energy)
    loss = -score.clamp_max(40.0).mean()
    optimiser.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimiser.step()
    return float((score.detach() - si_sdr_of_gain(torch.ones_like(energy[:, 0]), energy)).mean())
