"""Find the providers of a service and choose one: a resolver, strategies and an HTTP agent."""

from zkservice.discovery.agent import BalancingAgent, Retry, agent
from zkservice.discovery.health import HealthRules, ProviderUse
from zkservice.discovery.mass_loss import MassLoss
from zkservice.discovery.provider import Provider
from zkservice.discovery.resolver import Resolver
from zkservice.discovery.strategies import (
    STRATEGIES,
    Candidate,
    LeastConnections,
    PreferZone,
    RandomChoice,
    RoundRobin,
    Strategy,
    TwoChoices,
)

__all__ = [
    "STRATEGIES",
    "BalancingAgent",
    "Candidate",
    "HealthRules",
    "LeastConnections",
    "MassLoss",
    "PreferZone",
    "Provider",
    "ProviderUse",
    "RandomChoice",
    "Resolver",
    "Retry",
    "RoundRobin",
    "Strategy",
    "TwoChoices",
    "agent",
]
