"""Anonymising questions (paper, section 3.1): the identifiers that HIPAA lists, as far as patterns can tell them.

| kind | removed | not touched |
|---|---|---|
| name | after Mr, Mrs, Ms, Dr, Prof, "patient", 姓名; before 先生; "Anna, a 2-year-old" | eponyms, "Mr. X", 张某 |
| address, zip | house number and street, five digits after a state, what follows 住址: | cities, states |
| date | day and month, the year stays | years alone, months alone, "5/12 strength", 3-4 days |
| age | over 89, which becomes "over 89" | up to 89, ranges, "90 or older" |
| phone, fax, email, url, ip | what is written as such | counts, enzyme numbers, PMIDs |
| ssn, national_id | American; Chinese with a right check digit, or the 15 digits of old | other long numbers |
| record, account, health_plan, licence, vehicle, device, chat | a number behind such a label | numbers alone |

A wrong change spoils a question and a missed name leaves it as it was, so every rule is narrow: doses, laboratory
values, genes, codes and ratios stay. What stands there instead ("[DATE] 2019") holds nothing for a second pass. All
patterns are bounded, so time is linear. Left out: pictures, biometric identifiers, names in running text.
"""

import dataclasses
import re
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from fleming.records import Question
from fleming.text import option_key

# Dr. Down's discovery is no identifier. Names that diseases, signs, tests and operations go by.
_EPONYMS = """
    Addison Alport Alzheimer Apgar Asperger Babinski Barrett Bartter Basedow Behçet Bell Bloom Bowen Bright Broca
    Brugada Burkitt Chagas Charcot Crohn Cushing Dandy Down Dupuytren Ebstein Edwards Ehlers Eisenmenger Epstein
    Ewing Fabry Fallot Fanconi Fleming Fournier Freud Gaucher Gilbert Glasgow Goodpasture Graves Guillain Hansen
    Hashimoto Hirschsprung Hodgkin Horner Huntington Jenner Kaposi Kawasaki Klinefelter Koch Koplik Korsakoff
    Kussmaul Lister Lyme Mallory Marfan McArdle McBurney Ménière Meniere Minor Murphy Osler Paget Parkinson Pasteur
    Patau Peyronie Pick Pompe Pott Prader Raynaud Reiter Reye Rett Rorschach Salk Semmelweis Sjögren Snow Still Tay
    Tourette Turner Virchow Wegener Wernicke Whipple Wilms Wilson"""
_FIRST_NAMES = """Alice Amy Andrew Anna Anne Anthony Barbara Brian Carol Charles Christopher Daniel David Deborah Donald
    Edward Elizabeth Emily Emma Eric George Helen James Jane Jason Jennifer Jessica John Joseph Karen Kevin Laura Linda
    Lisa Margaret Maria Mark Mary Matthew Michael Michelle Nancy Patricia Paul Peter Richard Robert Ronald Sandra Sarah
    Sharon Steven Susan Thomas Timothy William"""
_SURNAMES = "王李张刘陈杨赵黄周吴徐孙胡朱林郭罗郑梁谢宋唐许韩冯邓曹彭曾肖田董潘袁蔡蒋余杜叶程魏苏吕丁沈姚卢傅"
_STATES = """Alabama Alaska Arizona Arkansas California Colorado Connecticut Delaware Florida Georgia Hawaii Idaho
    Illinois Indiana Iowa Kansas Kentucky Louisiana Maine Maryland Massachusetts Michigan Minnesota Mississippi Missouri
    Montana Nebraska Nevada Ohio Oklahoma Oregon Pennsylvania Tennessee Texas Utah Vermont Virginia Washington Wisconsin
    Wyoming Hampshire Jersey Mexico York Carolina Dakota"""
_STATE_CODES = (
    "A[KLRZ]|C[AOT]|DE|FL|GA|HI|I[ADLN]|K[SY]|LA|M[ADEINOST]|N[CDEHJMVY]|O[HKR]|PA|RI|S[CD]|T[NX]|UT|V[AT]|W[AIVY]"
)
_MONTHS = "January February March April May June July August September October November December"

