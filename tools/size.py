"""Size of the repository: lines, long functions, repeated lines, signatures, modules and docstrings.

`python tools/size.py` measures this checkout, `python tools/size.py FOLDER` another one, to compare with.
"""

import ast
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[1]).resolve()
LONG = 50
SAME = 6
NOUN_CLAUSE = re.compile(r"(What|How|Whether|Where)\b")
KINDS = ("rmr1_sdk", "tests", "perf", "tools", "examples", "docs", "other")


def main() -> None:
    """Print the figures."""
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    files = [ROOT / name for name in tracked.splitlines() if (ROOT / name).is_file()]
    lines: dict[str, int] = defaultdict(int)
    for file in files:
        top = file.relative_to(ROOT).parts[0]
        lines[top if top in KINDS else "other"] += len(file.read_text(encoding="utf-8", errors="replace").splitlines())
    print("lines: " + ", ".join(f"{kind} {lines[kind]}" for kind in KINDS if lines[kind]))
    code = [file for file in files if file.suffix == ".py"]
    long = [found for file in code for found in long_functions(file)]
    print(f"functions over {LONG} lines: {len(long)}")
    print("".join(f"  {found}\n" for found in long), end="")
    same = duplicates(code)
    print(f"stretches of {SAME} or more equal lines: {len(same)}")
    print("".join(f"  {found}\n" for found in same), end="")
    package = [file for file in code if file.is_relative_to(ROOT / "rmr1_sdk")]
    signatures = sorted(((count, place) for file in package for count, place in parameters(file)), reverse=True)
    print(f"longest signature: {signatures[0][0]} parameters, {signatures[0][1]}")
    print("Judge.__init__: {} parameters".format(*(n for n, place in signatures if place.endswith(" Judge.__init__"))))
    print(f"modules directly in rmr1_sdk/: {sum(file.parent.name == 'rmr1_sdk' for file in package) - 1}")
    noun_clauses = [place for file in package for place in docstrings(file) if place]
    print(f"docstrings that begin with What, How, Whether or Where: {len(noun_clauses)}")
    print("".join(f"  {found}\n" for found in noun_clauses[:10]), end="")


def parameters(file: Path) -> Iterator[tuple[int, str]]:
    """Yield the number of parameters of each function, self and cls left out, and its place."""
    for owner in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        for node in ast.iter_child_nodes(owner):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                given = node.args
                names = [each.arg for each in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
                more = [each for each in (given.vararg, given.kwarg) if each]
                count = len([name for name in names if name not in ("self", "cls")]) + len(more)
                name = f"{owner.name}.{node.name}" if isinstance(owner, ast.ClassDef) else node.name
                yield count, f"{file.relative_to(ROOT)}:{node.lineno} {name}"


def docstrings(file: Path) -> Iterator[str]:
    """Yield the place of each docstring that is a noun clause."""
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, kinds) and NOUN_CLAUSE.match(ast.get_docstring(node) or ""):
            yield f"{file.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}"


def long_functions(file: Path) -> list[str]:
    """Functions by their lines, their docstring not counted."""
    found = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        first = node.body[0]
        documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
        length = (node.end_lineno or 0) - node.lineno + 1
        if documented:
            length -= (first.end_lineno or 0) - first.lineno + 1
        if length > LONG:
            found.append(f"{file.relative_to(ROOT)}:{node.lineno} {node.name} ({length})")
    return found


def duplicates(files: list[Path]) -> list[str]:
    """Where SAME lines that are not blank, in a row, occur a second time; imports are left out."""
    seen: dict[tuple[str, ...], str] = {}
    found = []
    for file in files:
        text = file.read_text(encoding="utf-8")
        imports = imported(text)
        rows = [
            (number, line.strip())
            for number, line in enumerate(text.splitlines(), start=1)
            if line.strip() and number not in imports
        ]
        skip_to = 0
        for at in range(len(rows) - SAME + 1):
            window = tuple(text for _, text in rows[at : at + SAME])
            place = f"{file.relative_to(ROOT)}:{rows[at][0]}"
            first = seen.setdefault(window, place)
            if first != place and at >= skip_to:
                found.append(f"{place} and {first}")
                skip_to = at + SAME
    return found


def imported(text: str) -> set[int]:
    """The numbers of the lines that are imports, those that go on over several lines too."""
    imports = (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import | ast.ImportFrom))
    return {number for node in imports for number in range(node.lineno, (node.end_lineno or 0) + 1)}


if __name__ == "__main__":
    main()
