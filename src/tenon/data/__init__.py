"""Data: from a file to Examples, with the line of every fault."""
