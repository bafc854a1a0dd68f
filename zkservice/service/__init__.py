"""What twistd runs: zkserve and zkembedded, their options and their configuration."""
