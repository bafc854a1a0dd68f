"""SIGUSR2: a new program takes over from an old one."""