_MONTH = rf"(?i:{'|'.join(_MONTHS.split())}|(?:Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec)\b\.?)"
_FULL_MONTH = rf"(?:{'|'.join(_MONTHS.split())})"
_DAY = r"(?:3[01]|[12][0-9]|0?[1-9])"
_NTH = rf"{_DAY}(?:st|nd|rd|th)"
_YEAR = r"(?:18|19|20)[0-9]{2}"
_ZH_DAY = rf"{_DAY} ?[日号](?:[至到~～-] ?{_DAY} ?[日号])?(?! ?[0-9]{{0,2}} ?次)"  # 1月1日3次 is a dose
_NO_UNIT = (
    r"(?! ?(?:%|/|(?:mc?g|ug|k?g|m?[lL]|d[lL]|I?U|mmol|mEq|units?|cells?|cases|times|days?|weeks?|months?|hours?)\b))"
)
_WORD = r"(?:Mc|Mac|[OD]['’])?[A-ZÀ-ÖØ-Þ][a-zß-öø-ÿ]{1,20}(?:-[A-ZÀ-ÖØ-Þ][a-zß-öø-ÿ]{1,20})?"
_NAME = rf"(?P<name>(?:[A-Z]\.? )?{_WORD}(?: [A-Z]\.?(?= [A-Z]))?(?: {_WORD}){{0,2}})(?![\wß-ÿ])"
_NINETY = r"(?:9[0-9]|1[0-2][0-9])"
_TELEPHONE = r"(?!(?:19|20)[0-9]{2}-)(?P<cut>(?=\+?(?:[ ().-]{0,3}[0-9]){7})[+(]?[0-9][0-9 ().-]{5,18}[0-9])(?![0-9-])"
_NUMBER = r"(?P<cut>(?=(?:[A-Za-z0-9]{1,4}-)?[A-Za-z]{0,4}[0-9]{3})[A-Za-z0-9-]{5,24})(?![A-Za-z0-9])"
_IS = r"(?: (?:is|was))?[:：#为是]{0,2} {0,2}#?"


class _Rule(NamedTuple):
    kind: str
    hints: list[str]
    """A text without any of these is not looked at."""
    pattern: re.Pattern
    new: Callable[[re.Match], str | None]
    """What stands there instead; None to leave it."""


def _rule(kind: str, hints: str, pattern: str, new: Callable[[re.Match], str | None] | str | None = None) -> _Rule:
    """new: a function, a template, or None for [KIND] in place of the group `cut`."""

    def cut(m: re.Match) -> str:
        start, end = m.start("cut") - m.start(), m.end("cut") - m.start()
        return f"{m[0][:start]}[{kind.upper()}]{m[0][end:]}"

    make = cut if new is None else (lambda m: m.expand(new)) if isinstance(new, str) else new
    return _Rule(kind, hints.split(), re.compile(pattern, re.ASCII), make)


def _labelled(kind: str, hints: str, labels: str) -> _Rule:
    return _rule(kind, hints, rf"(?:{labels}){_IS}{_NUMBER}")


def _numeric_date(m: re.Match) -> str | None:
    numbers = sorted(int(m[name]) for name in ("a", "b", "c", "d") if m[name])
    return f"[DATE] {m['year'] or m['first']}" if 1 <= numbers[0] <= 12 and 1 <= numbers[1] <= 31 else None


def _doctor(m: re.Match) -> str | None:
    return None if set(_EPONYMS.split()).intersection(re.split("[ -]", m["name"])) else f"{m['title']}[NAME]"


def _opening(m: re.Match) -> str | None:
    return (
        None if re.search("ly$|^(?:Patient|Today|Yesterday|Case|However|Meanwhile|Overall)$", m["name"]) else "[NAME]"
    )


def _ip(m: re.Match) -> str | None:
    numbers = [int(n) for n in m["ip"].split(".")]  # enzymes are numbered in the same way, from 1 to 7
    return f"{m['label'] or ''}[IP]" if max(numbers) < 256 and (m["label"] or numbers[0] > 7) else None


def _national_id(m: re.Match) -> str | None:
    total = sum(2 ** (17 - i) % 11 * int(digit) for i, digit in enumerate(m[0][:17]))
    return "[NATIONAL_ID]" if len(m[0]) == 15 or "10X98765432"[total % 11] == m[0][-1].upper() else None


def _age(m: re.Match) -> str:
    joint = "-" if m["old"][0] == "-" else " "
    article = f"{m['a'][0]}n " if m["a"] else ""
    return f"{article}over{joint}89{m['old']}"


