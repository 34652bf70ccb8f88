"""A taskset that verifiers finds by this module's name, and a harness that asks its model once a turn."""

from collections.abc import Iterator
from typing import Any

import verifiers.v1 as vf
from openai import AsyncOpenAI
from pydantic import Field
from verifiers.v1.dialects.chat import message_to_wire

__all__ = ["AsksOnce", "Questions"]


class Question(vf.TaskData):
    answer: str | list[str] = ""


class QuestionTask(vf.Task[Question, vf.State, vf.TaskConfig]):
    pass


class QuestionsConfig(vf.TasksetConfig):
    rows: list[Question] = Field(default_factory=list)


class Questions(vf.Taskset[QuestionTask, QuestionsConfig]):
    def load(self) -> Iterator[QuestionTask]:
        for row in self.config.rows:
            yield QuestionTask(row, self.config.task)


class AsksOnce(vf.Harness[vf.HarnessConfig]):
    APPENDS_SYSTEM_PROMPT = True
    SUPPORTS_RESUME = True
    EXECUTES_CODE = False
    NEEDS_CONTAINER = False

    async def launch(
        self,
        ctx: vf.ModelContext,
        trace: vf.Trace,
        runtime: vf.Runtime,
        endpoint: str,
        secret: str,
        mcp_urls: dict[str, str],
        data: vf.TaskData,
    ) -> vf.ProgramResult:
        system, prompt = self.resolve_prompt(data)
        messages: list[Any] = [] if system is None else [{"role": "system", "content": system}]
        messages += [{"role": "user", "content": prompt}] if isinstance(prompt, str) else map(message_to_wire, prompt)
        async with AsyncOpenAI(base_url=endpoint, api_key=secret, max_retries=0) as client:
            await client.chat.completions.create(model=ctx.model, messages=messages)
        return vf.ProgramResult(exit_code=0, stdout="", stderr="")
