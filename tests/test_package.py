"""The wheel: what is in it, what it asks for, and that it works away from the clone."""

import ast
import email
import importlib.metadata
import os
import re
import shutil
import site
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "rope_lab"


def run(*command, cwd) -> str:
    """Standard output of a command that must succeed."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def shipped_files() -> set[str]:
    """Paths under rope_lab that a wheel has to carry."""
    return {
        str(path.relative_to(ROOT))
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    # From a copy: setuptools leaves build/ in the tree, and reuses what is there.
    source = tmp_path_factory.mktemp("source")
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("rope_lab", "experiments", "configs", "benchmarks", "tests"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    run(
        *pip, "wheel", "--no-deps", "--no-build-isolation", "-w", "out", ".", cwd=source
    )
    (built,) = (source / "out").glob("rope_lab-*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """The bin folder of an environment that holds the wheel, and not the clone."""
    place = tmp_path_factory.mktemp("installed")
    builder = venv.EnvBuilder(with_pip=False, symlinks=True)
    builder.create(place)
    python = place / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python, "--no-cache-dir")
    run(*pip, "install", "--no-deps", "--no-index", wheel, cwd=place)
    # Lends the dependencies that are installed here. A folder named by a .pth file has
    # its own .pth files ignored, so an editable rope_lab does not come along.
    (packages,) = place.glob("lib/python*/site-packages")
    (packages / "lent.pth").write_text("\n".join(site.getsitepackages()))
    return place / "bin"


def metadata(wheel: Path) -> email.message.Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        return email.message_from_string(archive.read(name).decode())


def requirements(wheel: Path) -> tuple[set[str], set[str]]:
    """Distributions the package needs, and those its extras add, names normalised."""
    core, extra = set(), set()
    for line in metadata(wheel).get_all("Requires-Dist"):
        name = re.split(r"[^A-Za-z0-9._-]", line)[0]
        (extra if "extra ==" in line else core).add(normalised(name))
    return core, extra


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {n for n in archive.namelist() if ".dist-info/" not in n}
    assert names == shipped_files()


def test_the_wheel_asks_for_python_311_and_offers_the_extras(wheel):
    described = metadata(wheel)
    assert described["Requires-Python"] == ">=3.11"
    extras = set(described.get_all("Provides-Extra"))
    assert extras == {
        "demo",
        "gpu",
        "tpu",
        "hf",
        "parity",
        "colab",
        "dev",
        "docs",
        "wandb",
    }


def test_no_dependency_has_an_upper_bound(wheel):
    # An old Flax breaks under a new JAX: what floats has to float together.
    for line in metadata(wheel).get_all("Requires-Dist"):
        assert not set("<=!~") & set(line.split(";")[0].replace(">=", "")), line


def third_party_imports(path: Path) -> tuple[set[str], set[str]]:
    """Top-level modules a file imports at once, and those its functions import."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    inside = {
        child
        for node in ast.walk(tree)
        if isinstance(node, functions)
        for child in ast.walk(node)
    }
    at_once, later = set(), set()
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module]
        tops = {name.split(".")[0] for name in names}
        (later if node in inside else at_once).update(
            tops - sys.stdlib_module_names - {"rope_lab"}
        )
    return at_once, later


def test_every_import_is_a_declared_dependency(wheel):
    providers = importlib.metadata.packages_distributions()
    core, extra = requirements(wheel)
    for path in sorted(PACKAGE.rglob("*.py")):
        at_once, later = third_party_imports(path)
        for module in at_once | later:
            names = {normalised(n) for n in providers.get(module, [module])}
            allowed = core if module in at_once else core | extra
            assert names & allowed, f"{path.name} imports {module}: not in setup.py"


def test_the_installed_package_is_imported_away_from_the_clone(installed, tmp_path):
    program = "import rope_lab; print(rope_lab.__file__)"
    location = Path(run(installed / "python", "-c", program, cwd=tmp_path).strip())
    assert location.is_relative_to(installed.parent)


def test_the_console_command_explains_itself(installed, tmp_path):
    text = run(installed / "rope-lab", "--help", cwd=tmp_path)
    for command in ("pretrain", "finetune", "extrapolate", "demo"):
        assert command in text


IMPORT_EVERYTHING = """
import importlib, pkgutil, sys
import rope_lab
for module in pkgutil.walk_packages(rope_lab.__path__, "rope_lab."):
    importlib.import_module(module.name)
    print(module.name)
print("loaded:", {"torch", "tensorflow", "transformers"} & set(sys.modules))
"""


def test_importing_every_module_loads_no_other_framework(installed, tmp_path):
    lines = run(installed / "python", "-c", IMPORT_EVERYTHING, cwd=tmp_path)
    *modules, verdict = lines.splitlines()
    assert verdict == "loaded: set()"
    assert len(modules) == len(list(PACKAGE.rglob("*.py"))) - 1  # less the root's own
