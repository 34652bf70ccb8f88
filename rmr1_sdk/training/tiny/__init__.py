"""A tiny model made from nothing, and the lessons it reads first."""
