"""The words of a question: every key is there in both languages, a stem says each clue once and reads well."""

import itertools
import re
from dataclasses import dataclass

import pytest
from support.places import ROOT

from fleming.config import load_config
from fleming.graph.knowledge_graph import Edge, Entity, Evidence, KnowledgeGraph
from fleming.noise import generator
from fleming.questions import names, patient
from fleming.questions.names import said
from fleming.questions.patient import draw_patient, onset_name, onset_range, pedigree, sexes
from fleming.questions.phrases import read_phrases
from fleming.questions.query import Clue, Patient
from fleming.questions.wording import FILES, lay_is_possible, with_articles, word_question, wording
from fleming.sources.facts import Origin
from fleming.sources.vocabulary import RELATIONS
from model.errors import InputError

ORIGIN = Origin("test", "file", "", "")
STEPS = [step for relation in RELATIONS for step in (relation, "^" + relation)]


@dataclass(frozen=True)
class Kind:
    name: str = "kind"
    root: str = "disease"
    chain: tuple[str, ...] = ()
    hidden: bool = True


@dataclass(frozen=True)
class Query:
    kind: Kind
    nodes: tuple[str, ...]
    clues: tuple[Clue, ...] = ()
    patient: Patient = Patient()  # noqa: RUF009


CLUES = (
    Clue("has_symptom", "wheezing", "core"),
    Clue("has_finding", "long face", "core"),
    Clue("has_finding", "intellectual disability, mild", "discriminating"),
    Clue("has_finding", "ventriculomegaly", "core"),
    Clue("has_lab", "hypokalemia", "core"),
    Clue("has_finding", "absent uvula", "absent"),
    Clue("has_finding", "high palate", "absent"),
    Clue("has_symptom", "blisters", "absent"),
    Clue("inherited_as", "autosomal recessive inheritance", "family"),
    Clue("has_onset", "childhood onset", "onset"),
    Clue("has_history", "statin exposure", "exposure"),
)
REGISTERS = "clinical", "lay", "plain"
NAMED = [clue.tail for clue in CLUES if clue.role not in ("family", "onset")]
HIDDEN = ("Quux disease", "zyxomab", "Foo crisis")


@dataclass(frozen=True)
class LayEntity(Entity):
    lay: tuple[str, ...] = ()


@pytest.fixture(scope="module")
def graph():
    graph = KnowledgeGraph()
    for clue in CLUES:
        entity = LayEntity(clue.tail, clue.relation, lay=(f"plain {clue.tail.split()[0].strip(',')}",))
        graph.add_entity(entity, "here")
    for name in ("zyxing", *HIDDEN):
        graph.add_entity(Entity(name, "other"), "here")
    return graph


def patients():
    ages = (None, 0.0, 3 / 365.25, 0.06, 5 / 12, 11 / 12, 1.5, 7.0, 8.0, 11.0, 17.0, 18.0, 34.0, 81.0)
    return [Patient(age, sex) for age in ages for sex in ("", "female", "male")]


def kinds():
    chains = [
        (),
        *((step,) for step in STEPS),
        ("treated_by", "contraindicated_in"),
        ("associated_gene", "^associated_gene"),
    ]
    for chain in [
        *chains,
        ("associated_gene", "^associated_gene", "inherited_as"),
        ("treated_by", "has_adverse_effect"),
    ]:
        yield Kind(chain=chain)


def said_as(name, register):
    if register == "plain":
        return name
    return f"plain {name.split()[0].strip(',')}" if register == "lay" else said(name)


