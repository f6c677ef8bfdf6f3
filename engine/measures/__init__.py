"""What the data says of speed: durations, waits, the critical path, and what is usual."""
