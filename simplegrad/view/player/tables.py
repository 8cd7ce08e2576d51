"""Tables of a page, as HTML in which no text of a run is markup."""

from __future__ import annotations

import html
from collections.abc import Sequence


def table(testid: str, head: Sequence[str], body: Sequence[str]) -> str:
    titles = "".join(f"<th>{html.escape(title)}</th>" for title in head)
    return (
        f'<div class="sg-scroll"><table class="sg-table" data-testid="{testid}"><thead><tr>{titles}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def made_row(cells: Sequence[str], attributes: str = "") -> str:
    return f"<tr {attributes}>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>"
