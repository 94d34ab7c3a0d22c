"""Pages over HTTP and from folders, wikitext that means well and that does not, and what a page is about."""

import bz2
import gzip
import json
import time
from dataclasses import replace

import pytest
from support.wikipedia_server import WikiServer, error

from fleming.sources.facts import Fact
from fleming.sources.wikipedia.convert import convert
from fleming.sources.wikipedia.entities import page_node, read_page
from fleming.sources.wikipedia.extraction import EXTRACTORS, Linker
from fleming.sources.wikipedia.mediawiki import MediaWikiPages
from fleming.sources.wikipedia.pages import CachedPages, FolderPages, Page
from fleming.sources.wikipedia.wikitext import read_article, title_of
from model.errors import InputError

WIKI = {
    "Fever": "'''Fever''' is a symptom.",
    "Pyrexia": "#REDIRECT [[Fever]]",
    "Hyperpyrexia": "#REDIRECT [[Fever#Hyperpyrexia]]",
    "Round": "#REDIRECT [[Round2]]",
    "Round2": "#REDIRECT [[Round]]",
    "Malaria": "'''Malaria''' is an infectious disease.",
}
CATEGORIES = {
    "Fever": ["Symptoms and signs", "Body temperature"],
    "Malaria": ["Malaria", "Tropical diseases"],
}


def source(server, **settings):
    waits = []
    pages = MediaWikiPages(server.url, **{"interval": 0.0, "sleep": waits.append, "timeout": 5.0, **settings})
    return pages, waits


@pytest.mark.parametrize(("split", "compress"), [(False, True), (True, False)])
def test_each_title_gets_its_page_through_normalisation_redirects_and_continuation(split, compress):
    titles = ["malaria", "Pyrexia", "Fever", "Hyperpyrexia", "No such page", "Round", "a|b", ""]
    with WikiServer(WIKI, CATEGORIES, split, compress) as server:
        pages, _ = source(server, contact="https://example.org/us")
        found = pages.fetch(titles)
        assert pages.requests == 1 + split
        assert server.requests[0]["titles"] == "malaria|Pyrexia|Fever|Hyperpyrexia|No such page|Round"
        assert server.requests[0]["maxlag"] == "5"
        assert "example.org" in server.agents[0]
    malaria, pyrexia, fever, section, *missing = found
    assert [page.asked for page in found] == titles
    assert malaria == Page("malaria", "Malaria", WIKI["Malaria"], 6, 1006, ("Malaria", "Tropical diseases"))
    assert pyrexia == Page(
        "Pyrexia", "Fever", WIKI["Fever"], 1, 1001, ("Symptoms and signs", "Body temperature")
    )
    assert fever == replace(pyrexia, asked="Fever")
    assert (section.title, section.section) == ("Fever", "Hyperpyrexia")
    assert all(page.missing and not page.text for page in missing)


def test_many_titles_go_out_fifty_at_a_time():
    with WikiServer({f"P{i}": f"text {i}" for i in range(120)}) as server:
        pages, _ = source(server)
        titles = [f"P{i}" for i in range(120)]
        assert [page.text for page in pages.fetch(titles)] == [f"text {i}" for i in range(120)]
        assert [len(query["titles"].split("|")) for query in server.requests] == [50, 50, 20]


