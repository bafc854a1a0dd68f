"""What twistd runs: zkserve, zkembedded and zkregister, their options and their configuration."""
