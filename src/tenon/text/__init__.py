"""Text: from Examples to token ids, in a given order, packed into batches."""
