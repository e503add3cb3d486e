"""Imports point one way between the packages, and `import decant` stays lean."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {
    "decant": ROOT / "runtime" / "decant",
    "decant_train": ROOT / "train" / "decant_train",
    "decant_export": ROOT / "export" / "decant_export",
    "decant_bench": ROOT / "bench" / "decant_bench",
    "decant_reproduce": ROOT / "bench" / "decant_reproduce",
    "decant_studio": ROOT / "studio" / "decant_studio",
    "decant_bundles": ROOT / "artifacts" / "decant_bundles",
}
# Which of our packages each may import. "later": only inside a function, behind an extra.
ALLOWED = {
    "decant": {},
    "decant_train": {"decant": "now"},
    "decant_export": {"decant": "now", "decant_train": "now"},
    "decant_bench": {"decant": "now", "decant_train": "later", "decant_export": "later"},
    "decant_reproduce": {
        "decant": "now",
        "decant_bench": "now",
        "decant_train": "later",
        "decant_export": "later",
    },
    "decant_studio": {"decant": "now", "decant_bench": "now"},
    "decant_bundles": {},
}
# What a client installs, and what the runtime imports of it. The runtimes are imported in backends alone,
# when one is used.
RUNTIME_REQUIREMENTS = {"numpy", "PIL", "click", "constriction", "safetensors"}
SESSION_REQUIREMENTS = {"onnxruntime", "openvino"}
# What the extra `archive` installs, imported by that package alone.
ARCHIVE_REQUIREMENTS = {"pyarrow", "fsspec", "ray", "torch"}
# A plugin of another program, and a faster deflate, each imported by one module.
PLUGINS = {"numcodecs.py": "numcodecs", "png.py": "isal"}


def imports(path: Path) -> Iterator[tuple[str, bool, int]]:
    """(top-level package, whether at module level, line) of every import in a file, those in TYPE_CHECKING
    blocks left out.
    """

    def visit(node: ast.AST, at_import: bool) -> Iterator[tuple[str, bool, int]]:
        if isinstance(node, ast.Import):
            yield from ((alias.name.split(".")[0], at_import, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            yield (node.module or "").split(".")[0], at_import, node.lineno
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for child in node.orelse:
                yield from visit(child, at_import)
        else:
            inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            for child in ast.iter_child_nodes(node):
                yield from visit(child, at_import and not inside)

    yield from visit(ast.parse(path.read_text(encoding="utf-8")), True)


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_follow_the_arrows(package: str):
    files = sorted(PACKAGES[package].rglob("*.py"))
    assert files
    against = []
    for path in files:
        for name, at_import, line in imports(path):
            if name not in PACKAGES or name == package:
                continue
            allowed = ALLOWED[package].get(name)
            if allowed is None or (allowed == "later" and at_import):
                against.append(f"{path.relative_to(ROOT)}:{line} imports {name}")
    assert not against


def test_the_runtime_imports_what_a_client_has():
    strangers = []
    for path in sorted(PACKAGES["decant"].rglob("*.py")):
        known = RUNTIME_REQUIREMENTS | ({*SESSION_REQUIREMENTS} if path.parent.name == "backends" else set())
        known |= ARCHIVE_REQUIREMENTS if path.parent.name == "archive" else set()
        for name, at_import, line in imports(path):
            ours = name in ("decant", PLUGINS.get(path.name)) or name in sys.stdlib_module_names
            if not ours and (name not in known or (name in SESSION_REQUIREMENTS and at_import)):
                strangers.append(f"{path.relative_to(ROOT)}:{line} imports {name}")
    assert not strangers


def test_the_parser_sees_imports_against_the_arrows(tmp_path: Path):
    source = "import torch\nfrom typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import onnx\n"
    source += "class A:\n    import decant_train.cli\n    def f(self):\n        from decant_export import x\n"
    (tmp_path / "a.py").write_text(source)
    assert list(imports(tmp_path / "a.py")) == [
        ("torch", True, 1),
        ("typing", True, 2),
        ("decant_train", True, 6),
        ("decant_export", False, 8),
    ]


HEAVY = (
    "torch",
    "onnx",
    "onnxruntime",
    "openvino",
    "pyarrow",
    "ray",
    "flask",
    "numpy",
    "PIL",
    "matplotlib",
    "skimage",
)


@pytest.mark.parametrize(
    ("code", "allowed"),
    [
        ("import decant", ()),
        ("import decant.commands.cli", ()),
        ("import decant; decant.Bundle, decant.errors, decant.FormatError", ()),
        ("from decant.commands.cli import main; main(['--help'], standalone_mode=False)", ()),
        ("import decant; decant.Decoder, decant.Encoder, decant.open, decant.save", ("numpy",)),
        ("from decant.commands import cli; cli.main(['decode', '--help'], standalone_mode=False)", ()),
        (
            "import decant.backends.devices; decant.backends.devices.available_devices('onnxruntime')",
            ("numpy", "onnxruntime"),
        ),
    ],
)
def test_nothing_heavy_is_loaded(code: str, allowed: tuple[str, ...]):
    """In a process of its own, with warnings as errors: what is imported lazily must stay so."""
    check = f"{code}\nimport sys\nprint('loaded', *[name for name in {HEAVY} if name in sys.modules])"
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", check], capture_output=True, text=True, check=True
    )
    loaded = run.stdout.splitlines()[-1].split()[1:]
    assert set(loaded) == set(allowed)


def test_an_encoder_loads_nothing_of_tune_iq_unless_asked():
    code = """if True:
        import sys
        import decant, numpy
        encoder = decant.Encoder(sys.argv[1], threads=1)
        for tune in (None, "iq"):
            encoder.encode(numpy.zeros((64, 64, 3), numpy.uint8), tune=tune)
            print(*[name in sys.modules for name in ("decant.codec.visual_encoder", "decant.ssimulacra2")])
    """
    run = subprocess.run(
        [sys.executable, "-c", code, str(ROOT / "artifacts" / "decant_bundles" / "nano")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.splitlines() == ["False False", "True True"]


def test_every_public_name_is_there():
    import decant

    for name in decant.__all__:
        assert getattr(decant, name) is not None
    assert set(dir(decant)) == set(decant.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = decant.nothing


def test_the_error_tree_is_the_one_its_docstring_draws():
    from decant import errors

    drawn: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        words = line.replace("├──", "   ").replace("└──", "   ").replace("│", " ")
        if words.split() and words.split()[0].endswith("Error"):
            drawn.append((len(words) - len(words.lstrip()), words.split()[0]))
    stack: list[tuple[int, type[BaseException]]] = []
    for indent, name in drawn:
        stack = [entry for entry in stack if entry[0] < indent]
        error = getattr(errors, name)
        assert error.__base__ is (stack[-1][1] if stack else Exception), name
        stack.append((indent, error))
    assert {name for _, name in drawn} == {name for name in vars(errors) if name.endswith("Error")}
