"""The commands of the monitor port."""
