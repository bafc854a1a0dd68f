"""The views below ``/-/``: health, readiness, metrics, discovery, the status page."""
