"""Evaluate: predictions, scores with intervals, baselines and the report."""
