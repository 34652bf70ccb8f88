"""Recipes: all stages from preference data to a judge's files, in one YAML file."""

import gc
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import Field, ValidationError, model_validator

from rmr1_sdk.errors import ConfigError, MissingExtraError, file_errors, unknown
from rmr1_sdk.training.data.prepare import DataPlan, prepare
from rmr1_sdk.training.export.stage import ExportPlan, export, merge
from rmr1_sdk.training.learn.grpo import GrpoPlan, grpo
from rmr1_sdk.training.learn.sft import SftPlan, sft
from rmr1_sdk.training.learn.trainers import processes
from rmr1_sdk.training.recipes.memory import Machine, Shape
from rmr1_sdk.training.tiny import model as tiny_model
from rmr1_sdk.training.tiny.model import TinyModel
from rmr1_sdk.training.traces.teachers import DistillPlan, teach
from rmr1_sdk.types import Value

__all__ = ["STAGES", "BaseModelConfig", "Recipe", "StageName", "accelerate_config", "read_recipe", "run", "shipped"]

StageName = Literal["data", "distill", "model", "sft", "merge", "grpo", "export"]
STAGES: tuple[StageName, ...] = get_args(StageName)
"""In the order in which they run. A recipe has some of them."""
_FOLDER = Path(__file__).parent
_FLOAT = "tag:yaml.org,2002:float"
_TOGETHER = ("sft", "grpo")
"""Those that several processes share."""


class BaseModelConfig(Value):
    """Base model: an existing checkpoint, or a tiny one made from nothing.

    Args:
        name: the folder of a checkpoint, or its name on the Hugging Face hub.
        shape: its size, for a dry run; None reads it from the folder, where it is one.
        tiny: make this one from nothing, with a tokenizer made from the traces.
    """

    name: str | None = None
    shape: Shape | None = None
    tiny: TinyModel | None = None

    @model_validator(mode="after")
    def _one(self) -> "BaseModelConfig":
        if (self.name is None) == (self.tiny is None):
            raise ValueError("give either name, of a model that there is, or tiny, to make one from nothing")
        return self


class Recipe(Value):
    """The plans of all stages, each None where there is no such stage. `read_recipe` fills in the paths between them.

    Args:
        out: the folder that has one for each stage: data, traces, model, sft, merged, grpo and export.
        machine: what it is trained on.
        rows: how many rows are expected of parts of the data, and of "traces", for a dry run before they are there.
        data: which pairs to train on. Its parts are known by their names: `distill` is distilled, `rl` is the pool of
            GRPO, `dev` is held out there and in fine-tuning, `canary` stops GRPO, and `test` measures the export.
        distill: who writes the traces.
        model: what is trained.
        sft: how it learns from the traces.
        grpo: how it learns from labels. Where fine-tuning left adapters, they are merged first.
        export: the files.
    """

    out: Path
    machine: Machine = Machine()
    rows: dict[str, int] = Field(default_factory=dict)
    data: DataPlan | None = None
    distill: DistillPlan | None = None
    model: BaseModelConfig | None = None
    sft: SftPlan | None = None
    grpo: GrpoPlan | None = None
    export: ExportPlan | None = None

    @model_validator(mode="after")
    def _fits(self) -> "Recipe":
        if not any((self.data, self.distill, self.sft, self.grpo, self.export)):
            raise ValueError("there is no stage in it")
        if self.model and self.model.tiny and not self.sft:
            raise ValueError("a model from nothing has to be fine-tuned on traces first: add sft")
        if self.model and self.model.tiny and self.model.tiny.convolutions and self.sft and self.sft.packing:
            raise ValueError("traces are not packed for a model with convolutions: give sft packing: false")
        if self.machine.sharding != "none" and any(plan and plan.held_out for plan in (self.sft, self.grpo)):
            raise ValueError(
                f"with {self.machine.sharding} no process holds the whole model, and none can judge what is held out: "
                "leave held_out away"
            )
        return self

    @property
    def stages(self) -> tuple[StageName, ...]:
        """Those that it has, in order."""
        has = {
            "model": self.model and self.model.tiny,
            "merge": self.grpo and self.sft and self.sft.lora_rank,
            **{name: getattr(self, name) for name in ("data", "distill", "sft", "grpo", "export")},
        }
        return tuple(name for name in STAGES if has[name])

    def folder(self, stage: StageName) -> Path:
        """Folder of the stage."""
        return self.out / {"distill": "traces", "merge": "merged"}.get(stage, stage)


