"""The programs: options, configuration, and the services that twistd runs."""