_OPEN, _CLOSE = r"(?<![\w.\]-])", r"(?![\w\[-]|\.[0-9])"  # no part of a longer number, nor beside what was cut out
_NUMBER_OF = r" ?(?:[Nn]umber|[Nn]o\.?|ID|#)"
_EVERY_MONTH = " ".join(month[:3] for month in _MONTHS.split())
_ANY_CASE = f"{_EVERY_MONTH} {_EVERY_MONTH.upper()} {_EVERY_MONTH.lower()}"
_WORD_RULES = (  # those that need no digit
    _rule("url", ":// www.", r"(?:\b(?:https?|ftp)://|\bwww\.)[^\s<>\"'，。；、）\[\]]{1,500}(?<![.,;:!?)])", "[URL]"),
    _rule("email", "@", r"(?<![\w.%+\]-])[\w.%+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,5}", "[EMAIL]"),
    _rule("address", "址", r"(?:住址|家庭地址|通讯地址)[:：] ?(?P<cut>[^\s，,。；;\[]{4,40})"),
    _rule("name", "Mr Ms", rf"(?P<title>\bM(?:rs?|s)(?:\. ?| )){_NAME}", r"\g<title>[NAME]"),
    _rule(
        "name",
        "Dr Prof",
        rf"(?P<title>\b(?<!after )(?:Dr|Prof)(?:\. ?| )){_NAME}(?!['’]| [A-Z][a-z]{{1,20}}['’])",
        _doctor,
    ),
    _rule(
        *("name", "atient amed ame"),
        rf"(?P<title>\b(?:[Pp]atient,?(?: named)?|[Nn]amed|[Nn]ame is) )(?:{'|'.join(_FIRST_NAMES.split())})"
        rf"(?: [A-Z]\.?)? {_WORD}\b",
        r"\g<title>[NAME]",
    ),
    _rule("name", "ame:", rf"(?P<title>\b(?:[Pp]atient(?:'s)?|[Ff]ull) [Nn]ame: ?){_NAME}", r"\g<title>[NAME]"),
    _rule("name", "姓名", r"姓名[:：] ?(?P<cut>(?![\u4e00-\u9fff]?[某×])[\u4e00-\u9fff]{2,4})"),
    _rule("name", "患者", rf"患者[:：]?(?P<cut>[{_SURNAMES}](?!某)[\u4e00-\u9fff]{{1,2}})(?=[，,、][男女])"),
    _rule("name", "先生 女士", rf"[{_SURNAMES}](?!某)[\u4e00-\u9fff]{{0,2}}?(?=先生|女士)", "[NAME]"),
)
_RULES = (
    *_WORD_RULES,
    _rule(
        *("name", ", a"),
        rf"\A(?P<name>{_WORD})(?=, an? [0-9]{{1,3}}[- ]?(?:year|month|week|day)s?[- ]old "
        r"(?:girl|boy|man|woman|male|female|patient|child|infant))",
        _opening,
    ),
    _rule(
        "ip",
        ".",
        rf"(?P<label>\bIP(?: address)?[: ]{{1,2}})?{_OPEN}(?P<ip>(?:[0-9]{{1,3}}\.){{3}}[0-9]{{1,3}}){_CLOSE}",
        _ip,
    ),
    _rule("fax", "ax FAX 传真", rf"(?:\b[Ff]ax|FAX|传真)(?:{_NUMBER_OF}|号码?)?{_IS}{_TELEPHONE}"),
    _rule(
        *("phone", "hone el. el: 电话 手机 联系方式"),
        rf"(?:\b(?:[Tt]ele)?[Pp]hone(?:{_NUMBER_OF})?|\b[Tt]el[.:]|电话|手机|联系方式)(?:号码?)?{_IS}{_TELEPHONE}",
    ),
    _rule(
        *("phone", "- ."),
        rf"{_OPEN}(?<!\))(?:\+?1[-. ])?(?:\([2-9][0-9]{{2}}\) ?|[2-9][0-9]{{2}}[-.])"
        rf"[2-9][0-9]{{2}}[-.][0-9]{{4}}{_CLOSE}",
        "[PHONE]",
    ),
    _rule(
        *("phone", "13 14 15 16 17 18 19"),  # a Chinese mobile; 15000000000/L is a count
        rf"{_OPEN}(?:\+?86[- ]?)?1[3-9][0-9](?:-[0-9]{{4}}-[0-9]{{4}}|[0-9]{{8}})(?<!00000)(?! ?/){_CLOSE}",
        "[PHONE]",
    ),
    _rule("phone", "-", rf"{_OPEN}0[1-9][0-9]{{1,2}}-[2-9][0-9]{{6,7}}{_CLOSE}", "[PHONE]"),
    _rule("ssn", "-", rf"{_OPEN}(?!000|666|9)[0-9]{{3}}-(?!00)[0-9]{{2}}-(?!0000)[0-9]{{4}}{_CLOSE}", "[SSN]"),
    _rule("ssn", "SSN ocial", rf"(?:\bSSN|\b[Ss]ocial [Ss]ecurity{_NUMBER_OF}){_IS}(?P<cut>[0-9]{{9}})\b"),
    _rule(
        *("national_id", "19 20"),
        rf"{_OPEN}[1-8][0-9]{{5}}{_YEAR}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])[0-9]{{3}}[0-9Xx]{_CLOSE}",
        _national_id,
    ),
    _rule("national_id", "身份证", r"身份证(?:号码?)?[:：为是]{0,2} {0,2}(?P<cut>[1-8][0-9]{14})(?!\w)"),
    _labelled(
        "record", "MRN ecord hart 号", rf"\bMRN|\b(?:[Mm]edical [Rr]ecord|[Cc]hart){_NUMBER_OF}|[病住门就][历案院诊]号"
    ),
    _labelled("account", "ccount 号", rf"\b[Aa]ccount{_NUMBER_OF}|账号|帐号|银行卡号"),
    _labelled(
        *("health_plan", "nsurance lan edica olicy 号"),
        rf"\b(?:[Ii]nsurance|[Hh]ealth [Pp]lan|[Mm]edicare|[Mm]edicaid|[Pp]olicy){_NUMBER_OF}|[医社]保卡?号|保单号",
    ),
    _labelled("licence", "icen 号", rf"\b[Ll]icen[cs]e{_NUMBER_OF}|驾驶证号|执业证号"),
    _rule(
        *("vehicle", "late 车牌"),
        rf"(?:\b[Ll]icen[cs]e [Pp]late(?:{_NUMBER_OF})?|车牌号?[:：]?[\u4e00-\u9fff]?){_IS}"
        r"(?P<cut>(?=[A-Z-]{0,6}[0-9])[A-Z0-9-]{5,9})(?!\w)",
    ),
    _labelled("device", "erial 序列号", rf"\b[Ss]erial{_NUMBER_OF}|序列号"),
    _labelled("chat", "微信 QQ eChat", r"(?:微信|WeChat)(?:号| ?ID)|QQ号?"),
    _rule(
        *("address", "Str St Ave R Bo Bl Drive Lane Court"),
        rf"(?<![\w.,/-])[0-9]{{1,5}} (?:[NSEW]\.? )?(?:{_WORD} ){{1,3}}"
        r"(?:Street|St\b|Avenue|Ave\b|Road|Rd\b|Boulevard|Blvd\b"
        r"|Drive|Lane|Court)\b\.?(?:,? (?:Apt|Suite|Unit)\.? ?\w{1,5})?",
        "[ADDRESS]",
    ),
    _rule(
        *("address", "号"),
        r"[\u4e00-\u9fff]{1,6}[市区县][\u4e00-\u9fff]{1,8}(?:路|街|大道|巷|弄)[0-9]{1,5}号(?:楼|院)?(?:[0-9]{1,4}室)?",
        "[ADDRESS]",
    ),
    _rule(
        *("zip", ", " + _STATES),
        rf"(?:, (?:{_STATE_CODES})|\b(?:{'|'.join(_STATES.split())})),? "
        rf"(?P<cut>[0-9]{{5}}(?:-[0-9]{{4}})?)(?!,[0-9]){_CLOSE}{_NO_UNIT}",
    ),
    _rule(
        *("date", _ANY_CASE),
        rf"\b(?:(?:{_NTH}|{_DAY})(?: of)?[ -])?{_MONTH}[ ,-]{{1,2}}"
        rf"(?:(?:{_NTH}|{_DAY})(?:[-–]{_DAY})?,? )?(?P<year>{_YEAR})\b{_NO_UNIT}",
        r"[DATE] \g<year>",
    ),
    _rule("date", _EVERY_MONTH, rf"\b(?:{_FULL_MONTH} {_NTH}|{_NTH}(?: of)? {_FULL_MONTH})\b", "[DATE]"),
    _rule(
        *("date", _EVERY_MONTH),
        r"\b(?:[Oo]n|[Ss]ince|[Uu]ntil|[Bb]efore|[Aa]fter|[Ff]rom|[Bb]etween|[Tt]hrough|[Tt]o|[Bb]y) "
        rf"(?P<cut>{_FULL_MONTH} {_DAY}|{_DAY} {_FULL_MONTH})\b{_NO_UNIT}",
    ),
    _rule(
        *("date", "19 20 18"),
        r"(?<![\w/.\]])(?:(?<!-)|(?=[0-9]{1,2}[/.]))"
        rf"(?:(?P<a>[0-9]{{1,2}})(?P<sep>[/.-])(?P<b>[0-9]{{1,2}})(?P=sep)(?P<year>{_YEAR})"
        rf"|(?P<first>{_YEAR})(?P<mark>[-/.])(?P<c>[0-9]{{1,2}})(?P=mark)(?P<d>[0-9]{{1,2}}))"
        r"(?![0-9A-SU-Za-z/\[]|\.[0-9]|-[0-9](?![0-9]?[/.]))",
        _numeric_date,
    ),
    _rule(
        "date",
        "DOB irth",
        r"(?:\bDOB|\b[Dd]ate of birth)[: ]{1,2}(?P<cut>[0-9]{1,2}([/-])[0-9]{1,2}\2[0-9]{2})(?![\w/-])",
    ),
    _rule(
        *("date", "年"),
        rf"(?P<year>{_YEAR} ?年) ?(?:1[0-2]|0?[1-9]) ?月(?! ?龄)(?: ?{_ZH_DAY})?",
        r"\g<year>[DATE]",
    ),
    _rule("date", "月", rf"(?<![0-9.停经~～-])(?:1[0-2]|0?[1-9]) ?月 ?{_ZH_DAY}", "[DATE]"),
    _rule(
        *("age", "ear y/o yo"),
        r"(?P<a>\b[Aa] )?(?<![\w.,<>≥≤~～–/-])"
        r"(?<![0-9] to )(?<![0-9] and )(?<!over )(?<!than )(?<!above )(?<!least )(?<!under )(?<!below )"
        rf"{_NINETY}(?P<old>[- ]years?[- ]old\b|[- ]?y/?o\b)(?! (?:or|and|to) )",
        _age,
    ),
    _rule(
        *("age", "ged ge"),
        rf"(?P<aged>\b[Aa]ge[sd]?(?: of|:| is| was)? ){_NINETY}(?: (?:or|and|to) 1?[0-9]{{2}}\b)?"
        r"(?![\w%/~–-]|[.,][0-9])"
        r"(?! ?(?:years? )?(?:or|and|to|days?|weeks?|months?|hours?|min(?:utes)?|mg)\b)",
        r"\g<aged>over 89",
    ),
    _rule("age", "岁", rf"(?<![\w.~～至到>≥<≤–-]){_NINETY} ?周?岁(?! ?[或及]?以[上下]|[~～至到–-]|组)", "89岁以上"),
)
_DIGIT = re.compile("[0-9]")
_PASSES = 8  # one is enough for all texts known; what a pass uncovers, the next removes


