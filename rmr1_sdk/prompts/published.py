"""Published prompt texts of the RM-R1 checkpoints: read from a file or the authors' release, checked, cached.

They are their authors' and not in this package. They are taken from the authors' notebook, which is
read with a syntax tree and never executed, checked against known digests, and cached.
"""

import ast
import hashlib
import json
import re
from contextlib import suppress
from pathlib import Path

from rmr1_sdk.errors import ConfigError, DataError, file_errors
from rmr1_sdk.files.cache import cache_folder, keep

__all__ = ["DEFAULT_URL", "SHA256", "import_notebook", "load", "pull"]

DEFAULT_URL = (
    "https://raw.githubusercontent.com/RM-R1-UIUC/RM-R1/be607b02d9bdacd36f657d87062c1a1b1c75ff74/demo/demo.ipynb"
)
"""The notebook in the authors' repository, at a fixed commit."""

SHA256 = {
    "INSTRUCT_SYSTEM_PROMPT": "e0bf09a87f19837abf172278c348e8fc6ed36034f4f39b98191910533c3df3ed",
    "INSTRUCT_SINGLE_USER_PROMPT_TEMPLATE": "5fa3baf9813bdf0ed9b8601be6fe162ab82e37467e0843c32cfbc22792c65ac2",
    "INSTRUCT_MULTI_USER_PROMPT_TEMPLATE": "8cb7158fc42faa0b78f398ea4f9e475dc204cf9bfd0e81e2d4984059dd5252d9",
    "REASONING_SINGLE_PROMPT_TEMPLATE": "2a0d3caf562d59367bbbefb29c400438e0312def4fbb73fb2e70be8661ddd770",
    "REASONING_MULTI_PROMPT_TEMPLATE": "3abf19ca3d35017131fe26861e09ab3bb343c0fe96e901cea2fe5aeb1a67bedb",
}
"""Of the UTF-8 bytes of each text, by the name it has in the notebook."""


def _cache_file() -> Path:
    return cache_folder() / "published-prompts.json"


def import_notebook(path: Path) -> list[str]:
    """Take the texts from a notebook file into the cache. Returns their names.

    Raises ConfigError when the file cannot be read, and DataError when it is no notebook or a text is
    missing or differs from the published one; then nothing is kept.
    """
    with file_errors(path):
        content = path.read_bytes()
    return _keep(content, path)


def pull(url: str = DEFAULT_URL) -> list[str]:
    """Take the texts from the authors' release into the cache. Returns their names.

    Raises DataError when it cannot be fetched, and as `import_notebook` does.
    """
    import httpx2  # late: nothing else here needs the network

    try:
        answer = httpx2.get(url, follow_redirects=True, timeout=30).raise_for_status()
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise DataError(f"{url}: {error}; with the file at hand, run `rmr1 prompts import FILE`") from error
    return _keep(answer.content, url)


def load() -> dict[str, str] | None:
    """The cached texts by name, or None. Raises ConfigError when the cache was changed."""
    try:
        texts = json.loads(_cache_file().read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{_cache_file()}: {error}; delete it and run `rmr1 prompts pull`") from error
    if not isinstance(texts, dict) or {name: _sha256(text) for name, text in texts.items()} != SHA256:
        raise ConfigError(f"{_cache_file()} was changed; delete it and run `rmr1 prompts pull`")
    return texts


def _sha256(text: object) -> str:
    return hashlib.sha256(str(text).encode()).hexdigest()


def _keep(content: bytes, source: Path | str) -> list[str]:
    constants = _constants(content, source)
    missing = sorted(SHA256.keys() - constants.keys())
    if missing:
        raise DataError(f"{source}: {', '.join(missing)} not found; is this the authors' demo.ipynb?")
    for name, expected in SHA256.items():
        if (found := _sha256(constants[name])) != expected:
            raise DataError(
                f"{source}: {name} is not the published text (its SHA-256 is {found}, not {expected}); nothing was kept"
            )
    keep(_cache_file(), json.dumps({name: constants[name] for name in SHA256}))
    return list(SHA256)


def _constants(content: bytes, source: Path | str) -> dict[str, str]:
    """The string constants that a notebook's code cells assign."""
    try:
        cells = json.loads(content)["cells"]
        sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{source}: not a notebook ({type(error).__name__}: {error})") from error
    assigned = [node for text in sources for node in _statements(text) if isinstance(node, ast.Assign | ast.AnnAssign)]
    constants: dict[str, str] = {}
    for node in assigned:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        if (value := _folded(node.value)) is not None:
            constants |= {target.id: value for target in targets if isinstance(target, ast.Name)}
    return constants


_COMMAND = re.compile(r"^[ \t]*[%!?].*$", re.MULTILINE)


def _statements(text: str) -> list[ast.stmt]:
    """The statements of a code cell. A cell that is no Python even without its shell commands has none."""
    for source in (text, _COMMAND.sub("", text)):
        with suppress(SyntaxError, ValueError, RecursionError, MemoryError):
            return ast.parse(source).body
    return []


def _folded(node: ast.expr | None) -> str | None:
    """The text of strings joined with `+`, f-strings without fields among them; None for anything else."""
    parts: list[str] = []
    left = [node]
    while left:
        match left.pop():
            case ast.Constant(value=str(text)):
                parts.append(text)
            case ast.BinOp(op=ast.Add(), left=first, right=second):
                left += (second, first)
            case ast.JoinedStr(values=values):
                left += reversed(values)
            case _:
                return None
    return "".join(parts)
