"""Settings of every effect for measurements of speed: none neutral, all ordinary."""

from typing import Any

SETTINGS: dict[str, dict[str, Any]] = {
    "fader": {"gain_db": -3.0, "pan": 0.3},
    "width": {"width": 1.4},
    "eq": {
        "low_shelf_gain_db": 3.0,
        "peak1_gain_db": 3.0,
        "peak2_gain_db": -3.0,
        "peak3_gain_db": 3.0,
        "peak4_gain_db": -3.0,
        "high_shelf_gain_db": 3.0,
    },
    "lowpass": {"cutoff_hz": 1000.0, "order": 1.0},
    "highpass": {"cutoff_hz": 1000.0, "order": 1.0},
    "compressor": {"threshold_db": -25.0, "ratio": 4.0, "attack_ms": 5.0, "release_ms": 100.0},
    "limiter": {"ceiling_db": -10.0, "release_ms": 100.0},
    "clip": {"ceiling_db": -6.0},
    "distortion": {"drive_db": 15.0},
    "reverb": {"room_size": 0.5, "damping": 0.5, "wet": 0.33, "dry": 0.8},
    "room": {"rt60_s": 0.8, "wet_db": -6.0},
    "delay": {"delay_ms": 300.0, "feedback": 0.2, "mix": 0.3},
    "chorus": {"rate_hz": 1.0, "depth": 0.25, "centre_ms": 7.0, "mix": 0.3},
    "loudness": {"target_db": -20.0},
    "codec": {"bit_rate_kbps": 128.0},
    "noise": {"snr_db": 30.0, "seed": 1.0},
    "dc": {"offset": 0.02},
    "envelope": {"step_s": 2.0, "gain_01_db": -3.0, "gain_02_db": 2.0, "gain_03_db": -1.0},
}
