"""The front ends: the application in this process, or in worker processes."""
