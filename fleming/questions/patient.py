"""stub until merged"""
from fleming.questions.query import Patient
R = {"fetal onset": (0,.02), "antenatal onset": (0,.02), "congenital onset": (0,.02), "neonatal onset": (0,.08), "infantile onset": (.08,1), "childhood onset": (1,5), "juvenile onset": (5,15), "young adult onset": (16,40), "early young adult onset": (16,19), "late young adult onset": (25,40), "intermediate young adult onset": (19,25), "adult onset": (16,90), "middle age onset": (40,60), "late onset": (60,85), "pediatric onset": (0,16)}
def onset_range(tail):
    return R.get(tail)
def draw_patient(graph, root, clues, rng):
    for c in clues:
        if c.relation == "has_onset":
            a, b = R[c.tail]
            return Patient(a + (b-a)*rng.random(), "male" if rng.random()<.5 else "female")
    return Patient(None, "male" if rng.random()<.5 else "female")
