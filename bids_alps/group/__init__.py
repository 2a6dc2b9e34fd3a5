"""Group level: gather the results of all participants, run the statistics, write tables and the report."""
