"""Rules of the project itself."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_pinned_versions_name_no_index() -> None:
    """Each line pins one version; where it comes from is the machine's affair."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert pins
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", line) for line in pins)


def test_every_package_is_typed() -> None:
    """Type checkers of users see our types."""
    assert all((ROOT / name / "py.typed").exists() for name in ("agent", "cache", "chains"))


def test_importing_the_cache_loads_nothing_heavy() -> None:
    """A client of Redis, models, readers of documents and web frameworks are loaded when they are used."""
    heavy = "redis openai langchain langchain_openai onnxruntime tokenizers docx pypdf typer rich fastapi"
    code = f"import cache, sys; print([name for name in '{heavy}'.split() if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_example_of_the_readme_runs_as_printed() -> None:
    """It prints what the README says that it prints."""
    found = re.search(r"```python\n(.*?)```\n```\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert found
    done = subprocess.run([sys.executable, "-c", found[1]], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == found[2]
