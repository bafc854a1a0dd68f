"""The application: it is loaded by its name, and served by the threads of one process."""