def shipped() -> tuple[str, ...]:
    """The names of the recipes that come with this package."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.yaml")))


def accelerate_config(sharding: Literal["fsdp2", "zero3"]) -> Path:
    """The shipped file for `accelerate launch --config_file`."""
    return _FOLDER / "accelerate" / f"{sharding}.yaml"


def read_recipe(name: str, out: Path, *, seed: int | None = None) -> Recipe:
    """A recipe, with all paths below `out`.

    Paths that a recipe itself names are as the command line has them: of files where the command runs.

    Args:
        name: the path of a YAML file, or the name of a recipe that is shipped.
        out: the folder of everything that is made.
        seed: replaces the recipe's `seed`, which is that of every stage that has none of its own.

    Raises ConfigError where it cannot be read, with the file, line and field of all that is wrong.
    """
    path = _path(name)
    root, given = _read(path)
    if "out" in given:
        raise ConfigError(f"{path}:{_line(root, ['out'])}: field out: where things go is not the recipe's: --out")
    own = given.pop("seed", 0)
    try:
        return Recipe.model_validate(_filled(given, out, own if seed is None else seed))
    except ValidationError as error:
        faults = [_fault(path, root, fault["loc"], fault["msg"], fault["type"]) for fault in error.errors()]
        raise ConfigError("\n".join(faults)) from error


def _read(path: Path, users: tuple[Path, ...] = ()) -> tuple[Any, dict[str, Any]]:
    """Read a file: its nodes, and its fields in place of those of the recipe that it is `like`."""
    with file_errors(path):
        text = path.read_text(encoding="utf-8")
    root, given = _parsed(path, text)
    base = given.pop("like", None)
    if base is None:
        return root, given
    if not isinstance(base, str) or path in users:
        raise ConfigError(f"{path}:{_line(root, ['like'])}: field like: name another recipe, not like this one")
    return root, _merged(_read(_path(base), (*users, path))[1], given)


def _merged(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    both = ((name, base.get(name), own.get(name, base.get(name))) for name in {**base, **own})
    return {
        name: _merged(old, new) if isinstance(old, dict) and isinstance(new, dict) else new for name, old, new in both
    }


def _path(name: str) -> Path:
    path = Path(name).expanduser()
    if path.suffix in (".yaml", ".yml") or path.is_file():
        return path
    if name not in shipped():
        raise unknown("recipe", name, shipped(), place="no YAML file, and ")
    return _FOLDER / f"{name}.yaml"


def _parsed(path: Path, text: str) -> tuple[Any, dict[str, Any]]:
    """The document's nodes, which know their lines, and what it says."""
    try:
        import yaml
    except ImportError as error:
        raise MissingExtraError("yaml", "train") from error

    class Loader(yaml.SafeLoader):  # type: ignore[misc]  # yaml is not read by mypy
        """YAML 1.1 takes 1e-6 for text."""

    Loader.add_implicit_resolver(_FLOAT, re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("+-0123456789"))
    try:
        root, given = yaml.compose(text, Loader), yaml.load(text, Loader)  # noqa: S506  # it is a safe one
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(f"{path}:{line}: {error.problem}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: {error}") from error
    if not isinstance(given, dict):
        raise ConfigError(f"{path}: a recipe has a line for each stage, as in `sft:`, with its settings below")
    for name, line in _duplicate_keys(root):
        raise ConfigError(f"{path}:{line}: field {name}: that is there twice")
    return root, given


