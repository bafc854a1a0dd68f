"""What is done in the world: each workload has clients, actions, and checks of its own."""
