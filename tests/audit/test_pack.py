"""The pack: Croissant loads, CHAI is valid by its schema, each point of a form is filled in one of three ways."""

import hashlib
import json
import re
from xml.etree import ElementTree

import pytest
from support import made_run
from support.made_run import SHA
from support.made_run import made_run as made
from support.places import ROOT

from fleming.assets import load_table
from fleming.audit.__main__ import main
from fleming.audit.facts import facts_of, filled, read_run
from fleming.files import read_json, write_json
from model.errors import InputError

FILES = ("croissant.json", "chai_card.xml", "eu_ai_act.md", "tripod_llm.md")
WRITTEN_BY_A_RUN = {"card.md", "pack/croissant.json", "data/rejected.jsonl"}
CHAI = "{https://mc.chai.org/v0.2/schema.xsd}"
EVIL = '<b>&"\']]> | [x](y) \x00\x1b\ufffe\u202e https://evil.example {"@id": "http://evil.example"}'


def half(folder):
    """Data alone, no training."""
    made(folder)
    write_json(folder / "manifest.json", {"synth": made_run.manifest()["synth"]})
    (folder / "eval/rl_stage2/results.json").unlink()
    return folder


def evaluation(folder):
    write_json(folder / "eval/mine/results.json", made_run.results())
    return folder


def own_data(folder):
    entry = made_run.manifest()["grpo"][0]
    entry["inputs"]["data.questions"] = "a1" * 32
    write_json(folder / "manifest.json", {"grpo": [entry]})
    return folder


def hostile(folder):
    made(folder)
    report = made_run.report() | {
        "sources": [made_run.source(EVIL, licence=EVIL, address=EVIL, condition=EVIL)]
    }
    report |= {"labels": EVIL, "commercial_use": EVIL, "parts": {EVIL: 3}}
    write_json(folder / "data/report.json", report)
    results = made_run.results()
    results["benchmarks"] = {EVIL: results["benchmarks"]["test"]}
    write_json(folder / "eval/rl_stage2/results.json", results)
    return folder


RUNS = {"finished": made, "half": half, "evaluation": evaluation, "own_data": own_data, "hostile": hostile}


@pytest.fixture(params=sorted(RUNS))
def run(request, tmp_path):
    folder = RUNS[request.param](tmp_path / request.param)
    assert main(["card", str(folder), "--pack"]) == 0
    return folder


@pytest.fixture
def finished(tmp_path):
    return made(tmp_path / "run")


def test_each_file_has_its_hash_beside_it(run):
    assert {path.name for path in (run / "pack").iterdir()} == {*FILES, *(f"{name}.sha256" for name in FILES)}
    for name in FILES:
        said = (run / f"pack/{name}.sha256").read_text().split()
        assert said == [hashlib.sha256((run / "pack" / name).read_bytes()).hexdigest(), name]


# --- Croissant


@pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated")  # within mlcroissant
def test_croissant_loads_without_an_error_and_its_records_can_be_read(run):
    croissant = pytest.importorskip("mlcroissant")
    loaded = croissant.Dataset(str(run / "pack/croissant.json"))
    metadata = loaded.metadata
    assert not metadata.ctx.issues.errors
    assert metadata.ctx.conforms_to.value == "http://mlcommons.org/croissant/1.1"
    there = {path.name for path in (run / "data").glob("*.jsonl")}
    assert {file.name for file in metadata.file_objects} == there
    for file in metadata.file_objects:
        assert file.sha256 == hashlib.sha256((run / "data" / file.name).read_bytes()).hexdigest()
    read = {records.id: list(loaded.records(records.id)) for records in metadata.record_sets}
    assert {name: len(found) for name, found in read.items()} == {
        name: len(made_run.DATA[name]) for name in read
    }
    if there:
        assert read.keys() == {"questions", "rl", "cold_start", "graph"}  # dev has none
        question = read["rl"][0]
        assert (question["rl/id"], question["rl/options.B"], question["rl/answer"]) == (
            b"graph/1",
            b"y",
            b"B",
        )
        assert question["rl/options.C"] is None
        assert read["cold_start"][0]["cold_start/gold_visible"] is True
        assert [row["graph/kind"] for row in read["graph"]] == [b"origin", b"entity", b"entity", b"facts"]


