"""python docs/check_links.py FOLDER: every link of a built site leads somewhere.

Files, and the places inside them that a link names; other sites are not asked.
"""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """What a page links to, and the places in it that can be linked to."""

    def __init__(self, path: Path):
        super().__init__()
        self.targets: list[str] = []
        self.places: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            if name in ("href", "src") and value:
                self.targets.append(value)
            elif name in ("id", "name") and value:
                self.places.add(value)


def broken_links(folder: Path) -> list[str]:
    """ "page: target" for each link inside the site that leads nowhere."""
    pages = {path: Page(path) for path in sorted(folder.rglob("*.html"))}
    found = []
    for path, page in pages.items():
        for target in page.targets:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                continue
            file = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            place = unquote(parts.fragment)
            if not file.exists():
                found.append(f"{path.relative_to(folder)}: {target}")
            elif place and file in pages and place not in pages[file].places:
                found.append(f"{path.relative_to(folder)}: {target}, no such place")
    return found


def main() -> None:
    folder = Path(sys.argv[1]).resolve()
    broken = broken_links(folder)
    print("\n".join(broken) or f"all links inside {folder.name} lead somewhere")
    sys.exit(bool(broken))


if __name__ == "__main__":
    main()
