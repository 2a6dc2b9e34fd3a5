"""The doors: datasets, images, templates, tables and derivatives on disk."""
