"""BIDS App for the DTI-ALPS index (diffusion tensor image analysis along the perivascular space)."""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "0.1.0"