@pytest.mark.parametrize("language", FILES)
@pytest.mark.parametrize("register", REGISTERS)
def test_a_stem_says_every_clue_once_and_no_hidden_name(graph, register, language):
    """Over all kinds and all patients, several draws each."""
    for number, (kind, who) in enumerate(itertools.product(kinds(), patients())):
        nodes = HIDDEN[: len(kind.chain) + 1] if len(kind.chain) < 3 else (*HIDDEN, "zyxing")
        query = Query(kind, nodes, CLUES[number % 3 :] if number % 2 else CLUES, who)
        stem = word_question(query, graph, register, generator(number, language), language)
        for clue in query.clues:
            if clue.tail in NAMED:
                assert stem.casefold().count(said_as(clue.tail, register).casefold()) == 1, (clue.tail, stem)
            else:
                assert clue.tail not in stem
        assert not any(name in stem for name in HIDDEN), stem
        assert stem[-1] in "?.？。"
        assert not re.search(r"  |[{}]|\(n\)| [,.?;]|\.\.|\bnone\b", stem), stem
        if language == "en":
            assert stem[0].isupper(), stem
            assert stem.endswith("?"), stem
            assert not re.search(
                r"\ba an?\b|\ban a\b|\ba [aeio](?!u|ne)|\ban [b-df-hj-np-tv-z]", stem, re.I
            ), stem
            assert all(sentence[0].isupper() for sentence in re.split(r"(?<=[.?]) ", stem)), stem


def test_what_is_denied_is_the_very_synonym_that_can_be():
    graph = KnowledgeGraph()
    for clue in (Clue("has_finding", "microcephaly", "absent"), Clue("has_finding", "fits", "core")):
        graph.add_entity(Entity(clue.tail, "finding", lay=("small head", "reduced head size")), "here")
    clues = (Clue("has_finding", "fits", "core"), Clue("has_finding", "microcephaly", "absent"))
    graph.add_entity(Entity("Quux disease", "disease"), "here")
    stems = [
        word_question(Query(Kind(), HIDDEN[:1], clues, Patient()), graph, "lay", generator(seed, "lay"))
        for seed in range(60)
    ]
    assert not [stem for stem in stems if re.search(r"\b(no|not have|sign of) reduced", stem)]
    assert any("no small head" in stem for stem in stems)


def test_age_and_sex_stand_in_every_vignette(graph):
    for number in range(300):
        for register, sex in itertools.product(("clinical", "lay"), ("female", "male")):
            query = Query(Kind(), HIDDEN[:1], CLUES, Patient(34.0, sex))
            stem = word_question(query, graph, register, generator(number))
            assert "34-year-old" in stem
    plain = word_question(Query(Kind(), HIDDEN[:1], CLUES), graph, "plain", generator(0))
    assert "old" not in plain.replace("old onset", "")


@pytest.mark.parametrize(
    ("age", "said"),
    [(0.0, "newborn"), (3 / 365.25, "3-day-old"), (0.06, "3-week-old"), (5 / 12, "5-month-old"), (1.5, "18-month-old"),
     (8.0, "An 8-year-old"), (11.0, "An 11-year-old"), (7.0, "A 7-year-old"), (80.0, "An 80-year-old")],
)  # fmt: skip
def test_ages_are_told_in_days_weeks_months_and_years(graph, age, said):
    query = Query(Kind(), HIDDEN[:1], CLUES[3:4], Patient(round(age, 4), "female"))
    stems = [word_question(query, graph, "clinical", generator(i)) for i in range(30)]
    assert any(said in stem for stem in stems)
    assert all(said.split()[-1] in stem for stem in stems)


def test_the_same_draw_words_the_same_stem(graph):
    query = Query(Kind(chain=("treated_by",)), HIDDEN[:2], CLUES, Patient(7.0, "male"))
    once, twice = (
        [word_question(query, graph, "clinical", generator(i, "x")) for i in range(50)] for _ in range(2)
    )
    assert once == twice
    assert len(set(once)) == 50


def test_there_are_forty_openings_that_differ():
    openings = [
        phrase for key, phrases in wording().phrases.items() for phrase in phrases
        if re.match(r"opening (clinical|lay)", key)
    ]  # fmt: skip
    assert len({re.sub(r"\W+", " ", phrase) for phrase in openings}) == len(openings) >= 40
    for register in ("clinical", "lay"):
        assert len(wording().phrases[f"order {register}"]) >= 4


