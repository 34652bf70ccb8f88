"""Judges that reason: which of two answers is better, and why."""

from typing import TYPE_CHECKING

from rmr1_sdk.errors import (
    BackendError,
    BudgetExceeded,
    ConfigError,
    DataError,
    GradingFailed,
    JudgeUnavailable,
    JudgmentFailed,
    MissingExtraError,
    RMR1Error,
    StoreError,
)

if TYPE_CHECKING:
    from rmr1_sdk.backends import Backend, Capabilities, connect
    from rmr1_sdk.backends.fake import FakeBackend
    from rmr1_sdk.files.store import Store
    from rmr1_sdk.judge import Judge
    from rmr1_sdk.judging.comparer import Comparer, acompare_many, arank, compare_many, rank
    from rmr1_sdk.judging.options import JudgeArgs, JudgeOptions
    from rmr1_sdk.parsing import read
    from rmr1_sdk.prompts import Prompt
    from rmr1_sdk.statistics.calibration import Calibration
    from rmr1_sdk.types import (
        Answered,
        Citation,
        Comparison,
        Completion,
        Criterion,
        Failure,
        Grade,
        Judgment,
        Mark,
        Marking,
        Message,
        Pair,
        Ranking,
        Request,
        Rubric,
        Sampling,
        Section,
        Usage,
        Verdict,
    )

__version__ = "0.1.0"

# Imported on first use, so that `import rmr1_sdk` and `rmr1 -h` stay quick. The rest of __all__ is in rmr1_sdk.types.
_LATE = {
    "Backend": "rmr1_sdk.backends",
    "Calibration": "rmr1_sdk.statistics.calibration",
    "Capabilities": "rmr1_sdk.backends",
    "Comparer": "rmr1_sdk.judging.comparer",
    "FakeBackend": "rmr1_sdk.backends.fake",
    "Judge": "rmr1_sdk.judge",
    "JudgeArgs": "rmr1_sdk.judging.options",
    "JudgeOptions": "rmr1_sdk.judging.options",
    "Prompt": "rmr1_sdk.prompts",
    "Store": "rmr1_sdk.files.store",
    "acompare_many": "rmr1_sdk.judging.comparer",
    "arank": "rmr1_sdk.judging.comparer",
    "compare_many": "rmr1_sdk.judging.comparer",
    "connect": "rmr1_sdk.backends",
    "rank": "rmr1_sdk.judging.comparer",
    "read": "rmr1_sdk.parsing",
}

__all__ = [
    "Answered", "Backend", "BackendError", "BudgetExceeded", "Calibration", "Capabilities", "Citation", "Comparer",
    "Comparison", "Completion", "ConfigError", "Criterion", "DataError", "Failure", "FakeBackend", "Grade",
    "GradingFailed", "Judge", "JudgeArgs", "JudgeOptions", "JudgeUnavailable", "Judgment", "JudgmentFailed", "Mark",
    "Marking", "Message", "MissingExtraError", "Pair", "Prompt", "RMR1Error", "Ranking", "Request", "Rubric",
    "Sampling", "Section", "Store", "StoreError", "Usage", "Verdict", "acompare_many", "arank", "compare_many",
    "connect", "rank", "read",
]  # fmt: skip


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name == "types":  # `rmr1_sdk.types.Pair` needs no import of its own
        return import_module("rmr1_sdk.types")
    if name not in __all__:
        raise AttributeError(f"module 'rmr1_sdk' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_LATE.get(name, "rmr1_sdk.types")), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "types"})
