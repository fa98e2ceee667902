"""HTML as a person reads it."""

from __future__ import annotations

import pytest
from resiliparse.parse.html import HTMLParserException

from mail_ingest.mime import html_to_text, parse
from mail_ingest.mime.readable import MAX_HTML_CHARS
from mail_ingest.mime.tangled import cut_tags, is_tangled
from mail_ingest_tests.mime.builders import part


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("", ""),
        ("plain words", "plain words"),
        ("<p>one</p><p>two</p>", "one\n\ntwo"),
        ("one<br>two<br/>three", "one\ntwo\nthree"),
        ("<div>one</div><div>two</div>", "one\ntwo"),
        ("<h1>Title</h1>text", "Title\n\ntext"),
        ("  lots   of\n space <b> bold </b><i>it</i>alic", "lots of space bold italic"),
        ("one<hr>two", "one\ntwo"),
        ("<p>unclosed<p>paragraphs", "unclosed\n\nparagraphs"),
        ("a &amp; b &lt;c&gt; &eacute;&#233;&#xe9; &copy 2024", "a & b <c> ééé © 2024"),
        ("a&nbsp;b\u00a0c", "a b c"),
        ("soft\u00adhy\u200bphen\ufeff", "softhyphen"),
        ("&#xD800;&#0;", "\ufffd\ufffd"),
        ("<br><br><br><br>far<br><br><br><br><br>apart", "far\n\napart"),
    ],
)
def test_text_and_paragraphs(html, text):
    assert html_to_text(html) == text


def test_lists_keep_their_bullets_numbers_and_nesting():
    html = "<ul><li>one<li>two<ul><li>inner</ul></ul><ol><li>first<li>second</ol>"

    assert html_to_text(html) == "  • one\n  • two\n    • inner\n  1. first\n  2. second"


def test_table_rows_are_lines_and_cells_are_separated_by_tabs():
    html = "<table><tr><th>Item<th>Price</tr><tr><td>Tea</td><td>3.00</td></tr></table>total"

    assert html_to_text(html) == "Item\tPrice\nTea\t3.00\ntotal"


def test_cells_that_outlook_fills_with_paragraphs_stay_on_their_row():
    cell = '<td style="x">\n <p class="MsoNormal">%s</p>\n</td>'
    row = "<TR>" + cell % "Tea" + cell.replace("p ", "div ").replace("/p", "/div") % "3.00" + "</TR>"

    assert html_to_text(f"<table>{row}{row}</table>") == "Tea\t3.00\nTea\t3.00"


def test_layout_tables_read_from_top_to_bottom():
    html = "<table><tr><td><table><tr><td>Logo</td></tr><tr><td><h1>Hi</h1>text</td></tr></table></td></tr></table>"

    assert [line for line in html_to_text(html).split("\n") if line] == ["Logo", "Hi", "text"]


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ('<a href="https://x.example/p">here</a>', "here (https://x.example/p)"),
        ('<a href="https://x.example/">https://x.example</a>!', "https://x.example!"),
        ('<a href="https://x.example/p?q=1">x.example/p?q=1</a>', "x.example/p?q=1"),
        ('<a href="mailto:a@x.example">a@x.example</a>', "a@x.example"),
        ('<a href="mailto:a@x.example">write</a>', "write (mailto:a@x.example)"),
        ('<a href="https://x.example/"><img src="b.png" alt="Shop"></a>', "Shop (https://x.example/)"),
        ('<a href="https://x.example/"><img src="b.png"></a>after', "after"),
        ('<a name="top">Title</a> <a>x</a>', "Title x"),
        ("as he said (http://y.example) once", "as he said (http://y.example) once"),
    ],
)
def test_links_tell_their_targets_unless_they_show_them(html, text):
    assert html_to_text(html) == text


def test_preformatted_text_keeps_its_spaces_and_lines():
    assert html_to_text("<pre>def f():\n    return  1\n</pre>") == "def f():\n    return  1"


def test_quotes_are_marked_by_depth():
    html = "new<blockquote><p>first</p><p>second</p><blockquote>older<br>oldest</blockquote>tail</blockquote>end"

    assert html_to_text(html) == "new\n> first\n>\n> second\n>\n> > older\n> > oldest\n> tail\nend"


def test_quotes_side_by_side_and_unclosed_ones_are_marked():
    assert html_to_text("<BLOCKQUOTE>a</BLOCKQUOTE><BLOCKQUOTE>b</BLOCKQUOTE>c") == "> a\n> b\nc"
    assert html_to_text("<BLOCKQUOTE>a</BLOCKQUOTE><blockquote>b</blockquote>c") == "> a\n> b\nc"
    assert html_to_text("<blockquote>a</blockquote></blockquote>b<blockquote>c") == "> a\nb\n> c"


