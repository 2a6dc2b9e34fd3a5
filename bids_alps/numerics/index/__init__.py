"""Regions of interest in a subject, the DTI-ALPS index and its uncertainty."""
