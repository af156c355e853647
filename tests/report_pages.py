"""Checks of report pages: well-formed, self-contained, below 1 MB."""

from __future__ import annotations

import re
from html.parser import HTMLParser

VOID = {"meta", "input", "br", "link", "img"}


class Reader(HTMLParser):
    """Checks that tags nest, ids are unique and what they refer to is there; keeps texts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.references: list[str] = []
        self.links: list[str] = []
        self.tags: list[str] = []
        self.text = ""
        self.feed(page)
        self.close()
        assert self.open == []
        assert len(set(self.ids)) == len(self.ids)
        assert set(self.references) <= set(self.ids)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attributes:
            text = value or ""
            self.ids += [text] if name == "id" else []
            self.references += re.findall(r"url\(#([^)]*)\)", text)
            if name in ("href", "xlink:href", "src", "action"):
                self.references += [text[1:]] if text.startswith("#") else []
                self.links += [] if text.startswith("#") else [text]

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def check_page(page: str) -> Reader:
    """Well-formed, self-contained, under 1 MB."""
    reader = Reader(page)
    assert all(link.startswith("data:image/png;base64,") for link in reader.links)
    assert not re.findall(r"(?<!xmlns=\")(?<!xmlns:xlink=\")https?://", page)
    assert not {"link", "img", "iframe", "object", "embed"} & set(reader.tags)
    assert reader.tags.count("script") == 1
    assert len(page.encode()) < 1_000_000
    return reader