def test_both_languages_have_every_key_that_can_be_asked_for():
    english, chinese = (wording(language).phrases for language in FILES)
    assert list(english) == list(chinese)
    parts = {"history", "findings", "study", "lab", "absent"}
    for phrases in (english, chinese):
        for register in REGISTERS:
            for order in phrases[f"order {register}"]:
                found = {"found"} if register != "plain" else set()  # a short stem does not say who found it
                assert set(order.split()) == {*parts, *found, "onset", "course", "exposure", "family"}
                assert len(order.split()) == 9 + len(found)
        assert {f"{part} {register}" for part in parts for register in REGISTERS} <= phrases.keys()
        assert {"found clinical", "found lay"} <= phrases.keys()
        assert {*STEPS, "absent other", "which"} <= phrases.keys()
        asked = {key.removeprefix("ask ").removeprefix("again ") for key in phrases if key.startswith("ask ")}
        asked = {key.removesuffix(" lay").removesuffix(" plain").removesuffix(" clinical") for key in asked}
        assert asked <= {*STEPS, "diagnosis"}, "a lead-in that no kind of path asks for"
        assert {f"ask diagnosis {register}" for register in REGISTERS} <= phrases.keys()
        assert {f"onset {onset_name(name)}" for name in patient._lists().onsets} <= phrases.keys()
        assert {
            f"family {mode}" for mode in [*patient._lists().modes, "autosomal dominant de novo", "other"]
        } <= phrases.keys()
        for step in STEPS:
            assert any("{x}" in phrase for phrase in phrases[step]), step
    for step in STEPS:
        assert len(set(english[step])) >= 6, step
    for key, phrases in english.items():
        assert len(phrases) >= 6 or not key.startswith("ask "), key


def test_no_phrase_tells_number_of_a_name_or_names_an_inheritance():
    """A name may be singular or plural: none is the subject of a verb that shows which. A pedigree names no mode."""
    for key, phrases in wording().phrases.items():
        for phrase in phrases:
            assert not re.search(r"\{clues\} (is|are|was|were|has been)\b", phrase), (key, phrase)
            assert not re.search(r"\b(Is|Are|There (is|are)) \{clues\}", phrase), (key, phrase)
            if key.startswith("family"):
                assert not re.search(r"recessive|dominant|linked|mitochondrial|autosomal", phrase), (
                    key,
                    phrase,
                )


def test_a_named_root_is_asked_about_in_a_short_sentence(graph):
    for step in STEPS:
        query = Query(Kind(chain=(step,), hidden=False), HIDDEN[:2])
        stem = word_question(query, graph, "clinical", generator(0, step))
        assert stem.count("Quux disease") == 1
        assert len(stem.split()) < 17


def test_a_bridge_clue_singles_out_the_drug_between(graph):
    clue = Clue("has_mechanism", "zyxing", "bridge", 1)
    query = Query(Kind(chain=("treated_by", "contraindicated_in")), HIDDEN, (CLUES[0], clue))
    for number in range(20):
        stem = word_question(query, graph, "plain", generator(number))
        assert stem.count("zyxing") == 1
        assert "wheezing" in stem
        assert len(stem.split()) < 30


def test_the_lay_register_needs_a_synonym_for_each_named_clue(graph):
    query = Query(Kind(), HIDDEN[:1], CLUES)
    assert lay_is_possible(query, graph)
    other = Query(Kind(), HIDDEN[:1], (*CLUES, Clue("has_finding", "zyxing", "absent")))
    assert not lay_is_possible(other, graph)


def test_an_unknown_language_or_step_is_refused(graph):
    with pytest.raises(InputError, match="no wording in 'fr'"):
        word_question(Query(Kind(), HIDDEN[:1], CLUES), graph, "clinical", generator(0), "fr")
    with pytest.raises(InputError, match=r"wording\.yaml: phrases\.paints is missing"):
        word_question(Query(Kind(chain=("paints",)), HIDDEN[:2], CLUES), graph, "clinical", generator(0))


# --- the patient


