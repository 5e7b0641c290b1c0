"""Pages render: each is parsed as CommonMark with tables, as GitHub does, and held against what a reader would see.

A mark or a tag that begins a line makes a block of HTML of it: what stands there loses its links and bold, and the
paragraph falls into two. A link that is not one prints its brackets; one that leads nowhere looks like any other.
"""

import re
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[1]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "config/README.md", ROOT / "results/README.md"]
COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
LITERAL = re.compile(r"\]\(|\]\[|<!-|--!?>|\*\*|``")  # what only prints where Markdown was not understood
SCHEME = re.compile(r"[a-z]+:")


def parsed(path: Path) -> list[Token]:
    return MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(path.read_text(encoding="utf-8"))


def shown(inline: Token) -> str:
    """What a reader sees of a line but its code: comments print nothing."""
    kept = {"text": lambda token: token.content, "softbreak": lambda token: " "}
    return "".join(kept[token.type](token) for token in inline.children if token.type in kept)


def anchors(path: Path) -> set[str]:
    """The anchors that GitHub gives to headings: small letters, no punctuation, hyphens for blanks, repeats counted."""
    found, tokens = [], parsed(path)
    for opening, inline in pairwise(tokens):
        if opening.type == "heading_open":
            words = "".join(token.content for token in inline.children if token.type in ("text", "code_inline"))
            slug = re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")
            found.append(slug + f"-{found.count(slug)}" * (slug in found))
    return set(found)


def problems(path: Path, files: set[Path]) -> Iterator[str]:
    """One line for each place of a page that does not render as it was meant."""
    before = None
    for token in parsed(path):
        if token.type == "html_block" and (text := COMMENT.sub("", token.content).strip()):
            yield f"line {token.map[0] + 1}: a block of HTML holds {text!r}"
        if before and {before.type, token.type} == {"html_block", "paragraph_open"} and before.map[1] == token.map[0]:
            yield f"line {token.map[0] + 1}: a comment cuts the paragraph"
        before = token if token.map and token.type != "inline" else before
        if token.type != "inline":
            continue
        if literal := LITERAL.search(shown(token)):
            yield f"line {token.map[0] + 1}: {literal[0]!r} prints as it is: {shown(token)!r}"
        for child in token.children:
            target = child.attrGet("href") or child.attrGet("src")
            if target is not None and (why := dead(path, target, files)):
                yield f"line {token.map[0] + 1}: {target}: {why}"


def dead(path: Path, target: str, files: set[Path]) -> str | None:
    """Why a link of a page leads nowhere."""
    if SCHEME.match(target):
        return None
    name, _, anchor = target.partition("#")
    place = (path.parent / name).resolve() if name else path
    if place not in files:
        return "no such file in the repository"
    if anchor and anchor not in anchors(place):
        return f"no such heading in {place.name}"
    return None


@pytest.fixture(scope="module")
def files() -> set[Path]:
    """What a clone has: files and their folders."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    found = {ROOT / name for name in filter(None, listed.split("\0")) if (ROOT / name).exists()}
    return found | {folder for path in found for folder in path.parents}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_page_renders(page: Path, files: set[Path]) -> None:
    assert list(problems(page, files)) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("above by\n<!-- n:a -->0.5<!-- /n --> on [all](a.md).", ["block of HTML holds", "cuts the paragraph"]),
        ("<b>0.5</b>", []),
        ("<div>0.5</div>", ["block of HTML holds '<div>0.5</div>'"]),
        ("text\n<!-- table:a -->\n| a |\n| - |\n<!-- /table -->\n", ["cuts the paragraph"]),
        ("<!-- table:a -->\n| a |\n| - |\n<!-- /table -->\ntext", ["cuts the paragraph"]),
        ("text\n\n<!-- table:a -->\n| a |\n| - |\n<!-- /table -->\n\ntext", []),
        ("[a] (a.md) and [b]\n(a.md)", []),
        ("[a](a b.md)", ["'](' prints"]),
        ("[a][b]", ["'][' prints"]),
        ("`[a](b c)`", []),
        ("a -->0.5", ["'-->' prints"]),
        ("** a **", ["'**' prints"]),
        ("[a](b.md) ![c](c.png)", ["b.md: no such file", "c.png: no such file"]),
        ("[a](#one-two--three-1) [b](a.md#four)", ["#four: no such heading in a.md"]),
        ("| [a](b.md) |\n| - |\n| [c](/d.md) |", ["b.md: no such file", "/d.md: no such file"]),
    ],
)
def test_what_does_not_render_is_found(tmp_path: Path, text: str, found: list[str]) -> None:
    page = tmp_path / "a.md"
    page.write_text(f"{text}\n\n# One, `two` & three\n\n# One, two & three\n")
    told = list(problems(page, {page}))
    assert len(told) == len(found), told
    assert all(want in line for want, line in zip(found, told, strict=True)), told
