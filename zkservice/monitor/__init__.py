"""The monitor: a port that replies to lines of text about the running service.

``echo status | nc 127.0.0.1 9001`` sends one command; ``interactive`` as the first line
keeps the connection open.  The commands are a mapping of names to functions.
"""

from zkservice.monitor.plugins import IMonitorPlugin, utility_commands
from zkservice.monitor.protocol import MonitorFactory
from zkservice.monitor.replies import Command, MoreLines, TwoForms

__all__ = [
    "Command",
    "IMonitorPlugin",
    "MonitorFactory",
    "MoreLines",
    "TwoForms",
    "utility_commands",
]
