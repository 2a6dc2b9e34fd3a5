"""Alignment of template and subject: one protocol (`base`), several engines (`engines`)."""
