"""Judging: options, the session with a backend, and the flows that compare, rank and grade."""
