"""What a watching machine asks for: health, metrics, and how much is waiting."""
