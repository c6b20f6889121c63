"""Cells of a table as a page shows them."""

from __future__ import annotations

from quality.html_table import table


def test_numbers_stand_to_the_right_text_is_escaped_and_none_is_not_known() -> None:
    assert table(("a<b", "c"), [(1, "<i>"), (None, 0.5)]) == (
        "<table><thead><tr><th>a&lt;b</th><th>c</th></tr></thead><tbody>"
        '<tr><td class="number">1</td><td>&lt;i&gt;</td></tr><tr><td>not known</td><td>0.5</td></tr></tbody></table>'
    )
