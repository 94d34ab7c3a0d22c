"""RUN/pack: what the card says in the forms that others ask for, each filled from the run, from files, or by a person.

- croissant.json: the files of RUN/data as a Croissant 1.1 data set (JSON-LD), with hashes, columns and provenance
- chai_card.xml: the applied model card of the Coalition for Health AI, schema v0.2
- eu_ai_act.md, tripod_llm.md: the points of Annex IV 2 of the EU AI Act, and of TRIPOD-LLM

What is the same for every run is data: assets/croissant.yaml, chai.yaml, eu_ai_act.yaml, tripod_llm.yaml. Left out:
signatures, and whatever no run can know; each form names what a person must do.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from fleming.assets import load_table
from fleming.audit.facts import Fact, Row, filled, not_done
from fleming.audit.markdown import shown, text
from fleming.files import sha256_file, write_json
from fleming.html_page import fill
from model.sums import write_hashed

CHAI = "https://mc.chai.org/v0.2/schema.xsd"
FORMS = ("eu_ai_act", "tripod_llm")
Facts = Mapping[str, Fact]


def write(folder: Path, name: str, facts: Facts) -> Iterator[Path]:
    """Write each file of the pack, its hash beside it, and yield its path. InputError for damaged data."""
    pack = folder / "pack"
    write_json(pack / "croissant.json", croissant(folder / "data", name, facts))
    yield pack / "croissant.json"
    write_hashed(pack / "chai_card.xml", chai_card(name, facts, folder))
    yield pack / "chai_card.xml"
    for form in FORMS:
        write_hashed(pack / f"{form}.md", points(load_table(f"{form}.yaml"), facts, folder))
        yield pack / f"{form}.md"


def points(form: Mapping[str, Any], facts: Facts, folder: Path) -> str:
    """Return a form of points as Markdown, a line for each way in which a point is filled."""
    lines = [f"# {form['title']}\n\n<{form['address']}>\n\n{form['note']}\n"]
    lines += ["| point | what it asks for | how it is filled | with what |", "| --- | --- | --- | --- |"]
    for point in form["points"]:
        begin = f"{point['point']} | {point['asks']}"
        for how, what in filled(point, facts, folder):
            lines.append(f"| {begin} | {shown(how)} | {shown(what)} |")
            begin = " | "
    return "\n".join(lines) + "\n"


def chai_card(name: str, facts: Facts, folder: Path) -> str:
    """Return the card as XML, its elements in the order of the schema."""
    words = {"name": text(name), "not_done": "; ".join(not_done(facts))}

    def add(parent: ElementTree.Element, tag: str, inside: Any) -> None:
        if isinstance(inside, list):  # the element stands as often
            for one in inside:
                add(parent, tag, one)
            return
        child = ElementTree.SubElement(parent, tag)
        if isinstance(inside, str):
            child.text = inside
        elif "results" in inside:
            fact = facts[inside["results"]]
            for row in fact.rows or [{"not said by the run": fact.absent}]:
                label = ", ".join(value for value in row.values() if isinstance(value, str))
                add(child, "MetricResult", {"Label": text(label), "ValueJson": json.dumps(row)})
        elif inside.keys() & {"text", "run", "evidence", "person"}:
            said = [f"{how}: {what}" if what else how for how, what in filled(inside, facts, folder)]
            child.text = "\n".join([fill(inside.get("text", ""), **words), *said]).strip()
        else:
            for element, content in inside.items():
                add(child, element, content)

    root = ElementTree.Element("AppliedModelCard", xmlns=CHAI)
    for tag, inside in load_table("chai.yaml").items():
        add(root, tag, inside)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def croissant(data: Path, name: str, facts: Facts) -> Row:
    """Return the JSON-LD of the files that are in the run's data; what is not there is named as what they came from."""
    asset, files, records = load_table("croissant.yaml"), [], []
    for file, about in asset["files"].items():
        path = data / file
        if not path.exists():
            continue
        size = path.stat().st_size
        names = {"@type": "cr:FileObject", "@id": file, "name": file, "description": about["holds"]}
        where = {"contentUrl": f"../data/{file}", "encodingFormat": "application/jsonlines"}
        files.append({**names, **where, "contentSize": f"{size} B", "sha256": sha256_file(path)})
        records += [_record_set(file, asset["columns"][about["columns"]])] if size else []

    sources = facts["sources"].rows
    return {
        "@context": asset["context"],
        **asset["about"],
        "name": text(name),
        "license": list(dict.fromkeys(text(row["licence"]) for row in sources)) or ["not stated"],
        "distribution": files,
        "recordSet": records,
        "prov:wasDerivedFrom": [_entity("Entity", row) for row in (*sources, *facts["data_inputs"].rows)],
        "prov:wasGeneratedBy": [_entity("Activity", row) for row in facts["starts"].rows],
    }


def _entity(kind: str, row: Row) -> Row:
    """Return a row of a fact as plain properties: no text in it is taken for an address or an identifier."""
    return {
        "@type": f"prov:{kind}",
        **{f"prov:{key.replace(' ', '_')}": text(value) for key, value in row.items()},
    }


def _record_set(file: str, columns: Mapping[str, str]) -> Row:
    name, fields = Path(file).stem, []
    for column, kind in columns.items():
        outer, _, inner = column.partition(".")
        source: Row = {"fileObject": {"@id": file}, "extract": {"column": outer}}
        source |= {"transform": {"jsonPath": inner}} if inner else {}
        field = {"@type": "cr:Field", "@id": f"{name}/{column}", "name": column, "dataType": f"sc:{kind}"}
        fields.append({**field, "source": source})
    return {"@type": "cr:RecordSet", "@id": name, "name": name, "field": fields}
