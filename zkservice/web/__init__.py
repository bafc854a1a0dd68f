"""The front end: HTTP in the reactor, the application in worker threads."""
