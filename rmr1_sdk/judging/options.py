"""Options of a judge, each defined once: for Python, for the command line and for configuration files."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, TypedDict, cast, get_args

from pydantic import ConfigDict, Field, InstanceOf, ValidationError, field_validator, model_validator

from rmr1_sdk import prompts
from rmr1_sdk.errors import ConfigError, unknown
from rmr1_sdk.prompts import Prompt
from rmr1_sdk.types import AsOption, Sampling, Value

__all__ = ["JudgeArgs", "JudgeOptions", "OnFailure", "Orders"]

Orders = Literal["both", "given", "random"]
OnFailure = Literal["value", "raise"]


class JudgeArgs(TypedDict, total=False):
    """The fields of JudgeOptions, for functions that take them as keyword arguments."""

    prompt: str | Prompt
    orders: Orders
    votes: int
    max_votes: int | None
    risk: float
    sampling: Sampling | Mapping[str, Any] | None
    max_concurrency: int | None
    max_tokens_total: int | None
    timeout_s: float | None
    force_verdict: bool
    ask_again: bool
    on_failure: OnFailure
    seed: int


class JudgeOptions(Value):
    """Options of a judge. Immutable; `replace` returns a changed copy."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    prompt: str | InstanceOf[Prompt] = "auto"
    """A name from `rmr1 prompts ls`, "published", or "auto", which picks by the model; in Python also a Prompt."""
    orders: Orders = "both"
    """Show each pair in both orders, as given, or in one that is drawn from the seed and the pair's text."""
    votes: int = 1
    """Samples per order; with max_votes, those that are always taken."""
    max_votes: Annotated[int | None, AsOption(unset="as many as votes")] = None
    """Samples per order at most: take one more in each order while it may still change the outcome."""
    risk: float = 0.05
    """Accepted probability that stopping early changes the outcome; see `voting.change_probability`."""
    sampling: Sampling = Field(default_factory=Sampling)
    """Fields given here replace the prompt's defaults. Temperature 0 with several votes is refused."""
    max_concurrency: Annotated[int | None, AsOption(unset="the backend's")] = None
    """Requests in flight."""
    max_tokens_total: Annotated[int | None, AsOption(unset="no limit")] = None
    """Budget of tokens, read and written: once it is spent, no request is started. Stored completions are free."""
    timeout_s: Annotated[float | None, AsOption("--timeout", unset="no limit")] = None
    """Seconds per comparison, counted from the start of its work."""
    force_verdict: bool = True
    """Make the model name a side where it did not by itself."""
    ask_again: bool = True
    """Ask once more, with another seed, where there is still no verdict."""
    on_failure: OnFailure = "value"
    """Without a readable verdict, return a judgment without a winner, or raise JudgmentFailed."""
    seed: int = 0
    """Seed of all randomness."""

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """Options from keyword arguments. Raises ConfigError for those that cannot be right."""
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            if first["type"] == "extra_forbidden":
                known = cls.model_fields if len(first["loc"]) == 1 else Sampling.model_fields
                raise unknown("option", where, known) from error
            if first["type"] == "literal_error":
                allowed = get_args({"orders": Orders, "on_failure": OnFailure}[where])
                raise unknown(where, first["input"], allowed) from error
            message = first["msg"].removeprefix("Value error, ")
            raise ConfigError(message if first["type"] == "value_error" else f"{where}: {message}") from error

    def replace(self, **changes: Any) -> Self:
        """The same but for what is given; `sampling` replaces single fields."""
        given: dict[str, Any] = {**self.given(), **changes}
        if "sampling" in changes:
            sampling = changes["sampling"]
            fields = sampling.model_dump(exclude_unset=True) if isinstance(sampling, Sampling) else sampling
            given["sampling"] = self.sampling.model_dump(exclude_unset=True) | dict(fields or {})
        return self.of(given)

    def given(self) -> JudgeArgs:
        """Options that were given, as keyword arguments."""
        return cast(JudgeArgs, {name: getattr(self, name) for name in self.model_fields_set})

    def sampling_for(self, prompt: Prompt, votes: int) -> Sampling:
        """The prompt's sampling for so many votes, with the caller's own fields in place of its."""
        warm = {"temperature": prompt.vote_temperature} if votes > 1 else {}
        return prompt.sampling.model_copy(update={**warm, **self.sampling.model_dump(exclude_unset=True)})

    @field_validator("prompt")
    @classmethod
    def _named(cls, prompt: str | Prompt) -> str | Prompt:
        return prompt if prompt in ("auto", "published") or isinstance(prompt, Prompt) else prompts.get(prompt)

    @field_validator("sampling", mode="before")
    @classmethod
    def _given(cls, sampling: Sampling | Mapping[str, Any] | None) -> object:
        return sampling if isinstance(sampling, Sampling) else dict(sampling or {})

    @model_validator(mode="after")
    def _fits(self) -> Self:
        for name in ("votes", "max_concurrency", "timeout_s"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be more than 0, not {value}")
        if self.max_votes is not None and self.max_votes < self.votes:
            raise ValueError(f"max_votes={self.max_votes} is fewer than votes={self.votes}, which are always taken")
        if not 0 <= self.risk < 1:
            raise ValueError(f"risk is a probability from 0 to below 1, not {self.risk}")
        if "seed" in self.sampling.model_fields_set:
            raise ValueError("sampling.seed: give the seed to Judge, which derives one for each vote")
        most = self.max_votes or self.votes
        if most > 1 and "temperature" in self.sampling.model_fields_set and self.sampling.temperature == 0:
            raise ValueError(
                f"{most} votes at temperature 0 would be one vote asked {most} times; raise the temperature"
            )
        return self
