"""The page Reports: this machine, and saved reports by id; nothing outside the folders given."""

import json
import re
from pathlib import Path

import pytest
from decant_studio.reports import markdown

ROOT = Path(__file__).parents[2]


@pytest.fixture
def shelf(make_browser, tmp_path: Path):
    folder = tmp_path / "mine"
    (folder / "deep").mkdir(parents=True)
    (folder / "rd.md").write_text(
        "# Rate and distortion\n\n| codec | bpp |\n| --- | --- |\n| <b>x</b> | 0.5 |\n"
    )
    (folder / "deep" / "page.html").write_text(
        "<style>p{color:red}</style><script>parent.x = 1</script><p>hello"
    )
    (folder / "rows.csv").write_text("a,b\n1,2\n")
    (folder / "plot.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"><script>x()</script></svg>')
    (folder / "secret.txt").write_text("no report")
    (folder / "bad.json").write_text("{")
    (tmp_path / "outside.md").write_text("# Outside")
    (folder / "link.md").symlink_to(tmp_path / "outside.md")
    return make_browser(reports=(folder,))


def links(browser) -> dict[str, str]:
    """Address by file name."""
    page = browser.get("/reports").text
    return {name: address for address, name in re.findall(r'href="(/reports/\w+)">([^<]+)</a>', page)}


def test_reports_are_listed_and_shown(shelf) -> None:
    found = links(shelf)
    assert sorted(found) == ["bad.json", "page.html", "rd.md", "rows.csv"]
    text = shelf.get(found["rd.md"]).text
    assert "<h1>Rate and distortion</h1>" in text
    assert "&lt;b&gt;x&lt;/b&gt;</td>" in text
    assert "/api/reports/" in text  # the plot of the folder
    assert "<td>2</td>" in shelf.get(found["rows.csv"]).text
    assert "{" in shelf.get(found["bad.json"]).text


def test_a_page_of_a_report_is_shown_without_an_origin(shelf) -> None:
    answer = shelf.get(links(shelf)["page.html"])
    policy = answer.headers["Content-Security-Policy"]
    assert answer.data.endswith(b"hello")
    assert policy.startswith("sandbox allow-scripts")
    assert "default-src 'none'" in policy
    assert "allow-same-origin" not in policy


@pytest.mark.parametrize(
    "name", ["outside.md", "../outside.md", "secret.txt", "%2e%2e%2foutside.md", "0" * 16]
)
def test_nothing_is_opened_by_its_path(shelf, name) -> None:
    assert shelf.get(f"/reports/{name}").status_code == 404
    assert shelf.get(f"/api/reports/{name}").status_code == 404


def test_the_reports_of_the_source_tree_are_the_default(browser) -> None:
    found = links(browser)
    assert "rd.md" in found
    for name, address in found.items():
        assert browser.get(address).status_code == 200, name


def test_a_latency_record_is_shown_as_its_table(browser) -> None:
    text = browser.get(links(browser)["latency.json"]).text
    record = json.loads((ROOT / "artifacts" / "reports" / "base" / "latency.json").read_text())
    assert record["kind"] == "latency"
    assert "jpeg-q75" in text
    assert "&#34;schema&#34;" not in text


def test_this_machine_is_listed_and_measured(browser) -> None:
    found = browser.job("/api/devices")["figures"]
    assert ("onnxruntime", "cpu") in {(one["runtime"], one["kind"]) for one in found["devices"]}
    assert found["streams"] in ("in C", "by numpy")
    rows = browser.job("/api/latency")["figures"]["rows"]
    assert [row["codec"] for row in rows][-3:] == ["JPEG", "WebP", "AVIF"]
    assert all(row["median_ms"] >= row["least_ms"] > 0 for row in rows)


def test_markdown_is_escaped_and_leads_nowhere() -> None:
    text = "# <x>\n\n[a](javascript:1) **b** `c|d` <img src=x>\n\n- one\n* two\n\n```sh\n<y>\n```\n"
    page = str(markdown.rendered(text))
    assert "<x>" not in page
    assert "<img" not in page
    assert "javascript" not in page
    assert "<strong>b</strong> <code>c|d</code>" in page
    assert "<li>one</li><li>two</li>" in page
    assert "&lt;y&gt;" in page
