"""A custom prompt, as a user would write one: it reads judges that end in "Output (a)" or "Output (b)"."""

import re

from rmr1_sdk.prompts import Prompt
from rmr1_sdk.types import OTHER, Failure, Pair, Shown, Side, Verdict

_SAYS = re.compile(r"^\s*(?:Therefore, )?Output \((a|b)\)(?: is better)?\.?\s*$")
_SIDES: dict[str, Side] = {"a": "A", "b": "B"}


def read_output(text: str, pair: Pair | None, shown: Shown) -> Verdict:
    """A text that says "Output (a)", or "Output (b) is better", and nothing else."""
    said = _SAYS.match(text)
    if said is None:
        return Verdict(
            failure=Failure(kind="no_answer", message="It does not say Output (a) or Output (b)."), shown=shown
        )
    side = _SIDES[said.group(1)]
    return Verdict(winner=side if shown == "AB" else OTHER[side], shown=shown)


def mtbench_prompt() -> Prompt:
    return Prompt(
        name="mtbench-vanilla",
        user="Question:\n{question}\n\nOutput (a):\n{answer_a}\n\nOutput (b):\n{answer_b}\n\nWhich is better?",
        reader=read_output,
    )
