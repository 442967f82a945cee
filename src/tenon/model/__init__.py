"""Model: a frozen base with adapters and a head, and its forward pass over packed rows."""