def world(inheritance="", onset="", course="", **findings):
    """A disease with findings, name -> note of the evidence."""
    graph = KnowledgeGraph()
    edges = [("inherited_as", inheritance, ""), ("has_onset", onset, ""), ("has_course", course, "")]
    edges = [edge for edge in edges if edge[1]] + [
        ("has_finding", name.replace("_", " "), note) for name, note in findings.items()
    ]
    graph.add_entity(Entity("root", "disease"), "here")
    for relation, tail, note in edges:
        graph.add_entity(Entity(tail, relation), "here")
        graph.add_edge(Edge("root", relation, tail, (Evidence(ORIGIN, 1, note=note),)), "here")
    return graph, [
        Clue("has_finding", tail, "core") for relation, tail, _ in edges if relation == "has_finding"
    ]


def test_onsets_have_ages_as_hpo_defines_them():
    assert onset_range("Infantile onset") == (0.0767, 1.0)
    assert onset_range("Young adult onset") == (16, 40)
    assert onset_range("congenital onset")[0] == 0
    assert onset_range("antenatal onset")[1] == 0
    assert onset_range("progressive") is None
    assert onset_name("fetal onset") == "antenatal"
    assert onset_name("puerpural onset") == "puerperal"


def test_the_patient_is_of_the_age_of_onset_or_of_an_age_at_which_the_finding_is_seen():
    for number in range(200):
        graph, clues = world(onset="childhood onset", rash="")
        assert 1 <= draw_patient(graph, "root", clues, generator(number)).age <= 9
        graph, clues = world(onset="congenital onset", absent_speech="")
        assert 3 <= draw_patient(graph, "root", clues, generator(number)).age <= 7
        graph, clues = world(onset="pediatric onset", delayed_psychomotor_development="")
        assert 1.5 - 1 / 12 <= draw_patient(graph, "root", clues, generator(number)).age <= 12
        graph, clues = world(onset="congenital onset", course="death in infancy", rash="")
        assert 0 <= draw_patient(graph, "root", clues, generator(number)).age <= 0.9
        for lethal in (
            {"course": "neonatal death", "micrognathia": ""},
            {"cyclopia": "", "cleft_palate": ""},
        ):
            graph, clues = world(onset="congenital onset", **lethal)
            assert draw_patient(graph, "root", clues, generator(number)).age <= 0.07
        graph, clues = world(onset="congenital onset", rash="")
        assert 0.5 - 1 / 12 <= draw_patient(graph, "root", clues, generator(number)).age <= 4
        graph, clues = world(onset="congenital onset", poor_suck="")
        assert draw_patient(graph, "root", clues, generator(number)).age <= 0.08
        graph, clues = world(onset="juvenile onset", microcephaly="")  # noticed late, there from birth
        assert draw_patient(graph, "root", clues, generator(number)).age is None
        graph, clues = world(rash="")  # it may begin at any age
        assert draw_patient(graph, "root", clues, generator(number)).age is None


def test_the_sex_follows_linkage_findings_and_notes():
    graph, clues = world(rash="")
    assert sexes(graph, "root", clues) == {"female", "male"}
    for neither in (
        world(cryptorchidism="", ovarian_cyst=""),
        world("X-linked recessive inheritance", ovarian_cyst=""),
        world(cryptorchidism="frequency 2/2; sex female"),
    ):
        assert sexes(neither[0], "root", neither[1]) == set()
    assert {draw_patient(*_at(world(rash="")), generator(i)).sex for i in range(30)} == {"female", "male"}
    for graph, clues in (
        world("X-linked recessive inheritance", rash=""),
        world(hypospadias=""),
        world(rash="frequency 2/2; sex male"),
    ):
        assert sexes(graph, "root", clues) == {"male"}
        assert draw_patient(graph, "root", clues, generator(0)).sex == "male"
    graph, clues = world(ovarian_cyst="")
    assert sexes(graph, "root", clues) == {"female"}


def _at(found):
    return found[0], "root", found[1]


def test_a_dominant_pedigree_is_not_told_where_patients_have_no_children():
    graph, _ = world("autosomal dominant inheritance", rash="")
    assert pedigree(graph, "root", "autosomal dominant inheritance") == "autosomal dominant"
    assert pedigree(graph, "root", "X-linked inheritance") == "X-linked"
    assert pedigree(graph, "root", "semidominant inheritance") is None
    assert pedigree(graph, "root", "polygenic inheritance") is None
    graph, _ = world("autosomal dominant inheritance", absent_speech="")
    assert pedigree(graph, "root", "autosomal dominant inheritance") == "autosomal dominant de novo"
    assert pedigree(graph, "root", "autosomal recessive inheritance") == "autosomal recessive"
    assert pedigree(graph, "root", "X-linked dominant inheritance") is None
    assert pedigree(graph, "root", "mitochondrial inheritance") is None


