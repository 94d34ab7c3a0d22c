"""The words of a question: a small grammar of openings, noun phrases and asks, in a lay and a clinical register.

Every template keeps {x} inside the sentence or governed by a verb that does not show number: names come as the
graph has them, singular or plural, with no capital at the start of a sentence. Left out: rewriting by a teacher.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from fleming.graph.knowledge_graph import Triple
from fleming.questions.metapaths import Metapath
from fleming.sources.vocabulary import FEATURES

REGISTERS = ("clinical", "lay")


def surface_forms(table: str) -> dict[str, list[str]]:
    """Read lines of the form "key: form | form | ..."; several lines of one key add up."""
    forms: dict[str, list[str]] = {}
    for line in table.strip().splitlines():
        key, alternatives = line.split(": ", 1)
        forms.setdefault(key, []).extend(alternatives.split(" | "))
    return forms


def pick(rng: np.random.Generator, items):
    return items[int(rng.integers(len(items)))]


def listed(names: Sequence[str]) -> str:
    """Return "a", "a and b" or "a, b and c"."""
    return ", ".join(names[:-1]) + " and " + names[-1] if len(names) > 1 else names[0]


WORDING = surface_forms("""
opening: A patient has {clues}. | A patient presents with {clues}. | Someone comes to the clinic with {clues}.
opening: The doctor notes {clues}. | The chart lists {clues}. | My mother was found to have {clues}.
opening: A man is seen for {clues}.
hidden root: the underlying disease | this disease | the likely disease | the disease behind this
bridge: the drug for {x} | the drug that treats {x} | the drug used in {x} | the medicine for {x}
bridge by: the drug that treats {x} by {clue} | the drug acting by {clue} in {x}
bridge by: the drug for {x} that works by {clue} | the medicine that helps in {x} by {clue}
treated_by: Which drug treats {x}? | Which drug is used for {x}? | Which medicine helps against {x}?
treated_by: What would a doctor prescribe for {x}? | What is given to treat {x}? | Which of these drugs fits {x}?
diagnosed_by: Which test confirms {x}? | Which test is used to diagnose {x}?
diagnosed_by: Which test should be ordered to prove {x}? | How would a doctor confirm {x}?
diagnosed_by: What is done to diagnose {x}? | Which of these tests detects {x}?
caused_by: What causes {x}? | Which mechanism underlies {x}? | What is the cause of {x}? | Which process leads to {x}?
caused_by: What goes wrong in {x}? | Which of these mechanisms explains {x}?
has_symptom: Which symptom can {x} cause? | Which symptom fits {x}? | What might a patient with {x} complain of?
has_symptom: What can people with {x} feel? | Which complaint belongs to {x}? | Which of these symptoms occurs in {x}?
has_finding: Which finding fits {x}? | What can be found in a patient with {x}? | What would a doctor look for in {x}?
has_finding: Which sign speaks for {x}? | Which finding belongs to {x}? | Which of these findings occurs in {x}?
has_mechanism: How does {x} act? | How does {x} work? | What is the mechanism of {x}? | By which action does {x} help?
has_mechanism: What does {x} do in the body? | Which of these actions explains {x}?
contraindicated_in: In which condition must one avoid {x}? | When is {x} contraindicated?
contraindicated_in: Which condition rules out {x}? | Which condition speaks against {x}?
contraindicated_in: Which condition makes one avoid {x}? | Which condition must be excluded before giving {x}?
has_adverse_effect: Which adverse effect comes from {x}? | Which side effect belongs to {x}?
has_adverse_effect: Which harm can come from {x}? | Which side effect is known for {x}?
has_adverse_effect: What should one watch for with {x}? | Which of these problems can follow {x}?
^treated_by: Which disease does {x} treat? | Which disease is treated with {x}? | For which disease is {x} used?
^treated_by: A patient takes {x}. Which disease is this drug for? | Which illness does {x} help against?
^treated_by: A doctor prescribes {x}. Which disease fits?
^diagnosed_by: Which disease can {x} confirm? | Which disease is diagnosed by {x}? | For which disease is {x} ordered?
^diagnosed_by: A doctor orders {x}. Which disease is suspected? | Which illness can {x} detect?
^diagnosed_by: Which diagnosis rests on {x}?
^caused_by: Which disease is caused by {x}? | Which disease comes from {x}? | Which disease is explained by {x}?
^caused_by: Which illness has {x} as its cause? | Which disease results from {x}?
^caused_by: Think of {x}. Which disease can follow?
^has_symptom: Which disease can cause {x}? | Which disease fits {x}?
^has_symptom: A patient complains of {x}. Which disease can explain it?
^has_symptom: I have {x}. Which of these diseases could it be? | Which illness is known for {x}?
^has_symptom: Which disease has {x} as a symptom?
^has_finding: Which disease can show {x}? | Which disease fits {x}? | A doctor finds {x}. Which disease can explain it?
^has_finding: They found {x}. Which of these diseases could it be? | Which illness is known for {x}?
^has_finding: Which disease has {x} as a finding?
^has_mechanism: Which drug acts by {x}? | Which drug works through {x}? | Which medicine helps by {x}?
^has_mechanism: A drug is wanted that acts by {x}. Which one? | Which of these drugs has {x} as its action?
^has_mechanism: Which drug is known for {x}?
^contraindicated_in: Which drug must be avoided in {x}? | Which drug is contraindicated in {x}?
^contraindicated_in: Which medicine is unsafe with {x}? | A patient has {x}. Which drug must not be given?
^contraindicated_in: I have {x}. Which of these drugs should I not take? | Which drug cannot be given in {x}?
^has_adverse_effect: Which drug can cause {x}? | Which drug has {x} as an adverse effect?
^has_adverse_effect: Which medicine is known for {x}? | A patient on treatment gets {x}. Which drug can be the reason?
^has_adverse_effect: I got {x} from a medicine. Which one could it be? | Which of these drugs has {x} as a side effect?
associated_gene: Which gene is associated with {x}? | Variants in which gene are linked to {x}?
associated_gene: Which of these genes is tied to {x}? | Which of these genes has a known part in {x}?
associated_gene: Which gene goes with {x}? | For which of these genes is a link to {x} known?
inherited_as: How is {x} inherited? | What is the mode of inheritance of {x}? | Which mode of inheritance fits {x}?
inherited_as: In what way does {x} run in a family? | How is {x} passed on to children?
inherited_as: A family asks how {x} is passed on. What applies?
subtype_of: To which class of drugs does {x} belong? | Which class of drugs includes {x}?
subtype_of: What kind of drug is {x}? | Which drug class fits {x}? | Under which class is {x} listed?
subtype_of: Into which pharmacologic class does {x} fall?
targets: The product of which gene does {x} bind? | Which of these genes encodes a protein that {x} binds?
targets: The product of which gene is bound by {x}? | Which gene encodes a binding partner of {x}?
targets: What does {x} bind to? Name the gene of the protein. | Which gene stands for a protein to which {x} binds?
^targets: Which drug binds the product of {x}? | Which of these drugs binds what {x} encodes?
^targets: To the product of {x}, which drug binds? | Which medicine binds to what {x} encodes?
^targets: The product of {x} is bound by which drug? | Which drug has the product of {x} as a binding partner?
participates_in: In which process does {x} take part? | Which of these processes involves {x}?
participates_in: In which of these processes has {x} a part? | To which process does {x} belong?
participates_in: Which of these is {x} involved in? | Which biological process fits {x}?
interacts_with: With which drug does {x} interact? | Which drug should not be added to {x} without thought?
interacts_with: Which of these drugs interacts with {x}? | Beside {x}, which drug calls for caution?
interacts_with: Which drug changes the effect of {x}? | Which combination with {x} is a known interaction?
^associated_gene: Which disease is linked to {x}? | Variants in {x} go with which disease?
^associated_gene: Which of these diseases is tied to {x}? | To which of these diseases is {x} linked?
^associated_gene: Which disease should come to mind with {x}? | For which of these diseases is a link to {x} known?
again ^associated_gene: Which other disease is linked to {x}? | Variants in {x} also go with which other disease?
again ^associated_gene: Which of these diseases shares {x} as its gene? | To which further disease is {x} linked?
again ^associated_gene: Which further disease should come to mind with {x}? | What other disease is tied to {x}?
again ^treated_by: Which other disease is treated with {x}? | Which of these diseases is {x} used for as well?
again ^treated_by: For which further disease is {x} given? | What else does {x} help against?
again ^treated_by: Another patient takes {x} too. For which disease? | Which second disease does {x} treat?
scenario caused_by: What is the cause of {x}? | What causes {x}? | What lies at the root of {x}?
scenario caused_by: To what is {x} due? | Which cause explains {x}? | Which of these can cause {x}?
scenario ^treated_by: Which disease does {x} treat? | Which disease is treated with {x}?
scenario ^treated_by: For which disease is {x} used? | Which illness does {x} help against?
scenario ^treated_by: Which of these diseases is {x} given for? | Against which disease is {x} prescribed?
hidden drug: this drug | the medicine in question | the drug at issue | the likely drug
step treated_by: A drug{c} is prescribed for {x}. | For {x} a doctor chooses a drug{c}.
step treated_by: Treatment of {x} is begun with a drug{c}.
step ^treated_by: The reason for {x} was a disease{c}. | With {x} one treats a disease{c}.
step ^treated_by: Against a disease{c} one gives {x}.
step again ^treated_by: Another disease{c} is treated with {x} too. | Another disease{c} calls for {x} as well.
step again ^treated_by: Somebody else takes {x} for another disease{c}.
step associated_gene: A gene{c} is linked to {x}. | A gene{c} has a part in {x}.
step associated_gene: Research ties {x} to a gene{c}.
step ^associated_gene: A disease{c} is linked to {x}. | Variants in {x} go with a disease{c}.
step ^associated_gene: Research ties {x} to a disease{c}.
step again ^associated_gene: Variants in {x} also go with another disease{c}.
step again ^associated_gene: A second disease{c} is linked to {x} too.
step again ^associated_gene: Somebody else has a variant in {x} and another disease{c}.
step targets: Among what {x} binds is the product of a gene{c}. | What {x} binds to is encoded by a gene{c}.
step targets: A gene{c} encodes a protein that {x} binds.
step ^targets: Of the drugs that bind the product of {x}, take one{c}. | A drug{c} binds the product of {x}.
step ^targets: What {x} encodes is bound by a drug{c}.
that ^targets: the drug mentioned last | that last drug
that treated_by: that drug | this medicine | the drug mentioned
that ^treated_by: that disease | the disease mentioned last
that associated_gene: that gene | the gene mentioned
that ^associated_gene: that disease | the disease mentioned last
that again ^associated_gene: that other disease | the second disease
that targets: that gene | the gene mentioned last
clause has_mechanism: acting by {x} | working through {x}
clause targets: binding {x} | that binds {x}
clause subtype_of: from the class of {x} | listed under {x}
clause has_adverse_effect: known to cause {x} | with {x} among its adverse effects
clause contraindicated_in: to be avoided in {x} | contraindicated in {x}
clause participates_in: involved in {x} | with a part in {x}
clause has_symptom: marked by {x} | with {x} among its symptoms
clause has_finding: marked by {x} | with {x} among its findings
clause has_lab: with {x} in the laboratory | marked by {x}
clause inherited_as: with {x} | following {x}
clause has_onset: with {x} | of {x}
which: Choose the one {clauses}. | The one asked for is the one {clauses}. | Look for the one {clauses}.
which: Of several, the one {clauses} is meant.
opening disease clinical: A patient presents with {clues}. | Examination and history reveal {clues}.
opening disease clinical: The chart of a newly referred patient lists {clues}. | A work-up documents {clues}.
opening disease clinical: The referral letter mentions {clues}. | On the ward round a patient is discussed with {clues}.
opening disease lay: My doctor told me that I have {clues}. | Someone in our family has {clues}.
opening disease lay: A friend of mine was found to have {clues}. | A relative of ours lives with {clues}.
opening disease lay: We were told about {clues} after the tests. | The report that we got names {clues}.
opening drug clinical: Among the reported adverse effects of a patient's medication are {clues}.
opening drug clinical: A drug's label warns of {clues}. | A drug chart is reviewed because of {clues}.
opening drug clinical: Pharmacovigilance links a drug to {clues}. | After a new prescription a patient develops {clues}.
opening drug clinical: A drug is stopped because of {clues}.
opening drug lay: The leaflet in the box warns of {clues}. | My medicine can give people {clues}.
opening drug lay: I was warned that my tablets may cause {clues}. | Since the new medicine I have noticed {clues}.
opening drug lay: People who take a certain drug report {clues}. | The pharmacist told me to watch for {clues}.
clue inherited_as clinical: The pedigree fits {x}. | Family history points to {x}.
clue inherited_as lay: The family was told of {x}. | The doctors speak of {x}.
clue has_onset clinical: The history is one of {x}. | The notes record {x}.
clue has_onset lay: The letter speaks of {x}. | The doctors wrote down {x}.
clue has_mechanism clinical: The drug acts by {x}. | The drug's action is {x}.
clue has_mechanism lay: The drug is said to work by {x}. | The leaflet explains that the drug works by {x}.
clue targets clinical: The drug binds {x}. | Among what the drug binds is {x}.
clue targets lay: The drug is said to bind {x}. | The leaflet says that the drug binds to {x}.
clue subtype_of clinical: The drug is classed under {x}. | The drug is listed under {x}.
clue subtype_of lay: The leaflet lists the drug under {x}. | A list of drugs has it under {x}.
clue contraindicated_in clinical: The drug must not be given in {x}. | The drug is contraindicated in {x}.
clue contraindicated_in lay: People with {x} must not take the drug. | The drug is not for people with {x}.
""")
LISTED = {"disease": FEATURES, "drug": ("has_adverse_effect",)}  # clues that the opening names; others get a sentence


def word_basic(
    kind: Metapath, root: str, root_clues: Sequence[Triple], bridge_clue: Triple | None, rng: np.random.Generator
) -> str:
    """Return the stem of a basic question."""
    opening, subject = "", root
    if root_clues:
        names = [root_clues[i][2] for i in rng.permutation(len(root_clues))]
        opening = pick(rng, WORDING["opening"]).format(clues=listed(names)) + " "
        subject = pick(rng, WORDING["hidden root"])
    if bridge_clue:
        subject = pick(rng, WORDING["bridge by"]).format(x=subject, clue=bridge_clue[2])
    elif len(kind.chain) > 1:
        subject = pick(rng, WORDING["bridge"]).format(x=subject)
    return opening + pick(rng, WORDING[kind.chain[-1]]).format(x=subject)


def word_scenario(
    kind: Metapath, clues: Mapping[int, Sequence[Triple]], register: str, rng: np.random.Generator
) -> str:
    """Return the stem of a scenario; `clues` are the visible edges of each node, by its place on the path."""
    names, sentences = [], []
    for i in rng.permutation(len(clues[0])):
        _, relation, tail = clues[0][i]
        if relation in LISTED[kind.root]:
            names.append(tail)
        else:
            sentences.append(pick(rng, WORDING[f"clue {relation} {register}"]).format(x=tail))
    sentences.insert(0, pick(rng, WORDING[f"opening {kind.root} {register}"]).format(clues=listed(names)))

    def described(place: int) -> str:
        chosen = clues.get(place, ())
        return listed([pick(rng, WORDING[f"clause {relation}"]).format(x=tail) for _, relation, tail in chosen])

    subject = pick(rng, WORDING["hidden root" if kind.root == "disease" else f"hidden {kind.root}"])
    again = "again " if kind.root == "disease" else ""  # the patient's own disease is not the only one any more
    turned = ("^treated_by", "^associated_gene")  # the steps back to a disease
    for place, step in enumerate(kind.chain[:-1], 1):
        key = again * (step in turned) + step
        clause = f" {described(place)}" if clues.get(place) else ""
        sentences.append(pick(rng, WORDING[f"step {key}"]).format(x=subject, c=clause))
        subject = pick(rng, WORDING.get(f"that {key}", WORDING[f"that {step}"]))
    asked = again * (kind.chain[-1] in turned) + kind.chain[-1]
    forms = WORDING.get(f"scenario {asked}", WORDING.get(asked))
    sentences.append(pick(rng, forms).format(x=subject))
    if clues.get(len(kind.chain)):
        sentences.append(pick(rng, WORDING["which"]).format(clauses=described(len(kind.chain))))
    return " ".join(sentences)
