"""The tree language without a server: text to model, two models to a plan."""
