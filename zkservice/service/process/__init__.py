"""A process and its system: logs, signals, exit codes, systemd, a child."""