@pytest.mark.parametrize(
    ("name", "gene"), [("root", "CDKN1C"), ("6q terminal deletion syndrome", ""), ("trisomy 9q", "")]
)
def test_no_family_shows_an_imprinted_gene_or_a_piece_of_a_chromosome(name, gene):
    graph = KnowledgeGraph()
    for entity, kind in ((name, "disease"), (gene or "FBN1", "gene")):
        graph.add_entity(Entity(entity, kind), "here")
    graph.add_edge(Edge(name, "associated_gene", gene or "FBN1", (Evidence(ORIGIN, 1),)), "here")
    for mode in ("autosomal dominant inheritance", "autosomal recessive inheritance"):
        assert pedigree(graph, name, mode) is None
    graph, _ = world("autosomal dominant inheritance", rash="")
    assert pedigree(graph, "root", "autosomal dominant inheritance")


def test_the_complaint_stands_in_the_first_sentence(graph):
    """Wherever else such a finding would be told: a laboratory's, here."""
    complaint = Clue("has_lab", "hypokalemia", "complaint")
    for number in range(40):
        clues = (complaint, *(clue for clue in CLUES if clue.tail != "hypokalemia"))
        query = Query(Kind(), HIDDEN[:1], clues, patients()[number % 42])
        stem = word_question(query, graph, "clinical", generator(number, "complaint"))
        assert "hypokalemia" in stem.split(". ")[0]


def test_a_new_variant_is_told_by_no_layperson():
    graph, _ = world("autosomal dominant inheritance", absent_speech="")
    family = Clue("inherited_as", "autosomal dominant inheritance", "family")
    assert not lay_is_possible(Query(Kind(), ("root",), (family,)), graph)
    graph, _ = world("autosomal dominant inheritance", rash="")
    assert lay_is_possible(Query(Kind(), ("root",), (family,)), graph)


# --- names

NAMES = {
    names.is_meaningless: (
        ["infestation NOS", "abnormality of the skeletal system", "abnormal heart morphology", "ovarian disease",
         "skin manifestations", "Other and unspecified disorders", "Vater associationvacterl association, included"],
        ["ptosis", "gout", "Wilson disease", "abnormal pyramidal sign", "bipolar disorder", "coronary artery disease"],
    ),
    names.lists_findings: (
        ["cataracts, spastic paraparesis, and speech delay",
         "intellectual developmental disorder with seizures and hypotonia",
         "Aphalangy-syndactyly-microcephaly syndrome", "short stature-wormian bones-dextrocardia syndrome",
         "retinal degeneration and epilepsy", "Hypotrichosis-Lymphedema-Telangiectasia-Renal defect syndrome"],
        ["Smith-Lemli-Opitz syndrome", "Wilson disease", "Duchenne muscular dystrophy", "spinal muscular atrophy",
         "Wolff-Parkinson-White syndrome", "hereditary hemorrhagic telangiectasia", "limb-girdle muscular dystrophy"],
    ),
    names.numbered: (
        ["Charcot-Marie-Tooth disease type 2J", "spastic paraplegia 45", "retinitis pigmentosa-50",
         "brachydactyly, type A1, C",
         "leukodystrophy, hypomyelinating, 19, transient infantile", "congenital disorder of glycosylation IIaa",
         "Shwachman syndrome 2", "Mucopolysaccharidosis type 2",
         "hypogonadotropic hypogonadism 26 with or without anosmia"],
        ["Wilson disease", "hepatitis B", "trisomy 13", "22q11.2 deletion syndrome", "Rhizomelic syndrome, Urbach type",
         "factor V deficiency", "Crohn's disease"],
    ),
    names.is_no_patient_finding: (
        ["Caesarian section", "sudden cardiac death", "polyhydramnios", "decreased fetal movement", "consanguinity",
         "premature birth", "Down syndrome (symptom)", "reduced adenosine deaminase level",
         "decreased activity of adenosine deaminase", "reduced factor VIII activity", "anencephaly (finding)",
         "decreased galactose-1-phosphate uridylyltransferase activity"],
        ["microcephaly (finding)", "nephrotic syndrome", "seizures", "delayed psychomotor development",
         "elevated creatine kinase", "decreased circulating alkaline phosphatase concentration",
         "abnormal disease course"],
    ),
    names.is_seen: (
        ["low-set ears", "macrocephaly", "spastic gait", "2-3 toe syndactyly", "hepatomegaly", "blue sclerae",
         "hypopigmented macule", "bilateral ptosis"],
        ["gliosis", "aqueductal stenosis", "bridging fibrosis", "gastroparesis", "dentate nucleus atrophy",
         "abnormal lipopigment storage", "cardiomegaly", "rimmed vacuoles"],
    ),
    names.is_soft: (["fever", "Fatigue", "headache", "abdominal pain"], ["ptosis", "feverfew", "ataxia"]),
    names.is_deniable: (["ptosis", "long face"], ["absent speech", "inability to walk", "decreased body weight"]),
}  # fmt: skip