def test_a_busy_server_is_asked_again_after_the_time_that_it_names():
    faults = [
        (200, {"Retry-After": "7"}, error("maxlag", "Waiting for db1: 9 seconds lagged", lag=9)),
        (429, {"Retry-After": "11"}, b"slow down"),
        (503, {}, b"<html>upstream</html>"),
        "cut",
    ]
    with WikiServer(WIKI, compress=False) as server:
        pages, waits = source(server)
        server.faults.extend(faults)
        assert pages.fetch(["Fever"])[0].text == WIKI["Fever"]
        assert (pages.requests, len(server.requests)) == (1, 5)
        expected = [0, 7, 11, 4, 8]  # the server's word, else 1, 2, 4, 8 seconds
        assert all(want - 0.5 <= got <= want for got, want in zip(waits, expected, strict=True))


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ((200, {}, error("badtoken", "Invalid CSRF token")), "the API refuses: badtoken: Invalid CSRF token"),
        ((404, {}, b"nothing"), "HTTP 404 Not Found"),
        ((200, {}, b"<html>captive portal</html>"), "not strict JSON"),
        ((200, {}, b"[1]"), "expected a JSON object, found list"),
        ((200, {}, b'{"query": {"pages": {"1": {}}}}'), "not an answer in formatversion 2"),
        ((200, {}, b'{"query": {"pages": []}, "continue": {"a": 1}}'), "expected an object of strings"),
        ((200, {}, b'{"error": "no"}'), "the API refuses: no"),
    ],
)
def test_an_answer_that_is_none_is_one_clear_line(fault, message):
    with WikiServer(WIKI) as server:
        pages, _ = source(server)
        server.faults.append(fault)
        with pytest.raises(InputError) as caught:
            pages.fetch(["Fever"])
        assert message in str(caught.value)
        assert server.url in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_server_that_never_recovers_and_one_that_is_not_there_are_given_up(monkeypatch):
    with WikiServer(WIKI) as server:
        pages, waits = source(server)
        server.faults.extend([(503, {"Retry-After": "99999"}, b"")] * 20)
        with pytest.raises(InputError, match="gave up after 6 tries; the last: HTTP 503"):
            pages.fetch(["Fever"])
        assert max(waits) <= 120
    with pytest.raises(InputError, match="gave up after 6 tries; the last: URLError"):
        source(server)[0].fetch(["Fever"])
    for url in ("ftp://x", "https://a b"):
        with pytest.raises(InputError, match="expected the http"):
            MediaWikiPages(url)


@pytest.mark.parametrize("compress", [False, True])
def test_an_endless_answer_is_cut_off_before_it_fills_the_memory(monkeypatch, compress):
    monkeypatch.setattr("fleming.sources.wikipedia.mediawiki.MAX_ANSWER", 100_000)
    bomb, refused = {"Bomb": "0" * 10**6}, pytest.raises(InputError, match="an answer of over")
    with WikiServer(bomb, compress=compress) as server, refused:
        source(server)[0].fetch(["Bomb"])


def test_a_folder_reads_what_the_cache_wrote_and_leads(tmp_path):
    with WikiServer(WIKI, CATEGORIES) as server:
        cache = CachedPages(source(server)[0], tmp_path / "pages.jsonl")
        live = cache.fetch(["Fever", "Hyperpyrexia", "Nothing"])
        cache.close()
        again = CachedPages(source(server)[0], tmp_path / "pages.jsonl")
        assert again.fetch(["Nothing", "Fever", "Hyperpyrexia"]) == [live[2], live[0], live[1]]
        assert (again.requests, len(server.requests)) == (1, 1)
    leads = {"Rabies": {"summary": "Rabies is a viral disease.", "symptoms": ["gas"], "url": "x"}}
    (tmp_path / "leads.json").write_text(json.dumps(leads))
    folder = FolderPages(tmp_path)
    assert folder.fetch(["Fever", "Hyperpyrexia", "Nothing"]) == live
    assert folder.fetch(["Rabies"]) == [Page("Rabies", "Rabies", "Rabies is a viral disease.")]
    assert folder.fetch(["Unknown"]) == [Page("Unknown", "Unknown", missing=True)]


def test_a_folder_of_wikitext_is_converted(tmp_path):
    texts = tmp_path / "texts"
    texts.mkdir()
    (texts / "Thrush_(infection).wikitext").write_text("'''Thrush''' is an infection.")
    (texts / "Candida%2Fx.txt").write_text("\n#redirect [[thrush (infection)#Cause|x]]")
    (texts / "README.md").write_text("no page")
    assert convert(texts, tmp_path / "pages.jsonl") == 2
    pages = FolderPages(tmp_path / "pages.jsonl")
    assert pages.titles() == ["Candida/x", "Thrush (infection)"]
    moved = pages.fetch(["Candida/x"])[0]
    assert (moved.title, moved.section, moved.asked) == ("Thrush (infection)", "Cause", "Candida/x")


DUMP = """<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" xml:lang="en">
<siteinfo><sitename>Wikipedia</sitename></siteinfo>
<page><title>Fever</title><ns>0</ns><id>7</id>
  <revision><id>99</id><parentid>98</parentid><model>wikitext</model>
  <text bytes="9">'''Fever''' &amp; chills</text></revision></page>
<page><title>Pyrexia</title><ns>0</ns><id>8</id><redirect title="Fever" />
  <revision><id>97</id><text>#REDIRECT [[Fever]]</text></revision></page>
<page><title>Talk:Fever</title><ns>1</ns><id>9</id><revision><id>96</id><text>I had one.</text></revision></page>
</mediawiki>
"""


