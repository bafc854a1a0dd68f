"""The monitor: a port that answers lines of text about the running service.

``echo status | nc 127.0.0.1 9001`` asks one question; ``interactive`` as the first line
keeps the connection open.  What can be asked is a mapping of names to `Command`, handed
in by whoever knows the answers.
"""

from zkservice.monitor.protocol import Command, MonitorFactory

__all__ = ["Command", "MonitorFactory"]
