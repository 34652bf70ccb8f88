"""Display of a judgment in a browser, for the server's page and for reports: `judgment.js` and `judgment.css`."""

from pathlib import Path

__all__ = ["FOLDER"]

FOLDER = Path(__file__).parent
"""Folder of the files."""