def anonymise(text: str) -> tuple[str, dict[str, int]]:
    """Return the text without identifiers, and how many of each kind were taken out. Done again, nothing changes."""
    counts: Counter[str] = Counter()
    rules = _RULES if _DIGIT.search(text) else _WORD_RULES
    for _ in range(_PASSES):
        before = text
        for rule in rules:
            for hint in rule.hints:
                if hint in text:
                    text = rule.pattern.sub(partial(_replace, rule, counts), text)
                    break
        if text == before:
            break
    return text, dict(sorted(counts.items()))


def _replace(rule: _Rule, counts: Counter[str], match: re.Match) -> str:
    new = rule.new(match)
    if new is None:
        return match[0]
    counts[rule.kind] += 1
    return new


def anonymise_question(question: Question) -> tuple[Question | None, dict[str, int]]:
    """Return the question with stem, context and options anonymised, and the counts.

    None in its place where two options would become alike, as where each is a date: the question asks for what must
    be removed, so it cannot be kept.
    """
    counts: Counter[str] = Counter()

    def clean(text: str) -> str:
        text, found = anonymise(text)
        counts.update(found)
        return text

    options = {letter: clean(text) for letter, text in question.options.items()}
    stem, context = clean(question.question), question.context and clean(question.context)
    keys = {letter: option_key(text) for letter, text in options.items()}
    if any(options[a] != question.options[a] and keys[a] == keys[b] for a in keys for b in keys if a != b):
        return None, dict(counts)
    return dataclasses.replace(question, question=stem, context=context, options=options), dict(counts)