def test_croissant_s_provenance_is_what_the_run_says(finished):
    main(["card", str(finished), "--pack"])
    found = read_json(finished / "pack/croissant.json")
    assert found["license"] == ["CC0-1.0"]
    derived = found["prov:wasDerivedFrom"]
    assert [row["prov:source"] for row in derived[:2]] == ["HPO", "Hetionet"]
    assert {row.get("prov:sha256") for row in derived[2:]} == {"f" * 64, SHA["rl"]}
    assert [row["prov:stage"] for row in found["prov:wasGeneratedBy"]] == ["synth", "sft", "grpo"]
    assert found["distribution"][0]["contentUrl"] == "../data/questions.jsonl"


def test_data_of_one_s_own_are_named_by_hash_where_no_file_of_them_is_in_the_folder(tmp_path):
    folder = own_data(tmp_path)
    main(["card", str(folder), "--pack"])
    found = read_json(folder / "pack/croissant.json")
    assert found["distribution"] == []
    assert found["license"] == ["not stated"]
    assert [row["prov:sha256"] for row in found["prov:wasDerivedFrom"]] == ["a1" * 32]


def test_no_text_of_a_source_becomes_an_identifier_or_a_column(tmp_path):
    folder = hostile(tmp_path / EVIL.replace("/", "").replace("\x00", ""))
    main(["card", str(folder), "--pack"])
    found = read_json(folder / "pack/croissant.json")
    ids = re.findall(r'"@id": "([^"]*)"', json.dumps({**found, "@context": {}, "name": "", "license": ""}))
    assert not [name for name in ids if "evil" in name]
    entity = found["prov:wasDerivedFrom"][0]
    assert "@id" not in entity
    assert "\x1b" not in json.dumps(found, ensure_ascii=False)
    assert entity["prov:source"].startswith("<b>&")


def test_damaged_data_are_refused_by_name(finished):
    path = finished / "data/rl.jsonl"
    path.write_bytes(path.read_bytes().replace(b"Which", b"whicH"))
    with pytest.raises(InputError, match=re.escape(f"{path}: damaged")):
        main(["card", str(finished), "--pack"])
    assert not (finished / "pack").exists()


# --- CHAI


def schema(shared):
    xmlschema = pytest.importorskip("xmlschema")
    return xmlschema.XMLSchema(str(shared / "data/schemas/chai_v0.2_schema.xsd"), allow="local")


def test_the_chai_card_is_valid_by_its_schema(run, shared):
    schema(shared).validate(str(run / "pack/chai_card.xml"))


def test_a_chai_card_without_an_element_would_not_be_valid(finished, shared):
    main(["card", str(finished), "--pack"])
    path = finished / "pack/chai_card.xml"
    text = re.sub(r"<DeveloperContact>.*?</DeveloperContact>", "", path.read_text())
    assert not schema(shared).is_valid(text)


def element(folder, path: str) -> str:
    root = ElementTree.parse(folder / "pack/chai_card.xml").getroot()
    return root.find("/".join(CHAI + name for name in path.split("/"))).text


def test_what_no_run_can_know_is_a_placeholder_that_says_so(run):
    for path in ("BasicInfo/ModelDeveloper", "BasicInfo/DeveloperContact", "Warnings/ClinicalRiskLevel"):
        assert element(run, path).startswith("a person must: ")
    assert element(run, "BasicInfo/ModelName") == run.name


def test_the_chai_card_has_the_scores_as_they_are(finished):
    main(["card", str(finished), "--pack"])
    root = ElementTree.parse(finished / "pack/chai_card.xml").getroot()
    results = root.findall(f".//{CHAI}UsefulnessUsabilityEfficacy//{CHAI}MetricResult")
    (value,) = [json.loads(result.find(f"{CHAI}ValueJson").text) for result in results]
    assert (value["accuracy"], value["95 % from"], value["chance"]) == (0.7316, 0.6948, 0.2511)


