"""The Markdown of our own reports as HTML: headings, paragraphs, lists, tables, code. All is escaped."""

import re

from markupsafe import Markup, escape

_CODE = re.compile(r"`([^`]+)`")
_STRONG = re.compile(r"\*\*([^*]+)\*\*")
_LINK = re.compile(r"\[([^\]]+)\]\([^)]*\)")


def rendered(text: str) -> Markup:
    """A page of Markdown. Links are shown as their text: a report leads nowhere."""
    parts: list[str] = []
    lines = text.splitlines()
    at = 0
    while at < len(lines):
        line = lines[at]
        if line.startswith("```"):
            end = next((i for i in range(at + 1, len(lines)) if lines[i].startswith("```")), len(lines))
            code = escape("\n".join(lines[at + 1 : end]))
            parts.append(f'<pre tabindex="0"><code>{code}</code></pre>')
            at = end + 1
        elif line.startswith("#"):
            level = min(len(line) - len(line.lstrip("#")), 4)
            parts.append(f"<h{level}>{_inline(line.lstrip('#').strip())}</h{level}>")
            at += 1
        elif line.startswith("|"):
            end = next((i for i in range(at, len(lines)) if not lines[i].startswith("|")), len(lines))
            parts.append(_table(lines[at:end]))
            at = end
        elif line.startswith(("* ", "- ")):
            end = next(
                (i for i in range(at, len(lines)) if not lines[i].startswith(("* ", "- "))), len(lines)
            )
            items = "".join(f"<li>{_inline(item[2:])}</li>" for item in lines[at:end])
            parts.append(f"<ul>{items}</ul>")
            at = end
        elif line.strip():
            end = next((i for i in range(at, len(lines)) if not lines[i].strip()), len(lines))
            parts.append(f"<p>{_inline(' '.join(lines[at:end]))}</p>")
            at = end
        else:
            at += 1
    return Markup("\n".join(parts))


def table(rows: list[list[str]], label: str) -> Markup:
    """Rows of text, the first of them headers, as a table that scrolls."""
    head, *body = rows
    numeric = [
        bool(body) and all(_is_number(row[i]) for row in body if i < len(row)) for i in range(len(head))
    ]
    cells = "".join(f'<th scope="col"{_left(numeric[i])}>{_inline(cell)}</th>' for i, cell in enumerate(head))
    lines = []
    for row in body:
        shown = "".join(
            f"<td{_left(i < len(numeric) and numeric[i])}>{_inline(cell)}</td>" for i, cell in enumerate(row)
        )
        lines.append(f"<tr>{shown}</tr>")
    return Markup(
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(label)}"><table>'
        f"<thead><tr>{cells}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def _table(lines: list[str]) -> str:
    rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))] for line in lines]
    rows = [row for row in rows if not all(re.fullmatch(r":?-+:?", cell) for cell in row)]
    return str(table(rows, "Table")) if rows else ""


def _inline(text: str) -> str:
    shown = str(escape(_LINK.sub(r"\1", text)))
    shown = _CODE.sub(r"<code>\1</code>", shown)
    return _STRONG.sub(r"<strong>\1</strong>", shown)


def _left(numeric: bool) -> str:
    return "" if numeric else ' class="word"'


def _is_number(cell: str) -> bool:
    return bool(re.match(r"^[-+–<>≤≥~]?\s?[\d.,]", cell)) or not cell or cell in ("-", "–")
