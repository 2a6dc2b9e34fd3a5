"""Quality checks: a value with thresholds, a status and a reason."""
