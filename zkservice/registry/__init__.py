"""Registrations that outlive a session, and live views of what others registered."""

from zkservice.errors import AddressError
from zkservice.formats.addresses import parse_address
from zkservice.registry.addresses import advertised_addresses, is_dual_stack
from zkservice.registry.decision import ObservedNode, ReconcilePlan, decide
from zkservice.registry.events import RegisteringServer
from zkservice.registry.live_views import (
    Children,
    NodeData,
    Properties,
    live_children,
    live_data,
    live_properties,
)
from zkservice.registry.register_api import register
from zkservice.registry.registration import Registration
from zkservice.registry.registration_state import Change, RegistrationState

__all__ = [
    "AddressError",
    "Change",
    "Children",
    "NodeData",
    "ObservedNode",
    "Properties",
    "ReconcilePlan",
    "RegisteringServer",
    "Registration",
    "RegistrationState",
    "advertised_addresses",
    "decide",
    "is_dual_stack",
    "live_children",
    "live_data",
    "live_properties",
    "parse_address",
    "register",
]
