"""Core: errors, files and registries. Imports nothing of Tenon."""
