"""The documentation site lists every page, and the files beside the code agree with it."""

import json
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_every_page_is_in_the_navigation() -> None:
    listed = re.findall(r": ([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    pages = [path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")]
    assert sorted(listed) == sorted(pages)


def test_the_api_page_names_every_public_name() -> None:
    import decant

    page = (ROOT / "docs" / "api.md").read_text()
    named = set(re.findall(r"^::: decant\.(\w+)$", page, re.MULTILINE))
    errors = {name for name in decant.__all__ if hasattr(decant.errors, name)}
    assert "errors" in named
    assert set(decant.__all__) - errors - {"__version__", "errors"} == named - {"errors"}


def test_the_page_of_formats_names_the_tensors_of_the_shipped_graphs() -> None:
    rows = re.findall(
        r"^\| `(\w+)`[^|]*\| (.+?) \| (.+?) \|$", (ROOT / "docs" / "format.md").read_text(), re.MULTILINE
    )
    seen = set()
    for path in sorted((ROOT / "artifacts" / "decant_bundles").glob("*/bundle.json")):
        for graph in json.loads(path.read_text())["graphs"]:
            role, tensors = graph["role"], [{t["name"] for t in graph[key]} for key in ("inputs", "outputs")]
            documented = [
                [set(re.findall(r"`([\w.]+)`(?= float32| uint8| and)", cell)) for cell in cells]
                for name, *cells in rows
                if name == role
            ]
            assert tensors in documented, (path.parent.name, role, tensors)
            seen.add(role)
    assert {"synthesis", "analysis", "hyper_mean", "prediction", "synthesis_adjoint"} <= seen


def test_the_citation_has_the_version_of_the_package() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"version: {version}\n" in (ROOT / "CITATION.cff").read_text()


def test_the_guides_name_files_and_symbols_that_exist() -> None:
    """In pages for those who change the code: `path` or `path: symbol`, ..., paths from any folder on."""
    listing = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    )
    if listing.returncode:
        pytest.skip("not a git checkout")
    tracked = ["/" + path for path in listing.stdout.splitlines() if (ROOT / path).exists()]
    missing = []
    for page in ("docs/architecture.md", "docs/change_model.md", "CONTRIBUTING.md"):
        for path, symbol in re.findall(
            r"`([\w/-]+\.(?:py|c|h))(?:: ([\w.]+))?`", (ROOT / page).read_text(encoding="utf-8")
        ):
            files = [ROOT / file[1:] for file in tracked if file.endswith(f"/{path}")]
            name = symbol.rpartition(".")[2]
            if not any(re.search(rf"\b{name}\b", file.read_text(encoding="utf-8")) for file in files):
                missing.append(f"{page}: {path} {symbol}")
    assert not missing


def sentences(page: str) -> Iterator[str]:
    """The sentences of the prose and the table cells of a Markdown page, without code blocks and headings."""
    prose = re.sub(r"^```.*?^```$", "", page, flags=re.DOTALL | re.MULTILINE)
    prose = re.sub(r"^#.*$", "", prose, flags=re.MULTILINE)
    prose = re.sub(r"^\|", "\n\n", prose, flags=re.MULTILINE).replace("|", "\n\n")
    for paragraph in re.split(r"\n\s*\n|\n\s*(?=(?:[*-]|\d+\.) )", prose):
        text = re.sub(r"\s+", " ", re.sub(r"`[^`]*`", "X", re.sub(r"\]\([^)]*\)", "]", paragraph)))
        yield from re.split(r"(?<=[.!?:;]) (?=[A-Z0-9*\[(])", text)


def test_sentences_of_the_pages_are_short() -> None:
    """CONTRIBUTING.md asks for at most 25 words; a few sentences need some more."""
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    pages = [page for page in pages if "notebook" not in page.parts and page.name != "CHANGELOG.md"]
    assert len(pages) > 25
    long = [
        f"{page.relative_to(ROOT)}: {sentence}"
        for page in pages
        for sentence in sentences(page.read_text(encoding="utf-8"))
        if sum(bool(re.search(r"\w", word)) for word in sentence.split()) > 32
    ]
    assert not long


def test_sentences_are_told_apart() -> None:
    page = "# A title\n\nOne `code here` two. Three\nfour\n\n```\nnot this\n```\n\n| five | six |\n"
    page += "* seven\n* eight"
    found = [sentence.strip() for sentence in sentences(page) if sentence.strip()]
    assert found == ["One X two.", "Three four", "five", "six", "* seven", "* eight"]