@pytest.mark.parametrize(
    ("name", "pack"), [("dump.xml", bytes), ("dump.xml.bz2", bz2.compress), ("dump.xml.gz", gzip.compress)]
)
def test_a_dump_is_converted_article_by_article(tmp_path, name, pack):
    (tmp_path / name).write_bytes(pack(DUMP.encode()))
    assert convert(tmp_path / name, tmp_path / "pages.jsonl") == 2
    fever, pyrexia = FolderPages(tmp_path / "pages.jsonl").fetch(["Fever", "Pyrexia"])
    assert fever == Page("Fever", "Fever", "'''Fever''' & chills", 7, 99)
    assert pyrexia == replace(fever, asked="Pyrexia")


def test_of_several_revisions_the_last_counts_and_a_page_without_an_id_refuses_no_dump(tmp_path):
    old = "<revision><id>98</id><text>old</text></revision>\n  <revision><id>99"
    (tmp_path / "dump.xml").write_text(
        DUMP.replace("<revision><id>99", old).replace("<id>8</id>", "<id></id>")
    )
    convert(tmp_path / "dump.xml", tmp_path / "pages.jsonl")
    fever, pyrexia = FolderPages(tmp_path / "pages.jsonl").fetch(["Fever", "Pyrexia"])
    assert (fever.revision, "chills" in fever.text, pyrexia.title) == (99, True, "Fever")
    with pytest.raises(InputError, match=r"dump\.xml: expected the name of a \.jsonl file"):
        convert(tmp_path / "dump.xml", tmp_path / "dump.xml")


