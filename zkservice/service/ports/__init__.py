"""Ports: endpoint strings, sockets and their files, TLS, inherited sockets, addresses."""
