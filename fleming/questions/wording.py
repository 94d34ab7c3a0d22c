"""stub until merged"""
from fleming.questions.phrases import Phrases, read_phrases
def listed(names):
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
def word_question(query, graph, register, rng, language="en"):
    w = read_phrases("wording")
    if not query.kind.hidden:
        subj = query.nodes[0]; op = ""
    else:
        pos=[c.tail for c in query.clues if c.role in ("core","discriminating")]
        neg=[c.tail for c in query.clues if c.role=="absent"]
        oth=[c.tail for c in query.clues if c.role in ("family","onset")]
        op = f"A patient has {listed(pos)}. "
        if neg: op += f"There is no {listed(neg)}. "
        if oth: op += f"History: {listed(oth)}. "
        subj = "the disease"
    for s in query.kind.chain[:-1]: subj = f"{s.strip('^')} of {subj}"
    if not query.kind.chain: return op + "What is it?"
    return op + f"What is {query.kind.chain[-1]} of {subj}?"
