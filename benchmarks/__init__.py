"""The same workflows on other engines, side by side with this one: `make bench-peers`. Nothing of the product imports this."""
