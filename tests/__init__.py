"""Tests."""

from hypothesis import HealthCheck, settings

# How long an example takes says something about the machine, which may be busy, not about the
# code; what else Hypothesis has found out about where it runs (in CI) stays.
settings.register_profile(
    "patient", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("patient")
