"""Follow a path on a server: look links up, keep watches set, read again after each change.

Registrations, live views and discovery all depend on where a path leads and on what is there.
"""
