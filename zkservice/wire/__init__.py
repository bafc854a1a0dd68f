"""ZooKeeper without a socket: bytes in, values out.

``jute`` has the primitive types and what makes a class a record, ``records`` every
request and reply, ``multi`` the transactions, ``frames`` the packets; ``paths``,
``hosts`` and ``acl`` the strings that users write; ``session`` the states of a session
and ``watches`` the watches that a client keeps.
"""
