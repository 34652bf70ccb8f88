"""Files: rows, pairs, judgments, the completion store, models and the hub."""
