"""Follow a path on a server: resolve its links, keep watches set, read again after each change.

Registrations, live views and discovery share this package.
"""
