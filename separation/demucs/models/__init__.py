"""Checkpoints that ship with stemwright, in the layout of Demucs's hub: ``NAME.yaml`` beside ``SIG.safetensors``."""
