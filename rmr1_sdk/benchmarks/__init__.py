"""Benchmarks of judges: labelled pairs, protocols and scores."""

from rmr1_sdk.benchmarks.benchmark import PROFILES, Benchmark, Entry, Profile, Protocol
from rmr1_sdk.benchmarks.figures import Figure, Graded, Item, Leaf, Mean, Rate, Worth, leaf
from rmr1_sdk.benchmarks.protocols import departures, judge_options
from rmr1_sdk.benchmarks.results import read_results
from rmr1_sdk.benchmarks.scores import Agreement, BudgetPoint, CalibrationFigures, Comparison, Difference, Scores
from rmr1_sdk.benchmarks.table import BENCHMARKS, load

__all__ = [
    "BENCHMARKS", "PROFILES", "Agreement", "Benchmark", "BudgetPoint", "CalibrationFigures", "Comparison", "Difference",
    "Entry", "Figure", "Graded", "Item", "Leaf", "Mean", "Profile", "Protocol", "Rate", "Scores", "Worth", "departures",
    "judge_options", "leaf", "load", "read_results",
]  # fmt: skip
