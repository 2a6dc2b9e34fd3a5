"""Pure numerics: arrays in, arrays out; no path, log, clock or hidden randomness."""
