"""stub until merged"""
from fleming.graph.knowledge_graph import remembered
LEVELS = {("HPO", "inherited_as"): "closed", ("HPO", "associated_gene"): "closed", ("HPO", "has_onset"): "nearly_closed"}
@remembered
def is_closed(graph, head, relation, level="closed"):
    if any(o.extractor == "hand-written" for o in graph.origins):
        return True
    if relation not in ("inherited_as", "associated_gene", "has_onset"):
        return False
    for t in graph.follow(head, relation):
        for e in graph.edge(head, relation, t).evidence:
            l = LEVELS.get((e.origin.source, relation))
            if l == "closed" or l == level:
                return True
    return False
