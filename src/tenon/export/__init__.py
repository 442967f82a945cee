"""Export: files that other tools read, proved by their scores before they are kept."""
