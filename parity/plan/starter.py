"""A first system for a project that has none: the example of the tutorial, in two files or in one."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from parity.base.paths import CONFIGURATION, SECTION, read

NAME = "hum"
_IMPORT = f"from references.{NAME} import REFERENCE\n"


def write(root: Path, one_file: bool = False) -> list[str]:
    """Write the example, and `[tool.parity]` where the project has none; return the files that were written.

    Args:
        root: The project's folder.
        one_file: True for one file, `port.py`, instead of one in `references/` and one in `converters/`.
    """
    example = files("parity.plan") / "example"
    reference, converter = ((example / f"{name}.txt").read_text("utf-8") for name in ("reference", "converter"))
    if one_file:
        systems, texts = "port.py", {"port.py": _merged(reference, converter.replace(_IMPORT, ""))}
    else:
        systems, texts = "converters", {f"references/{NAME}.py": reference, f"converters/{NAME}.py": converter}
    folders = {name.partition("/")[0] for name in texts if "/" in name}
    taken = [name for name in (*texts, *folders) if (root / name).exists() and not (root / name).is_dir()]
    if taken:
        raise ValueError(f"{root / taken[0]} exists already; nothing was written. Move it, or start in another folder")
    # Without an __init__.py, Python prefers an installed package of the same name.
    packages = (f"{folder}/__init__.py" for folder in sorted(folders))
    texts = {name: "" for name in packages if not (root / name).exists()} | texts
    configured = read(root)
    if configured and systems not in configured.systems:
        raise ValueError(
            f"{root / CONFIGURATION}: {SECTION} names {', '.join(configured.systems)} in `systems`; add {systems!r}"
        )
    for name, text in texts.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    if configured is None:
        path = root / CONFIGURATION
        before = path.read_text(encoding="utf-8").rstrip("\n") + "\n\n" if path.exists() else ""
        path.write_text(f'{before}{SECTION}\nsystems = ["{systems}"]\n', encoding="utf-8")
    return [*texts, *([] if configured else [CONFIGURATION])]


def _merged(*texts: str) -> str:
    """Return one module of several, with the imports of all at its top, each once."""
    lines = [line for text in texts for line in text.splitlines()]
    imports = dict.fromkeys(line for line in lines if line.startswith(("import ", "from ")))
    bodies = ["\n".join(line for line in text.splitlines() if line not in imports).strip("\n") for text in texts]
    return "\n".join(imports) + "\n\n\n" + "\n\n\n".join(bodies) + "\n"
