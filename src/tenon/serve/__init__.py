"""Serve: adapters in memory, ready to answer; many over one base."""
