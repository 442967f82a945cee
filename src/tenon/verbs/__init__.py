"""Verbs: what Tenon does, each a short function."""
