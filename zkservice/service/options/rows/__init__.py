"""The rows of zkserve's options: a module for each section of ``twistd zkserve --help``."""
