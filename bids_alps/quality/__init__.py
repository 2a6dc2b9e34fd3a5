"""Quality checks: each a value with thresholds, a status, and why it matters."""