@pytest.mark.parametrize(
    ("name", "text"),
    [("x.xml", "<a><b></a>"), ("x.xml", "<a/>"), ("x.xml", ""), ("x.xml.bz2", "no bz2"), ("x.xml.gz", "")],
)
def test_what_is_no_dump_is_one_clear_line_and_leaves_no_file(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=rf"{name}: no (dump|pages)") as caught:
        convert(tmp_path / name, tmp_path / "pages.jsonl")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "pages.jsonl").exists()


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "a.jsonl",
            '{"pages": [{"asked": "A", "title": "A", "text": 5}]}\n',
            r"a.jsonl: byte 0: pages\[0\]: text: expected str, found int 5",
        ),
        (
            "a.jsonl",
            '\n{"pages": [{"asked": "A", "evil": 1}]}\n',
            r"a.jsonl: byte 1: pages\[0\]: unknown field 'evil'",
        ),
        ("a.jsonl", '{"pages": 5}\n', "pages: expected list of mapping, found int 5"),
        ("a.json", '{"Rabies": {"text": "x"}}', "'Rabies': expected leads of articles"),
        ("a.json", "[]", "expected leads of articles"),
        ("a.xml", "<page/>", "no saved pages; .*convert makes them"),
    ],
)
def test_a_folder_of_something_else_is_one_clear_line(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        FolderPages(tmp_path)


K, M = 3 * 10**4, 10**6
SOURCE = """<!-- {{Infobox drug}} -->{{Short description|x}}
{{Infobox medical condition (new)
| name = Fever {{small|x}}
| Synonyms = Pyrexia, febrile response
| symptoms = [[Headache]], swollen [[lymph node]]s<ref>{{cite|b=[[Foo]]}}</ref>, {{hlist|[[Cough]]|[[Rash|a, b]]}}
| treatment = {{plainlist|
* [[Aspirin]]
* [[rest (medicine)#Uses|rest]]
}}
| onset = 5<br />6
}}
'''Fever''', or '''pyrexia''', is a&nbsp;''body'' [[temperature#x|temp]] of e.g. 38&nbsp;°C. \
See [[File:a.png|thumb|A [[dog]].]] Then {{convert|5|m}} and {{gene|BRCA1}} by E. coli.<ref name="a/b" /> \
<nowiki>[[Not a link]]</nowiki>
== Signs and [[symptom]]s ==
* one [[two]]
{| class=x
| [[In a table]]
|}
=== Children ===
after [[three|&amp;]]
== References ==
{{Medical resources|OMIM=123456|MeshID=D001}} [[Category:Rare diseases|*]] [[:Category:Linked]]
"""


def test_an_article_says_what_the_reader_sees_and_where_it_stands():
    article = read_article(SOURCE)
    assert len(article.text) == len(article.values) == len(SOURCE)
    lead = list(article.sentences(*article.headings[0][:2]))
    assert [s.text.strip() for s in lead] == [
        "Fever, or pyrexia, is a body temp of e.g. 38 °C.",
        "See  Then  and BRCA1 by E. coli.",
    ]
    for sentence in lead:
        for i, char in enumerate(sentence.text):
            assert SOURCE[sentence.places[i]] in (char, "&")
    links = [(link.target, link.label) for link in article.links]
    assert links == [
        *[("Headache", "Headache"), ("Lymph node", "lymph nodes"), ("Cough", "Cough"), ("Rash", "a, b")],
        *[("Aspirin", "Aspirin"), ("Rest (medicine)", "rest"), ("Temperature", "temp"), ("Two", "two")],
        *[("Three", "&"), ("Category:Linked", ":Category:Linked")],
    ]
    assert all(
        SOURCE[link.start : link.start + 2] == "[[" and SOURCE[: link.end].rstrip("s").endswith("]]")
        for link in article.links
    )
    assert [headings for _, _, headings in article.headings] == [
        (),
        ("signs and [[symptom]]s",),
        ("signs and [[symptom]]s", "children"),
        ("references",),
    ]
    values = {field.name: SOURCE[field.start : field.end].strip() for field in article.fields}
    assert values["onset"] == "5<br />6"
    assert values["omim"] == "123456"
    assert values["synonyms"] == "Pyrexia, febrile response"
    assert (article.categories, article.bold) == (["Rare diseases"], ["Fever", "pyrexia"])


@pytest.mark.parametrize(
    "text",
    [
        *[
            "{{" * M,
            "{{x|" * K + "}}" * K,
            "[[" * K,
            "{{[[" * K + "}}" * 10,
            "<s>" * K,
            "}}" * K,
            "{{" + "]]" * K,
            "|" * K,
        ],
        *[
            "<ref>" * K,
            "<ref " * K,
            "<!--" * K,
            "'" * K,
            "[//a" * K,
            "&a" * K,
            "<a" * K,
            "=" * M,
            "_" * K,
            "\0" * M,
        ],
        *["==" + " " * M + "=", "\n{|" * K + "\n|}" * K, "{{infobox x|" + " " * M + "}}", " " * M, ":" * M],
        *[
            "{{infobox" + "|a =b" * K + "}}",
            "a! A" * K,
            "a (" * K,
            "is a " * K,
            "also called " * K,
            "X, " * K + "(" * K,
        ],
        *[
            "{{infobox disease|symptoms=" + "[[a]], " * K + "}}",
            "characterized by " * K,
            "mutations in the " * K,
        ],
        *[
            "{{infobox disease|synonyms=" + "(" * K + "}}",
            "{{infobox disease|symptoms=" + "no a, (" * K + "}}",
            "A is a " + "disease of " * K,
            "inherited as " * K,
            "'''A''' " * K,
            "{{infobox disease}}" * K,
        ],
    ],
)
def test_no_text_hangs_the_reader(text):
    start = time.process_time()
    reading = read_page(Page("A disease", "A disease", text), lambda name: {})
    linker = Linker(lambda name: {})
    linker.read(reading)
    for extract in EXTRACTORS:
        facts = [record for record in extract(reading, linker) if isinstance(record, Fact)]
        assert {fact.relation for fact in facts} <= {"has_symptom"}
    assert time.process_time() - start < 6  # a quadratic step takes far longer


def test_what_is_opened_and_never_closed_hides_nothing_after_it():
    article = read_article(
        "{{Infobox drug|class=[[A]]\n[[B]] and {{nowrap|[[C]]}}\n{{Infobox symptom|x=[[D|e]\n}} [[E]]"
    )
    assert [link.target for link in article.links] == ["A", "B", "C", "E"]


@pytest.mark.parametrize(
    "end", ["\n\n", "\n \n", "\n==Causes==\n", "<ref name=b>[[d]]</ref> ", "<ref name=b /> "]
)
def test_a_note_that_is_never_closed_ends_with_its_paragraph_or_at_the_next(end):
    article = read_article(
        f"[[A]]<ref name=a>{{{{cite|\n[[b]]}}}} [[c]]{end}[[E]] <ref>[[f]]\n[[g]]</ref>[[H]]"
    )
    assert [link.target for link in article.links] == ["A", "E", "H"]


def test_a_title_is_what_its_link_means():
    for link, title in {
        "fever_ (x) #y": "Fever (x)",
        ":Fever": "Fever",
        " a&amp;b ": "A&b",
        "éa": "Éa",
        "#y": "",
    }.items():
        assert title_of(link) == title


@pytest.mark.parametrize(
    ("title", "text", "categories", "expected"),
    [
        ("A", "{{Infobox medical condition (new)|name=A}}", (), "disease"),
        ("A", "{{Infobox medical condition}}", ("Symptoms and signs: General",), "symptom"),
        ("A", "{{Infobox medical condition}}{{Infobox drug}}", ("Symptoms and signs",), "drug"),
        ("A", "{{Drugbox|tradename=B}}", (), "drug"),
        ("A", "{{Infobox drug class}}", ("Antibiotics",), "drug_class"),
        ("A", "{{infobox_diagnostic}}", (), "test"),
        ("A", "{{Infobox gene}}", (), "gene"),
        ("A", "{{Infobox symptom}}", (), "symptom"),
        ("A", "{{Infobox anatomy}}", (), "anatomy"),
        ("A", "", ("Genes on human chromosome 7",), "gene"),
        ("A", "", ("Rare diseases",), "disease"),
        ("A", "", ("Deaths from kidney diseases", "Films about diseases"), ""),
        ("A", "'''A''' is a rare [[genetic disorder]] of [[bone]], seen once.", (), "disease"),
        ("A", "'''A''' is a village in France known for its disease.", (), ""),
        ("A", "'''A''' is a disease.", ("Dog diseases",), ""),
        ("A", "'''A''' is a viral disease of cats and dogs.", (), ""),
        ("A", "'''A''' is a disease of sheep and humans.", (), "disease"),
        ("List of diseases", "{{Infobox medical condition}}", (), ""),
        ("Known", "Nothing.", (), "finding"),
        ("Two", "Nothing.", (), ""),
        ("Known", "'''Known''' may be: {{disambiguation}}", (), ""),
        ("Known (disambiguation)", "A disease.", ("Rare diseases",), ""),
        ("A", "'''Gliptins''' are a class of oral antidiabetic drugs.", ("Drugs",), "drug_class"),
        ("A", "'''A''' (XA) are medications that lower it.", ("Drugs",), "drug_class"),
        ("A", "'''A''' is a drug of the class of gliptins.", ("Drugs",), "drug"),
        ("A", "'''A''' are a class of medication that lowers it.", ("Drugs",), "drug_class"),
        ("A", "'''A''' are members of a therapeutic drug class.", ("Drugs",), "drug_class"),
        ("A", "'''A''' is a respiratory infection affecting dogs.", ("Viral diseases",), ""),
        ("A", "'''A''' is a zoonotic disease that affects dogs.", ("Viral diseases",), "disease"),
        ("A", "{{Speciesbox}} '''A''' is a worm.", ("Parasitic diseases",), ""),
        ("A", "'''A''' is not a disease.", (), ""),
        ("A", "'''A''' is a rare, chronic [[disease]].", (), "disease"),
        ("Treatment of gout", "Drugs.", ("Rare diseases",), ""),
        ("1918 flu pandemic", "It was a disease.", ("Rare diseases",), ""),
        ("Epidemic typhus", "It is a disease.", (), "disease"),
    ],
)
def test_types_follow_the_stated_order(title, text, categories, expected):
    known = {"Known": {"finding": "HP:1"}, "Two": {"finding": "HP:1", "disease": "DOID:1"}}
    assert (
        read_page(Page(title, title, text, categories=categories), lambda name: known.get(name, {})).type
        == expected
    )


def test_a_node_has_its_names_and_only_identifiers_that_are_its_own():
    text = (
        "{{Infobox medical condition (new)|synonyms={{hlist|MSD|mucosulfatidosis (old)}}|frequency=Rare}}"
        "'''Multiple sulfatase deficiency''' (also known as '''Austin disease''', and '''Mucosulfatidosis'''), is a "
        "disease.\n{{Medical resources|OMIM=272200|MeshID=C1|Orphanet=585, 586|UMLS=C0268263|DOID={{x|1}}}}"
    )
    node = page_node(read_page(Page("MSD (disease)", "MSD (disease)", text), lambda name: {}))
    assert (node.key, node.name, node.type, node.rare) == ("WIKIPEDIA:MSD_(disease)", "MSD", "disease", True)
    assert set(node.synonyms) == {"Austin disease", "Mucosulfatidosis", "Multiple sulfatase deficiency"}
    assert node.xrefs == ("OMIM:272200", "UMLS:C0268263", "DOID:1")
