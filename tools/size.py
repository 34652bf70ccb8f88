"""How large this repository is: lines, functions over 50 lines, and lines that occur twice."""

import ast
import subprocess
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LONG = 50
SAME = 6
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
