"""The monitor: a port that replies to lines of text about the running service.

``echo status | nc 127.0.0.1 9001`` sends one command; ``interactive`` as the first line
keeps the connection open.  The commands are a mapping of names to functions.
"""

from zkservice.monitor.protocol import Command, MonitorFactory

__all__ = ["Command", "MonitorFactory"]
