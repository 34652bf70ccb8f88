"""A custom prompt, as a user would write one: reads judges that end in "Output (a)" or "Output (b)"."""

import re

from rmr1_sdk.prompts import Prompt
from rmr1_sdk.types import OTHER, Failure, Pair, Shown, Verdict

VERDICT = re.compile(r"[Oo]utput \((a|b)\)(?: is better|\.?\s*$)")


def read_output(text: str, pair: Pair | None, shown: Shown) -> Verdict:
    """The last "Output (a) is better", or a text that ends in "Output (a)"."""
    raise NotImplementedError
