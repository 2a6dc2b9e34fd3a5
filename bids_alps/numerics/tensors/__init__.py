"""Gradient tables, the brain mask, diffusion tensors and what is derived from them."""