def _duplicate_keys(node: Any) -> Iterator[tuple[str, int]]:
    """Names that a mapping has twice, of which YAML would take the last."""
    if node.id == "mapping":
        seen = set()
        for key, value in node.value:
            if key.value in seen:
                yield key.value, key.start_mark.line + 1
            seen.add(key.value)
            yield from _duplicate_keys(value)
    elif node.id == "sequence":
        for value in node.value:
            yield from _duplicate_keys(value)


def _line(node: Any, at: Sequence[int | str]) -> int:
    """The line of a field, or of the nearest thing around it that is there."""
    line: int = node.start_mark.line + 1
    for step in at:
        if node.id == "mapping":
            found = [(key, value) for key, value in node.value if key.value == str(step)]
            if not found:
                break
            key, node = found[0]
        elif node.id == "sequence" and isinstance(step, int) and step < len(node.value):
            key = node = node.value[step]
        else:
            break
        line = key.start_mark.line + 1
    return line


def _fault(path: Path, root: Any, at: Sequence[int | str], message: str, kind: str) -> str:
    message = message.removeprefix("Value error, ")
    if kind == "missing":
        message = "this is missing: name it, or add the stage, or the part of the data, that it comes from"
    field = f"field {'.'.join(map(str, at))}: " if at else ""
    return f"{path}:{_line(root, at)}: {field}{message}"


def _filled(given: Mapping[str, Any], out: Path, seed: Any) -> dict[str, Any]:
    """Complete a recipe: add the paths between its stages, and the seed, where it names none."""
    filled: dict[str, Any] = {**given, "out": out}
    for stage, fields in _default_paths(given, out).items():
        section = given.get(stage, False)
        if section is None or isinstance(section, dict):  # `export:` alone takes all defaults
            known = {name: value for name, value in fields.items() if value is not None}
            filled[stage] = {**known, **(section or {})}
            if stage != "export":
                filled[stage].setdefault("seed", seed)
    model = given.get("model")
    if isinstance(model, dict) and (model.get("tiny", False) is None or isinstance(model.get("tiny"), dict)):
        filled["model"] = {**model, "tiny": _tiny_defaults(model["tiny"] or {}, given, out, seed)}
    return filled


def _tiny_defaults(tiny: Mapping[str, Any], given: Mapping[str, Any], out: Path, seed: Any) -> dict[str, Any]:
    """A tiny model, whose lessons have none of the problems on which a judge is measured."""
    filled = {"seed": seed, **tiny}
    if "lessons" in tiny and (tiny["lessons"] is None or isinstance(tiny["lessons"], dict)):
        parts = [part for name in ("dev", "canary", "test") if (part := _part(given, out, name))]
        filled["lessons"] = {"leave_out": parts, **(tiny["lessons"] or {})}
    return filled


