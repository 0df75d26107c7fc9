"""The arrangement of the code holds: imports point one way, nothing claims our names, the lock names no address."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from web import chart_library

ROOT = Path(__file__).resolve().parent.parent
MAY_IMPORT = {
    "schemas": set(),
    "producers": {"schemas"},
    "consumers": {"schemas"},
    "signals": {"schemas"},
    "simulator": {"schemas"},
    "web": {"schemas", "consumers", "signals"},
    "flowtape": {"schemas", "producers", "consumers", "signals", "simulator", "web"},
}


def _imports(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file.name} imports relatively"
            found.add((node.module or "").split(".")[0])
    return found


@pytest.mark.parametrize("package", sorted(MAY_IMPORT))
def test_first_party_imports_point_one_way(package: str) -> None:
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    for file in files:
        ours = _imports(file) & set(MAY_IMPORT) - {package}
        assert ours <= MAY_IMPORT[package], f"{file.relative_to(ROOT)} imports {ours}"


def test_commands_that_compute_nothing_import_no_compiler_and_no_table_library() -> None:
    light = ["cli", "supervisor", "worker", "status", "top", "sub", "migrate", "servers", "doctor", "gaps", "backfill"]
    modules = [*(f"flowtape.{name}" for name in light), "producers._run", "consumers._run", "simulator._run"]
    code = f"import sys, {', '.join(modules)}; print(*{{'numba', 'llvmlite', 'pyarrow', 'talib'}} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_no_installed_package_claims_our_import_names() -> None:
    ours = set(MAY_IMPORT) | {"sql"}
    for name, distributions in importlib.metadata.packages_distributions().items():
        assert name not in ours or set(distributions) == {"flowtape"}, f"{name} also comes from {distributions}"


def test_the_lock_file_pins_hashes_and_names_no_address() -> None:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    assert not [line for line in lines if "://" in line and not line.lstrip().startswith("#")]
    pins = [line for line in lines if re.match(r"[a-z0-9-]+==", line)]
    assert pins
    assert all(line.rstrip().endswith("\\") for line in pins), "a pin without a hash"


def test_the_page_s_lock_pins_its_chart_library_by_hash_and_names_no_address() -> None:
    packages = msgspec.json.decode((ROOT / "web" / "package-lock.json").read_bytes())["packages"]
    assert packages["node_modules/lightweight-charts"]["version"] == chart_library.VERSION
    for name, package in packages.items():
        assert "resolved" not in package
        assert not name or package["integrity"].startswith("sha512-"), f"{name} has no hash"


def test_tests_are_never_shipped() -> None:
    assert '"tests"' not in re.search(r"packages = \[(.*?)\]", (ROOT / "pyproject.toml").read_text())[1]
