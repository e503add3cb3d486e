"""Public names of the runtime and of export are documented, with the errors that they raise."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = (ROOT / "runtime" / "decant", ROOT / "export" / "decant_export")
COMMANDS = ("commands", "cli.py")  # click ends these; their help says what users need
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def definitions(body: list[ast.stmt], inside: str = "") -> Iterator[tuple[str, Definition]]:
    """Public functions, classes and methods."""
    for node in body:
        if isinstance(node, Definition) and not node.name.startswith("_"):
            yield f"{inside}{node.name}", node
            if isinstance(node, ast.ClassDef):
                yield from definitions(node.body, f"{node.name}.")


def documented() -> Iterator[tuple[str, str, Definition | ast.Module]]:
    """File and name, docstring, and the tree of every public name and module."""
    for package in PACKAGES:
        for path in sorted(package.rglob("*.py")):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            where = str(path.relative_to(ROOT))
            yield where, ast.get_docstring(tree) or "", tree
            for name, node in definitions(tree.body):
                yield f"{where}: {name}", ast.get_docstring(node) or "", node


def test_every_public_name_has_a_docstring() -> None:
    found = list(documented())
    assert len(found) > 500
    assert not [where for where, text, _ in found if not text]


def test_errors_that_a_function_raises_are_in_its_docstring() -> None:
    """Our own errors, by the word ``Raises`` or by reference to what says so."""
    silent = []
    for where, text, node in documented():
        if not isinstance(node, ast.FunctionDef) or any(part in where for part in COMMANDS):
            continue
        raised = {
            ast.unparse(one.exc.func)
            for one in ast.walk(node)
            if isinstance(one, ast.Raise) and isinstance(one.exc, ast.Call)
        }
        ours = {name for name in raised if name.endswith("Error") and name not in dir(__builtins__)}
        ours -= {"AssertionError", "AttributeError", "NotImplementedError", "ValueError", "OSError"}
        if ours and "aise" not in text and "See " not in text:
            silent.append(f"{where}: {', '.join(sorted(ours))}")
    assert not silent


def test_the_codec_names_its_papers() -> None:
    """Each idea is cited where it is implemented (author and year)."""
    places = {
        "scale_network.py": "Ballé et al. 2018",
        "context_network.py": "Minnen and Singh 2020",
        "checkerboard.py": "He et al. 2021",
        "rans.py": "Duda 2013",
        "layout.py": "Cui et al. 2021",
        "refinement.py": "Yang et al. 2020",
        "quantization.py": "RDO quantization",
    }
    for name, paper in places.items():
        (path,) = (ROOT / "runtime" / "decant" / "codec").rglob(name)
        assert paper in path.read_text(encoding="utf-8"), f"{path}: {paper}"
