"""The drawing in docs/architecture.md is the tree, no package imports in a circle, and files stay short."""

import ast
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {
    "decant": ROOT / "runtime",
    "decant_train": ROOT / "train",
    "decant_export": ROOT / "export",
    "decant_bench": ROOT / "bench",
    "decant_reproduce": ROOT / "bench",
    "decant_studio": ROOT / "studio",
}
LONGEST = 400
Graph = dict[str, set[str]]


def tracked() -> list[str]:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if listing.returncode:
        pytest.skip("not a git checkout")
    return [path for path in listing.stdout.splitlines() if (ROOT / path).exists()]


def drawn() -> set[str]:
    """The paths of the drawing, folders with a slash at the end."""
    page = (ROOT / "docs" / "architecture.md").read_text()
    block = page.split("## Where things are\n\n```\n")[1].split("```")[0]
    paths, above = set(), [""]
    for line in block.splitlines():
        depth = (len(line) - len(line.lstrip())) // 4
        above[depth + 1 :] = [above[depth] + line.split()[0]]
        paths.add(above[depth + 1])
    return paths


def test_the_drawing_is_the_tree() -> None:
    expected = set()
    for path in tracked():
        parts = path.split("/")
        if parts[0].startswith("."):
            continue
        depth = 2 if parts[0] == "artifacts" else 3
        folders = parts[:-1][:depth]
        expected |= {"/".join(folders[:i]) + "/" for i in range(1, len(folders) + 1)}
        module = len(parts) == 3 and parts[1] in PACKAGES and parts[2].endswith(".py")
        if module and parts[2] != "__init__.py":
            expected.add(path)
    assert drawn() == expected


def imports(tree: ast.AST) -> Iterator[str]:
    """Every module and name that a file imports, inside functions too, those for type checkers left out."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        yield from imports(node)


def import_graph(package: str, base: Path) -> Graph:
    """Module -> the modules of the same package that it imports."""
    paths = {}
    for path in (base / package).rglob("*.py"):
        parts = path.relative_to(base).with_suffix("").parts
        paths[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    graph: Graph = {}
    for module, path in paths.items():
        found = set()
        for name in imports(ast.parse(path.read_text(encoding="utf-8"))):
            target = name if name in paths else name.rpartition(".")[0]
            if target in paths and target not in (module, package):
                found.add(target)
        graph[module] = found
    return graph


def folders_of(graph: Graph, package: str, base: Path) -> Graph:
    """The same between folders; modules at the top of the package stand for themselves."""

    def folder(module: str) -> str:
        if (base / module.replace(".", "/")).is_dir():
            return module
        above = module.rpartition(".")[0]
        return module if above == package else above

    between: Graph = {folder(module): set() for module in graph}
    for module, targets in graph.items():
        between[folder(module)] |= {folder(target) for target in targets} - {folder(module)}
    return between


def circle(graph: Graph) -> list[str]:
    """What is left when modules that import nothing that is left are taken away, again and again."""
    left = dict(graph)
    while done := [module for module, targets in left.items() if not targets & left.keys()]:
        for module in done:
            del left[module]
    return sorted(left)


@pytest.mark.parametrize("package", PACKAGES)
def test_nothing_imports_in_a_circle(package: str) -> None:
    base = PACKAGES[package]
    graph = import_graph(package, base)
    assert len(graph) > 5
    assert not circle(graph)
    assert not circle(folders_of(graph, package, base))


def test_a_circle_is_found() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}, "e": set()}) == ["a", "b", "c", "d"]


def test_files_are_short() -> None:
    sources = [path for path in tracked() if path.endswith((".py", ".c", ".h", ".js", ".mjs"))]
    lines = {path: len((ROOT / path).read_text().splitlines()) for path in sources}
    assert not {path: count for path, count in lines.items() if count > LONGEST}


def test_files_of_tests_have_different_names():
    """pytest imports them by their names alone."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))
