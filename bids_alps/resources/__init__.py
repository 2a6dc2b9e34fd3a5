"""Data files of the package: ROI presets, page templates, bibliography."""