def test_a_run_without_evaluation_has_no_score_in_the_chai_card(tmp_path):
    folder = half(tmp_path)
    main(["card", str(folder), "--pack"])
    root = ElementTree.parse(folder / "pack/chai_card.xml").getroot()
    values = [json.loads(found.text) for found in root.iter(f"{CHAI}ValueJson")]
    assert all(value.keys() == {"not said by the run"} for value in values)


# --- the forms of points


def points(form: str) -> list[dict]:
    return load_table(f"{form}.yaml")["points"]


def leaves(node: dict) -> list[dict]:
    if node.keys() & {"text", "run", "evidence", "person", "results"}:
        return [node]
    return [leaf for inside in node.values() if isinstance(inside, dict) for leaf in leaves(inside)]


def test_the_forms_have_every_point_of_their_originals():
    assert [point["point"] for point in points("eu_ai_act")] == [f"2({letter})" for letter in "abcdefgh"]
    subitems = {
        3: "ab",
        5: "abcde",
        6: "abcde",
        7: "abcde",
        8: "abc",
        9: "ab",
        14: "abcdef",
        16: "abcd",
        19: "abcdefg",
    }
    wanted = [f"{item}{letter}" for item in range(1, 20) for letter in subitems.get(item, [""])]
    assert [point["point"] for point in points("tripod_llm")] == wanted
    assert len(wanted) == 49


@pytest.mark.parametrize("form", ["eu_ai_act", "tripod_llm", "chai"])
def test_each_point_says_how_it_is_filled_by_what_exists(form):
    rows = leaves(load_table("chai.yaml")) if form == "chai" else points(form)
    facts = load_table("card.yaml")["facts"]
    for row in rows:
        assert row.keys() <= {"point", "asks", "text", "run", "evidence", "person", "results"}, row
        assert row.keys() & {"text", "run", "evidence", "person", "results"}, row
        assert all(
            isinstance(row[name], str) and row[name] for name in row.keys() & {"asks", "text", "person"}
        ), row
        assert set(row.get("run", [])) | ({row["results"]} if "results" in row else set()) <= facts.keys(), (
            row
        )
        for path in row.get("evidence", []):
            assert (ROOT / path).exists() or path in WRITTEN_BY_A_RUN, path


def test_each_point_of_a_table_is_filled_in_one_of_three_ways(run):
    facts = facts_of(read_run(run))
    for form in ("eu_ai_act", "tripod_llm"):
        lines = (run / f"pack/{form}.md").read_text().split("\n")
        rows = [line.split(" | ") for line in lines if line.startswith("|")][2:]
        assert {len(row) for row in rows} == {4}
        ways = [way for point in points(form) for way in filled(point, facts, run)]
        assert len(rows) == len(ways)
        for row, (how, _) in zip(rows, ways, strict=True):
            assert re.match(r"filled from the run, \S+\.json|evidence at \S+$|a person must$", how)
            assert row[2].startswith(how.split(",")[0])
        starts = [row[0].strip("| ") for row in rows if row[0].strip("| ")]
        assert starts == [point["point"] for point in points(form)]


def test_what_is_not_there_is_a_person_s_and_says_why(tmp_path):
    folder = evaluation(tmp_path)
    facts = facts_of(read_run(folder))
    point = {"run": ["sources"], "evidence": ["data/rejected.jsonl", "docs/audit.md", "no/such.md"]}
    assert list(filled(point, facts, folder)) == [
        ("a person must", f"say it, as the run does not: {facts['sources'].absent}"),
        ("a person must", "say it: there is no data/rejected.jsonl here"),
        ("evidence at docs/audit.md", ""),
        ("a person must", "say it: there is no no/such.md here"),
    ]
