"""Head motion, eddy currents, lost slices and susceptibility distortion of a diffusion series."""