def _section(given: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = given.get(name)
    return found if isinstance(found, dict) else {}


def _part(given: Mapping[str, Any], out: Path, name: str) -> Path | None:
    """The file of a part of the data; None where there is no such part."""
    default = DataPlan.model_fields["parts"].default if "data" in given else {}
    parts = _section(given, "data").get("parts", default)
    return out / "data" / f"{name}.jsonl" if isinstance(parts, dict) and name in parts else None


def _default_paths(given: Mapping[str, Any], out: Path) -> dict[str, dict[str, Any]]:
    """The fields of each stage that come from a stage before it; None where there is no such stage."""

    def section(name: str) -> dict[str, Any]:
        return _section(given, name)

    has_data, adapters = "data" in given, section("sft").get("lora_rank")
    sharded = section("machine").get("sharding", "none") != "none"

    def part(name: str) -> Path | None:
        return _part(given, out, name)

    model = out / "model" if "tiny" in section("model") else section("model").get("name")
    tuned = out / "sft" / "checkpoint"
    begun = model if "sft" not in given else out / "merged" / "checkpoint" if adapters else tuned
    held_out = None if sharded else part("dev")
    return {
        "data": {},
        "distill": {"pairs": part("distill")},
        "sft": {
            "model": model and str(model),
            "traces": out / "traces" / "traces.jsonl" if "distill" in given else None,
            "held_out": held_out,
        },
        "grpo": {
            "model": begun and str(begun),
            "pool": part("rl"),
            "held_out": held_out,
            "canary": None if sharded else part("canary"),
        },
        "export": {
            "checkpoint": out / "grpo" / "checkpoint" if "grpo" in given else tuned if "sft" in given else None,
            "held_out": part("test"),
            "data_card": out / "data" / "card.md" if has_data else None,
        },
    }


def run(
    recipe: Recipe,
    stages: Sequence[StageName] = (),
    *,
    tell: Callable[[str], None] = lambda _: None,
    name: str = "RECIPE",
) -> dict[StageName, Value | None]:
    """Carry out the stages of a recipe, and return what each came to; None where it leaves nothing but a model.

    A stage that is done is not done again, and one that was killed goes on.

    Args:
        recipe: the recipe.
        stages: some of its stages; none are all.
        tell: is told each stage as it begins.
        name: the recipe as the command line names it, with its seed, for the launch line of an error.

    Raises ConfigError for stages that it does not have, or that this number of processes cannot do; and what a stage
    raises.
    """
    if unknown := [stage for stage in stages if stage not in recipe.stages]:
        raise ConfigError(f"--stage {unknown[0]}: this recipe has {', '.join(recipe.stages)}")
    wanted = [stage for stage in recipe.stages if not stages or stage in stages]
    _check_processes(recipe, wanted, name)
    _check_batches(recipe, wanted)
    results: dict[StageName, Value | None] = {}
    for stage in wanted:
        tell(f"{stage}: {recipe.folder(stage)}")
        results[stage] = _RUNNERS[stage](recipe, recipe.folder(stage))
        gc.collect()  # a trainer is a knot of references, and holds a model
    return results


def _check_processes(recipe: Recipe, wanted: Sequence[StageName], name: str) -> None:
    """Several processes do one stage that they can share; and a recipe for several GPUs is not begun with one."""
    shared = [stage for stage in wanted if stage in _TOGETHER]
    needed = recipe.machine.processes
    if processes() > 1 and (len(wanted) > 1 or not shared):
        raise ConfigError(
            f"{processes()} processes share one stage, sft or grpo: name it with --stage, and run the others without a "
            "launcher"
        )
    if shared and needed > 1 and processes() != needed:
        at = f" on each of {recipe.machine.nodes} nodes" if recipe.machine.nodes > 1 else ""
        command = f"accelerate launch ... -m rmr1_sdk.cli train run {name} --stage {shared[0]}"
        raise ConfigError(
            f"stage {shared[0]} is for {needed} processes, and here is {processes()}: run the others by themselves "
            f"(--stage), and this one as `{command} --out {shlex.quote(str(recipe.out))}`{at}; see docs/recipes.md"
        )


def _check_batches(recipe: Recipe, wanted: Sequence[StageName]) -> None:
    """Check all batch sizes before the first stage runs."""
    plans: dict[StageName, SftPlan | GrpoPlan | None] = {"sft": recipe.sft, "grpo": recipe.grpo}
    for stage, plan in plans.items():
        if plan and stage in wanted:
            try:
                plan.micro_batches(processes())
            except ConfigError as error:
                raise ConfigError(f"{stage}: {error}") from None


def _make_model(recipe: Recipe, out: Path) -> None:
    assert recipe.model
    assert recipe.model.tiny
    assert recipe.sft
    tiny_model.make_from(recipe.sft.traces, out, recipe.model.tiny)


def _merge(recipe: Recipe, out: Path) -> None:
    merge(recipe.folder("sft") / "checkpoint", out)


def _of(stage: str, do: Callable[[Any, Path], Value]) -> Callable[[Recipe, Path], Value]:
    return lambda recipe, out: do(getattr(recipe, stage), out)


_RUNNERS: Mapping[StageName, Callable[[Recipe, Path], Value | None]] = {
    "data": _of("data", prepare),
    "distill": _of("distill", teach),
    "model": _make_model,
    "sft": _of("sft", sft),
    "merge": _merge,
    "grpo": _of("grpo", grpo),
    "export": _of("export", export),
}
