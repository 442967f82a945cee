"""Adapters: the kinds, where they sit in a model, and the directory they are kept in."""
