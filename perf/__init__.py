"""Figures of speed; each file is a command."""
