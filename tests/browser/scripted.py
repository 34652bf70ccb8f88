"""An engine for the page: it writes what a script says, piece by piece, and no further than it may."""

import asyncio
import re
import threading
from collections.abc import Callable, Sequence
from math import log

from rmr1_sdk import Completion, FakeBackend, Pair, Request
from rmr1_sdk.types import Shown

PAIR = Pair(
    question="Why is the sky blue?",
    a="Air bounces blue light around far more than red light. So blue comes to you from everywhere.",
    b="It mirrors the sea, which is blue. Over cities it is grey.",
)

CHAT = """<type>Chat</type>
<rubric>
1. Accuracy (60%): Is the cause that it gives the real one?
2. Clarity (30%): Would a child understand it?
3. Warmth (10%)
<justify>
A wrong cause is worse than a dull sentence.
</justify>
</rubric>
<eval>
Accuracy decides it. Chatbot A says \
<quote_A>Air bounces blue light around far more than red light</quote_A>, which is so; \
<quote_B>It mirrors the sea</quote_B> is a popular mistake.

Chatbot B even writes <quote_B>The sea is always blue in every weather</quote_B>. \
<summary_A>The other answer keeps to what can be seen.</summary_A>
</eval>
<answer>[[A]]</answer>"""

REASONING = """<think>
Rayleigh: the intensity goes with the inverse fourth power of the wavelength. Is the answer <answer>[[B]]</answer>? No.
</think>
<type>Reasoning</type>
<solution>
(650 nm / 450 nm)⁴ ≈ 4.4: blue light is scattered about four times as much as red light.
</solution>
<eval>
<quote_A>Air bounces blue light around</quote_A> agrees with the solution, \
<quote_B>It mirrors the sea</quote_B> does not.
</eval>
<answer>[[A]]</answer>"""

UNDECIDED = "Both answers have something to be said for them, and I would rather not choose."


def turned(text: str) -> str:
    """What a judge writes who saw the same pair in the other order."""
    other = {"A": "B", "B": "A"}
    return re.sub(r"(quote_|summary_|\[\[|Chatbot )([AB])", lambda m: m[1] + other[m[2]], text)


class Scripted(FakeBackend):
    """Writes `ab` where the pair is shown in its order and `ba` where it is not, as far as the first `until` in it.

    `scores` are the probabilities of "A" and "B" at the verdict, in each order; without, there are none. `stopped`
    is set when a request was given up.
    """

    def __init__(
        self,
        ab: str,
        ba: str | None = None,
        *,
        pair: Pair = PAIR,
        until: str = "",
        scores: dict[Shown, Sequence[float]] | None = None,
        error: Exception | None = None,
    ) -> None:
        self.texts: dict[Shown, str] = {"AB": ab, "BA": turned(ab) if ba is None else ba}
        self.pair = pair
        self.until = until
        self.error = error
        self.stopped = threading.Event()
        self.requests: list[Request] = []
        chosen = scores or {}
        super().__init__(
            lambda request: self.texts[self.shown(request)],
            choice_logprobs=(lambda request: [log(p) for p in chosen[self.shown(request)]]) if scores else None,
        )

    def shown(self, request: Request) -> Shown:
        asked = request.messages[-1].content
        return "AB" if asked.index(self.pair.text("A")[:8]) < asked.index(self.pair.text("B")[:8]) else "BA"

    async def generate(self, request: Request, *, on_text: Callable[[str], None] | None = None) -> Completion:
        self.requests.append(request)
        completion = await super().generate(request)
        written = 0
        try:
            while on_text and written < len(completion.text):
                end = self._end(completion.text)
                if piece := completion.text[written : min(end, written + 7)]:
                    on_text(piece)
                    written += len(piece)
                elif self.error:
                    raise self.error
                else:
                    await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            self.stopped.set()
            raise
        return completion

    def _end(self, text: str) -> int:
        return text.index(self.until) + len(self.until) if self.until else len(text)
