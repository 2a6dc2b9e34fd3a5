"""Gradient tables, the brain mask, diffusion tensors and derived quantities."""
