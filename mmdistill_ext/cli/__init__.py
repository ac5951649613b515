"""What the tools share: options and the runner, messages, joining and leaving ranks."""
