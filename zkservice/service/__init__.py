"""What twistd runs: its commands, and a package for each of the concerns that they share."""
