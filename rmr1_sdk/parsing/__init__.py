"""Parsing: completion text to values, and text made safe to show. The only place that knows the tags.

Every pattern here is bounded and every scan is one pass, so reading takes time linear in the text.
"""

from rmr1_sdk.parsing.failures import failure, unreadable
from rmr1_sdk.parsing.marks import MOST_CRITERIA, POINTS, points_prefixes, read_marks, share_of_points
from rmr1_sdk.parsing.neutralise import neutralise
from rmr1_sdk.parsing.rubric import read_rubric, written_weights
from rmr1_sdk.parsing.sections import Piece, Splitter
from rmr1_sdk.parsing.tags import thinking
from rmr1_sdk.parsing.verdict import Mode, force_prefix, read, verdict_prefix

__all__ = [
    "MOST_CRITERIA", "POINTS", "Mode", "Piece", "Splitter", "failure", "force_prefix", "neutralise", "points_prefixes",
    "read", "read_marks", "read_rubric", "share_of_points", "thinking", "unreadable", "verdict_prefix",
    "written_weights",
]  # fmt: skip
