"""Calibration to one separator: how far its levels and pans are from those of multitracks, and the estimator that allows for it."""
