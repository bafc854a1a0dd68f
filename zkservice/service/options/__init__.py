"""Options: their tables and sources, and the configurations that they describe."""
