"""stub until merged"""
import re
def is_meaningless(name): return bool(re.search(r"\bNOS\b|unspecified|ill-defined|not elsewhere|^abnormality of|^abnormal ", name))
def lists_findings(name): return bool(re.search(r",| with | and |-[a-z]+-", name))
def numbered(name): return bool(re.search(r"\d|\btype\b|\b[IVX]+\b|\b[A-Z]\b", name))
def is_no_patient_finding(name): return bool(re.search(r"section|death|consanguin|inherit", name, re.I))
SOFT = {"fever","fatigue","headache","weight loss","vomiting","nausea","pain","anorexia","irritability","malaise"}
def is_soft(name): return name in SOFT
