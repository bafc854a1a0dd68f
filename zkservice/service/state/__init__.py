"""What a service knows about itself, as plain values."""