def test_deep_quotes_are_marked_ten_deep():
    depth = 40

    assert html_to_text("<blockquote>" * depth + "x" + "</blockquote>" * depth) == "> " * 10 + "x"


def test_private_use_characters_of_the_mail_cannot_pass_for_quote_marks():
    assert html_to_text("\ue000a\ue001<blockquote>b\ue001c</blockquote>d") == "a\n> bc\nd"


@pytest.mark.parametrize(
    "hidden",
    [
        "<script>var x = '<p>no</p>';</script>",
        "<style>p { color: red }</style>",
        "<title>no</title>",
        "<!-- no -->",
        "<!--[if mso]><p>no</p><![endif]-->",
        "<noscript>no</noscript>",
        "<template>no</template>",
        "<div hidden>no</div>",
        '<div style="display:none">no<p>no</p></div>',
        '<span style="color: red; DISPLAY: None !important">no</span>',
        '<p style="visibility:hidden">no</p>',
        '<input type="hidden" value="no">',
        '<img src="no.png" alt="">',
    ],
)
def test_what_is_not_shown_is_not_told(hidden):
    assert html_to_text(f"<p>yes</p>{hidden}<p>yes</p>").split() == ["yes", "yes"]


def test_text_for_other_readers_than_outlook_is_told():
    assert html_to_text("a<![if !mso]>b<![endif]><o:p>c</o:p>") == "abc"


def test_surrogates_are_replaced():
    assert html_to_text("a\ud800b").encode() == b"a?b"


def test_html_is_read_only_when_there_is_no_text():
    assert parse(part("text/html", b"<p>a<p>b")).text_from_html == "a\n\nb"


TANGLED = {
    "unclosed formatting before many paragraphs": "<p>" + "".join(f"<b id={n}>" for n in range(2_000)) + "<p>x" * 2_000,
    "many open elements": "<b>" + "<div>" * 5_000 + "</b>" * 5_000,
    "many options": "<select>" + "<option>" * 5_000,
    "many attributes": "<p " + " ".join(f"a{n}" for n in range(5_000)) + ">x",
    "many attributes by line": "<p " + "\n".join(f"a{n}=1" for n in range(5_000)) + ">x",
    "many attributes by slash": "<p " + "/".join(f"a{n}" for n in range(5_000)) + ">x",
    "many quoted attributes": "<p " + "".join(f'a{n}="<"' for n in range(5_000)) + ">x",
    "attributes that look like tags": "<p " + "".join(f'a{n}="<b" b{n}="</b"' for n in range(5_000)) + ">x",
    "many tags": "<br>" * 400_001,
}


@pytest.mark.parametrize("kind", TANGLED)
def test_html_built_to_explode_is_not_parsed(kind):
    assert is_tangled(TANGLED[kind])
    parsed = parse(part("text/html", TANGLED[kind].encode()))
    assert parsed.defects == ("tangled-html",)
    assert parsed.text_from_html is not None


def test_html_the_library_gives_up_on_is_read_without_it(monkeypatch):
    def give_up(*_args: object, **_options: object) -> str:
        raise HTMLParserException("out of nodes")

    monkeypatch.setattr("mail_ingest.mime.readable.extract_plain_text", give_up)

    parsed = parse(part("text/html", b"<p>a</p>b"))

    assert (parsed.text_from_html, parsed.defects) == ("a\nb", ("tangled-html",))


def test_large_ordinary_html_is_parsed():
    row = '<tr><td style="padding:0"><font color="red"><b>Item</b></font> <a href="https://x.example/1">more</a></td></tr>'
    article = "<p>" + "word " * 5_000 + "</p>"

    html = f"<table>{row * 2_000}</table>{article}"

    assert not is_tangled(html)
    assert html_to_text(html).count("Item more (https://x.example/1)") == 2_000


def test_without_a_parser_the_text_between_the_tags_is_left():
    html = (
        "<style>no</style><p>a &amp; b</p>1 < 2<script>if (a<b) no</script><!-- no --><div>c</div>&#9999999999999999;"
    )

    assert cut_tags(html).split() == ["a", "&", "b", "1", "<", "2", "c"]


def test_html_past_the_cap_is_cut_and_embedded_images_do_not_count():
    image = '<img src="data:image/png;base64,' + "A" * MAX_HTML_CHARS + '">'

    assert html_to_text(f"a{image}b") == "ab"
    parsed = parse(part("text/html", b"<p>" + b"word " * (MAX_HTML_CHARS // 5)))
    assert parsed.defects == ("long-html",)
    assert parsed.text_from_html is not None
    assert MAX_HTML_CHARS - 10 < len(parsed.text_from_html) < MAX_HTML_CHARS