@pytest.mark.parametrize("rule", NAMES, ids=lambda rule: rule.__name__)
def test_names_are_told_apart(rule):
    yes, no = NAMES[rule]
    assert [name for name in yes if not rule(name)] == []
    assert [name for name in no if rule(name)] == []


def test_a_finding_is_said_as_a_sentence_has_it():
    assert said("intellectual disability, severe") == "severe intellectual disability"
    assert said("microcephaly (finding)") == "microcephaly"
    assert said("EMG: myotonic runs") == "myotonic runs on electromyography"
    assert said("upslanted palpebral fissure") == "upslanted palpebral fissures"
    assert names.is_countable("unilateral cleft lip")
    assert names.is_countable("short femur")
    assert not names.is_countable("aplasia affecting the uterus")
    assert said("small for gestational age") == "small size for gestational age"
    assert said("flared metaphysis") == "flared metaphyses"
    assert names.lay_words(["Mental-retardation", "body fails to respond", "fits"]) == ["fits"]
    assert not names.is_countable("loss of voice")


@pytest.mark.parametrize(
    "text",
    [
        "a uterus, an ulcer, a one-sided cleft lip, an H-type fistula, an 8, a V-sign, a once-daily one",
        "an hour, an hourglass, an honest man, an heir, a honeycomb, a hiatus, a European, an oncocytoma",
        "an MRI, an EEG, an EUS, an NSAID, an SSRI, an H pylori test, an S3 gallop, an X-linked trait, an LVADs",
        "a CT, a UTI, a UPJ obstruction, a SARS case, a STEMI, a MELAS gene, a FLAIR lesion, a U wave, a Meckel sign",
    ],
)
def test_the_article_is_that_of_the_sound(text):
    assert with_articles(re.sub(r"\ban? ", "a(n) ", text)) == text


def test_the_language_is_that_of_the_names():
    assert names.language_of(["fever", "β-thalassemia", "Sjögren's syndrome", "22q11.2"]) == "en"
    assert names.language_of(["发热", "BRCA1"]) == "zh"
    assert names.language_of(["лихорадка"]) is None
    assert names.language_of(["fièvre", "ファブリー病"]) is None


def test_every_list_is_a_regular_expression_and_a_chinese_stem_is_chinese(graph):
    for file in ("names", "soft_findings"):
        lists = load_config(names.NameLists, ROOT / f"assets/{file}.yaml", [])
        for expression in itertools.chain(*lists.patterns.values(), (found for found, _ in lists.rewritten)):
            re.compile(expression)
    stem = word_question(
        Query(Kind(), HIDDEN[:1], (), Patient(7.0, "female")), graph, "clinical", generator(0), "zh"
    )
    assert "7岁的女孩" in stem
    assert " " not in stem
    assert not re.search("[a-z]", stem)
    assert read_phrases("wording_zh").file.endswith("wording_zh.yaml")
