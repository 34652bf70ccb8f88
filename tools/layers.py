"""The picture of the package in docs/architecture.md, made from the import contracts in pyproject.toml.

`python tools/layers.py` writes it into the page; `--check` says whether the page has it, and exits with 1 where not.
"""

import ast
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- layers: python tools/layers.py -->\n", "<!-- end of layers -->\n"


def main() -> None:
    """Write the picture, or check it."""
    page = PAGE.read_text(encoding="utf-8")
    drawn = redrawn(page)
    if "--check" not in sys.argv:
        PAGE.write_text(drawn, encoding="utf-8")
    elif drawn != page:
        sys.exit(f"{PAGE.name} is out of date; run python tools/layers.py")


def redrawn(page: str) -> str:
    """The page with today's picture."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{picture()}\n{END}{after}"


def picture() -> str:
    """A table with a row for each layer: its modules, and the first line of their docstrings."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    [layers] = [each["layers"] for each in contracts if each.get("containers") == ["rmr1_sdk"]]
    rows = []
    for number, layer in enumerate(layers, start=1):
        modules = [name.strip() for name in layer.split("|")]
        numbers = [str(number), *[""] * (len(modules) - 1)]
        rows += [f"| {n} | `{name}` | {purpose(name).rstrip('.')} |" for n, name in zip(numbers, modules, strict=True)]
    return "\n".join(["| layer | module | purpose |", "|---|---|---|", *rows, ""])


def purpose(module: str) -> str:
    """The first line of a module's docstring."""
    folder = ROOT / "rmr1_sdk" / module
    file = folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0].replace("|", "\\|")


if __name__ == "__main__":
    main()
