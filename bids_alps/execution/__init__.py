"""Distribution of runs over processes and machines."""
