"""The group level: gather the results of all participants, test, and write tables and the page."""
