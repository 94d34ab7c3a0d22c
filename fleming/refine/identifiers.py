"""The identifiers that HIPAA lists, as far as patterns can tell them: a rule is a row.

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
values, genes, codes and ratios stay. All patterns are bounded, so time is linear. Left out: pictures, biometric
identifiers, names in running text; how rules are applied (anonymise.py).
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from fleming.refine.names import EPONYMS, FIRST_NAMES, MONTHS, STATE_CODES, STATES, SURNAMES

_MONTH = rf"(?i:{'|'.join(MONTHS.split())}|(?:Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec)\b\.?)"
_FULL_MONTH = rf"(?:{'|'.join(MONTHS.split())})"
_DAY = r"(?:3[01]|[12][0-9]|0?[1-9])"
_NTH = rf"{_DAY}(?:st|nd|rd|th)"
_YEAR = r"(?:18|19|20)[0-9]{2}"
_ZH_DAY = rf"{_DAY} ?[日号](?:[至到~～-] ?{_DAY} ?[日号])?(?! ?[0-9]{{0,2}} ?次)"  # 1月1日3次 is a dose
_UNIT = "mc?g|ug|k?g|m?[lL]|d[lL]|I?U|mmol|mEq|units?|cells?|cases|times|days?|weeks?|months?|hours?"
_NO_UNIT = rf"(?! ?(?:%|/|(?:{_UNIT})\b))"
_WORD = r"(?:Mc|Mac|[OD]['’])?[A-ZÀ-ÖØ-Þ][a-zß-öø-ÿ]{1,20}(?:-[A-ZÀ-ÖØ-Þ][a-zß-öø-ÿ]{1,20})?"
_NAME = rf"(?P<name>(?:[A-Z]\.? )?{_WORD}(?: [A-Z]\.?(?= [A-Z]))?(?: {_WORD}){{0,2}})(?![\wß-ÿ])"
_NINETY = r"(?:9[0-9]|1[0-2][0-9])"
_TELEPHONE = (
    r"(?!(?:19|20)[0-9]{2}-)(?P<cut>(?=\+?(?:[ ().-]{0,3}[0-9]){7})[+(]?[0-9][0-9 ().-]{5,18}[0-9])(?![0-9-])"
)
_NUMBER = r"(?P<cut>(?=(?:[A-Za-z0-9]{1,4}-)?[A-Za-z]{0,4}[0-9]{3})[A-Za-z0-9-]{5,24})(?![A-Za-z0-9])"
_IS = r"(?: (?:is|was))?[:：#为是]{0,2} {0,2}#?"


@dataclass(frozen=True)
class Rule:
    """What is looked for, and what stands there instead."""

    kind: str
    hints: str
    """A text without any of these, between blanks, is not looked at."""
    pattern: str
    """A regular expression; what \\w and \\b know is ASCII."""
    becomes: str | Callable[[re.Match], str] | None = None
    """A template, or a function; None: [KIND] in place of the group `cut`, the rest stays."""
    valid: Callable[[re.Match], bool] = lambda match: True
    """Whether a match is such an identifier."""

    def may_match(self, text: str) -> bool:
        """Whether the text has one of the hints."""
        return any(hint in text for hint in self._hints)

    @cached_property
    def _hints(self) -> list[str]:
        return self.hints.split()

    @cached_property
    def regex(self) -> re.Pattern:
        return re.compile(self.pattern, re.ASCII)

    def replacement(self, match: re.Match) -> str:
        """Return what stands instead of a match."""
        if self.becomes is None:
            before = match.string[match.start() : match.start("cut")]
            after = match.string[match.end("cut") : match.end()]
            return f"{before}[{self.kind.upper()}]{after}"
        return match.expand(self.becomes) if isinstance(self.becomes, str) else self.becomes(match)


def labelled(kind: str, hints: str, labels: str) -> Rule:
    """Return the rule of a number behind one of the labels."""
    return Rule(kind, hints, rf"(?:{labels}){_IS}{_NUMBER}")


def _is_date(match: re.Match) -> bool:
    found = match.groupdict()
    smaller, larger = sorted(int(found[name]) for name in "abcd" if found[name])
    return 1 <= smaller <= 12 and 1 <= larger <= 31


def _no_eponym(match: re.Match) -> bool:
    return set(EPONYMS.split()).isdisjoint(re.split("[ -]", match["name"]))


def _no_adverb(match: re.Match) -> bool:
    other = "ly$|^(?:Patient|Today|Yesterday|Case|However|Meanwhile|Overall)$"
    return not re.search(other, match["name"])


def _is_address(match: re.Match) -> bool:
    numbers = [int(number) for number in match["ip"].split(".")]
    is_enzyme = numbers[0] <= 7 and not match["label"]  # they are numbered in the same way, from 1 to 7
    return max(numbers) < 256 and not is_enzyme


def _has_check_digit(match: re.Match) -> bool:
    number = match[0]
    total = sum(2 ** (17 - i) % 11 * int(digit) for i, digit in enumerate(number[:17]))
    return len(number) == 15 or "10X98765432"[total % 11] == number[-1].upper()


def _over_89(match: re.Match) -> str:
    joint = "-" if match["old"][0] == "-" else " "
    article = f"{match['a'][0]}n " if match["a"] else ""
    return f"{article}over{joint}89{match['old']}"


# No part of a longer number, nor beside what was cut out.
_OPEN = r"(?<![\w.\]-])"
_CLOSE = r"(?![\w\[-]|\.[0-9])"
_NUMBER_OF = r" ?(?:[Nn]umber|[Nn]o\.?|ID|#)"
_EVERY_MONTH = " ".join(month[:3] for month in MONTHS.split())
_ANY_CASE = f"{_EVERY_MONTH} {_EVERY_MONTH.upper()} {_EVERY_MONTH.lower()}"
WORD_RULES = (  # those that need no digit
    Rule(
        "url",
        hints=":// www.",
        pattern=r"(?:\b(?:https?|ftp)://|\bwww\.)[^\s<>\"'，。；、）\[\]]{1,500}(?<![.,;:!?)])",
        becomes="[URL]",
    ),
    Rule(
        "email",
        hints="@",
        pattern=r"(?<![\w.%+\]-])[\w.%+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,5}",
        becomes="[EMAIL]",
    ),
    Rule("address", hints="址", pattern=r"(?:住址|家庭地址|通讯地址)[:：] ?(?P<cut>[^\s，,。；;\[]{4,40})"),
    Rule(
        "name",
        hints="Mr Ms",
        pattern=rf"(?P<title>\bM(?:rs?|s)(?:\. ?| )){_NAME}",
        becomes=r"\g<title>[NAME]",
    ),
    Rule(
        "name",
        hints="Dr Prof",
        pattern=rf"(?P<title>\b(?<!after )(?:Dr|Prof)(?:\. ?| )){_NAME}(?!['’]| [A-Z][a-z]{{1,20}}['’])",
        becomes=r"\g<title>[NAME]",
        valid=_no_eponym,
    ),
    Rule(
        "name",
        hints="atient amed ame",
        pattern=rf"(?P<title>\b(?:[Pp]atient,?(?: named)?|[Nn]amed|[Nn]ame is) )(?:{'|'.join(FIRST_NAMES.split())})"
        rf"(?: [A-Z]\.?)? {_WORD}\b",
        becomes=r"\g<title>[NAME]",
    ),
    Rule(
        "name",
        hints="ame:",
        pattern=rf"(?P<title>\b(?:[Pp]atient(?:'s)?|[Ff]ull) [Nn]ame: ?){_NAME}",
        becomes=r"\g<title>[NAME]",
    ),
    Rule("name", hints="姓名", pattern=r"姓名[:：] ?(?P<cut>(?![\u4e00-\u9fff]?[某×])[\u4e00-\u9fff]{2,4})"),
    Rule(
        "name",
        hints="患者",
        pattern=rf"患者[:：]?(?P<cut>[{SURNAMES}](?!某)[\u4e00-\u9fff]{{1,2}})(?=[，,、][男女])",
    ),
    Rule(
        "name",
        hints="先生 女士",
        pattern=rf"[{SURNAMES}](?!某)[\u4e00-\u9fff]{{0,2}}?(?=先生|女士)",
        becomes="[NAME]",
    ),
)
DIGIT_RULES = (
    Rule(
        "name",
        hints=", a",
        pattern=rf"\A(?P<name>{_WORD})(?=, an? [0-9]{{1,3}}[- ]?(?:year|month|week|day)s?[- ]old "
        r"(?:girl|boy|man|woman|male|female|patient|child|infant))",
        becomes="[NAME]",
        valid=_no_adverb,
    ),
    Rule(
        "ip",
        hints=".",
        pattern=rf"(?P<label>\bIP(?: address)?[: ]{{1,2}})?{_OPEN}(?P<ip>(?:[0-9]{{1,3}}\.){{3}}[0-9]{{1,3}}){_CLOSE}",
        becomes=r"\g<label>[IP]",
        valid=_is_address,
    ),
    Rule(
        "fax", hints="ax FAX 传真", pattern=rf"(?:\b[Ff]ax|FAX|传真)(?:{_NUMBER_OF}|号码?)?{_IS}{_TELEPHONE}"
    ),
    Rule(
        "phone",
        hints="hone el. el: 电话 手机 联系方式",
        pattern=rf"(?:\b(?:[Tt]ele)?[Pp]hone(?:{_NUMBER_OF})?|\b[Tt]el[.:]|电话|手机|联系方式)(?:号码?)?{_IS}{_TELEPHONE}",
    ),
    Rule(
        "phone",
        hints="- .",
        pattern=rf"{_OPEN}(?<!\))(?:\+?1[-. ])?(?:\([2-9][0-9]{{2}}\) ?|[2-9][0-9]{{2}}[-.])"
        rf"[2-9][0-9]{{2}}[-.][0-9]{{4}}{_CLOSE}",
        becomes="[PHONE]",
    ),
    Rule(
        "phone",
        hints="13 14 15 16 17 18 19",  # a Chinese mobile; 15000000000/L is a count
        pattern=rf"{_OPEN}(?:\+?86[- ]?)?1[3-9][0-9](?:-[0-9]{{4}}-[0-9]{{4}}|[0-9]{{8}})(?<!00000)(?! ?/){_CLOSE}",
        becomes="[PHONE]",
    ),
    Rule(
        "phone", hints="-", pattern=rf"{_OPEN}0[1-9][0-9]{{1,2}}-[2-9][0-9]{{6,7}}{_CLOSE}", becomes="[PHONE]"
    ),
    Rule(
        "ssn",
        hints="-",
        pattern=rf"{_OPEN}(?!000|666|9)[0-9]{{3}}-(?!00)[0-9]{{2}}-(?!0000)[0-9]{{4}}{_CLOSE}",
        becomes="[SSN]",
    ),
    Rule(
        "ssn",
        hints="SSN ocial",
        pattern=rf"(?:\bSSN|\b[Ss]ocial [Ss]ecurity{_NUMBER_OF}){_IS}(?P<cut>[0-9]{{9}})\b",
    ),
    Rule(
        "national_id",
        hints="19 20",
        pattern=rf"{_OPEN}[1-8][0-9]{{5}}{_YEAR}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])[0-9]{{3}}[0-9Xx]{_CLOSE}",
        becomes="[NATIONAL_ID]",
        valid=_has_check_digit,
    ),
    Rule(
        "national_id",
        hints="身份证",
        pattern=r"身份证(?:号码?)?[:：为是]{0,2} {0,2}(?P<cut>[1-8][0-9]{14})(?!\w)",
    ),
    labelled(
        "record",
        hints="MRN ecord hart 号",
        labels=rf"\bMRN|\b(?:[Mm]edical [Rr]ecord|[Cc]hart){_NUMBER_OF}|[病住门就][历案院诊]号",
    ),
    labelled("account", hints="ccount 号", labels=rf"\b[Aa]ccount{_NUMBER_OF}|账号|帐号|银行卡号"),
    labelled(
        "health_plan",
        hints="nsurance lan edica olicy 号",
        labels=rf"\b(?:[Ii]nsurance|[Hh]ealth [Pp]lan|[Mm]edicare|[Mm]edicaid|[Pp]olicy){_NUMBER_OF}"
        "|[医社]保卡?号|保单号",
    ),
    labelled("licence", hints="icen 号", labels=rf"\b[Ll]icen[cs]e{_NUMBER_OF}|驾驶证号|执业证号"),
    Rule(
        "vehicle",
        hints="late 车牌",
        pattern=rf"(?:\b[Ll]icen[cs]e [Pp]late(?:{_NUMBER_OF})?|车牌号?[:：]?[\u4e00-\u9fff]?){_IS}"
        r"(?P<cut>(?=[A-Z-]{0,6}[0-9])[A-Z0-9-]{5,9})(?!\w)",
    ),
    labelled("device", hints="erial 序列号", labels=rf"\b[Ss]erial{_NUMBER_OF}|序列号"),
    labelled("chat", hints="微信 QQ eChat", labels=r"(?:微信|WeChat)(?:号| ?ID)|QQ号?"),
    Rule(
        "address",
        hints="Str St Ave R Bo Bl Drive Lane Court",
        pattern=rf"(?<![\w.,/-])[0-9]{{1,5}} (?:[NSEW]\.? )?(?:{_WORD} ){{1,3}}"
        r"(?:Street|St\b|Avenue|Ave\b|Road|Rd\b|Boulevard|Blvd\b"
        r"|Drive|Lane|Court)\b\.?(?:,? (?:Apt|Suite|Unit)\.? ?\w{1,5})?",
        becomes="[ADDRESS]",
    ),
    Rule(
        "address",
        hints="号",
        pattern=r"[\u4e00-\u9fff]{1,6}[市区县][\u4e00-\u9fff]{1,8}(?:路|街|大道|巷|弄)[0-9]{1,5}号(?:楼|院)?(?:[0-9]{1,4}室)?",
        becomes="[ADDRESS]",
    ),
    Rule(
        "zip",
        hints=", " + STATES,
        pattern=rf"(?:, (?:{STATE_CODES})|\b(?:{'|'.join(STATES.split())})),? "
        rf"(?P<cut>[0-9]{{5}}(?:-[0-9]{{4}})?)(?!,[0-9]){_CLOSE}{_NO_UNIT}",
    ),
    Rule(
        "date",
        hints=_ANY_CASE,
        pattern=rf"\b(?:(?:{_NTH}|{_DAY})(?: of)?[ -])?{_MONTH}[ ,-]{{1,2}}"
        rf"(?:(?:{_NTH}|{_DAY})(?:[-–]{_DAY})?,? )?(?P<year>{_YEAR})\b{_NO_UNIT}",
        becomes=r"[DATE] \g<year>",
    ),
    Rule(
        "date",
        hints=_EVERY_MONTH,
        pattern=rf"\b(?:{_FULL_MONTH} {_NTH}|{_NTH}(?: of)? {_FULL_MONTH})\b",
        becomes="[DATE]",
    ),
    Rule(
        "date",
        hints=_EVERY_MONTH,
        pattern=r"\b(?:[Oo]n|[Ss]ince|[Uu]ntil|[Bb]efore|[Aa]fter|[Ff]rom|[Bb]etween|[Tt]hrough|[Tt]o|[Bb]y) "
        rf"(?P<cut>{_FULL_MONTH} {_DAY}|{_DAY} {_FULL_MONTH})\b{_NO_UNIT}",
    ),
    Rule(
        "date",
        hints="19 20 18",
        pattern=r"(?<![\w/.\]])(?:(?<!-)|(?=[0-9]{1,2}[/.]))"
        rf"(?:(?P<a>[0-9]{{1,2}})(?P<sep>[/.-])(?P<b>[0-9]{{1,2}})(?P=sep)(?P<year>{_YEAR})"
        rf"|(?P<first>{_YEAR})(?P<mark>[-/.])(?P<c>[0-9]{{1,2}})(?P=mark)(?P<d>[0-9]{{1,2}}))"
        r"(?![0-9A-SU-Za-z/\[]|\.[0-9]|-[0-9](?![0-9]?[/.]))",
        becomes=r"[DATE] \g<year>\g<first>",
        valid=_is_date,
    ),
    Rule(
        "date",
        hints="DOB irth",
        pattern=r"(?:\bDOB|\b[Dd]ate of birth)[: ]{1,2}(?P<cut>[0-9]{1,2}([/-])[0-9]{1,2}\2[0-9]{2})(?![\w/-])",
    ),
    Rule(
        "date",
        hints="年",
        pattern=rf"(?P<year>{_YEAR} ?年) ?(?:1[0-2]|0?[1-9]) ?月(?! ?龄)(?: ?{_ZH_DAY})?",
        becomes=r"\g<year>[DATE]",
    ),
    Rule(
        "date", hints="月", pattern=rf"(?<![0-9.停经~～-])(?:1[0-2]|0?[1-9]) ?月 ?{_ZH_DAY}", becomes="[DATE]"
    ),
    Rule(
        "age",
        hints="ear y/o yo",
        pattern=r"(?P<a>\b[Aa] )?(?<![\w.,<>≥≤~～–/-])"
        r"(?<![0-9] to )(?<![0-9] and )(?<!over )(?<!than )(?<!above )(?<!least )(?<!under )(?<!below )"
        rf"{_NINETY}(?P<old>[- ]years?[- ]old\b|[- ]?y/?o\b)(?! (?:or|and|to) )",
        becomes=_over_89,
    ),
    Rule(
        "age",
        hints="ged ge",
        pattern=rf"(?P<aged>\b[Aa]ge[sd]?(?: of|:| is| was)? ){_NINETY}(?: (?:or|and|to) 1?[0-9]{{2}}\b)?"
        r"(?![\w%/~–-]|[.,][0-9])"
        r"(?! ?(?:years? )?(?:or|and|to|days?|weeks?|months?|hours?|min(?:utes)?|mg)\b)",
        becomes=r"\g<aged>over 89",
    ),
    Rule(
        "age",
        hints="岁",
        pattern=rf"(?<![\w.~～至到>≥<≤–-]){_NINETY} ?周?岁(?! ?[或及]?以[上下]|[~～至到–-]|组)",
        becomes="89岁以上",
    ),
)
