"""Alignment of template and subject: one protocol, several engines."""
