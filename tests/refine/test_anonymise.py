"""The anonymiser: what goes, what must stay to the letter, twice is once, and time stays linear."""

import random
import re
import time
from collections import Counter
from pathlib import Path

import pytest

from fleming.public.readers import read_set
from fleming.records import Question
from fleming.refine.anonymise import anonymise, anonymise_question

GONE = {
    "Mr. Smith has a cough.": ("Mr. [NAME] has a cough.", "name"),
    "Mrs O'Brien-Jones and her son": ("Mrs [NAME] and her son", "name"),
    "Ms. Mary McDonald's rash": ("Ms. [NAME]'s rash", "name"),
    "Mr. J. Müller returns": ("Mr. [NAME] returns", "name"),
    "seen by Dr. Smith today": ("seen by Dr. [NAME] today", "name"),
    "Dr Anna K. Lee operates": ("Dr [NAME] operates", "name"),
    "A patient named John Smith, 45": ("A patient named [NAME], 45", "name"),
    "The patient Mary J. Brown has": ("The patient [NAME] has", "name"),
    "Patient name: Ada Byron, female": ("Patient name: [NAME], female", "name"),
    "Kamlesh, a 2 year old girl, has": ("[NAME], a 2 year old girl, has", "name"),
    "姓名：王小明，性别：男": ("姓名：[NAME]，性别：男", "name"),
    "患者王小明，男，45岁": ("患者[NAME]，男，45岁", "name"),
    "接诊的张先生诉头痛": ("接诊的[NAME]先生诉头痛", "name"),
    "on January 5, 2019 he fell": ("on [DATE] 2019 he fell", "date"),
    "15th April 1987": ("[DATE] 1987", "date"),
    "between Jan. 1, 1999, and Dec. 30, 2009": ("between [DATE] 1999, and [DATE] 2009", "date"),
    "from 3-Mar-2010": ("from [DATE] 2010", "date"),
    "In October 2012 and": ("In [DATE] 2012 and", "date"),
    "on 5/12/2020, he": ("on [DATE] 2020, he", "date"),
    "01.04.2000-31.12.2000": ("[DATE] 2000-[DATE] 2000", "date"),
    "Admitted 2020-05-12.": ("Admitted [DATE] 2020.", "date"),
    "at 2020-05-12T10:30": ("at [DATE] 2020T10:30", "date"),
    "since May 5th": ("since [DATE]", "date"),
    "on March 3 she": ("on [DATE] she", "date"),
    "DOB: 5/12/61": ("DOB: [DATE]", "date"),
    "于2020年5月12日入院": ("于2020年[DATE]入院", "date"),
    "1984年7月1日至14日，": ("1984年[DATE]，", "date"),
    "2003年11月因": ("2003年[DATE]因", "date"),
    "男，20岁，8月5日来诊": ("男，20岁，[DATE]来诊", "date"),
    "A 93-year-old woman": ("An over-89-year-old woman", "age"),
    "An unresponsive 92-year-old man": ("An unresponsive over-89-year-old man", "age"),
    "SEEN ON JAN 5, 2019": ("SEEN ON [DATE] 2019", "date"),
    "a 60-year-old man and 94-year-old woman": ("a 60-year-old man and over-89-year-old woman", "age"),
    "died at 101 years old": ("died at over 89 years old", "age"),
    "95 y/o man": ("over 89 y/o man", "age"),
    "aged 102, lives": ("aged over 89, lives", "age"),
    "persons aged 92 or 93 agreed": ("persons aged over 89 agreed", "age"),
    "男，95岁，头晕": ("男，89岁以上，头晕", "age"),
    "call (555) 223-4567 now": ("call [PHONE] now", "phone"),
    "+1-555-223-4567": ("[PHONE]", "phone"),
    "Tel: 12345678": ("Tel: [PHONE]", "phone"),
    "手机13812345678，": ("手机[PHONE]，", "phone"),
    "请拨 +86 138-1234-5678": ("请拨 [PHONE]", "phone"),
    "电话：010-62345678": ("电话：[PHONE]", "phone"),
    "Fax: 555-223-4567": ("Fax: [FAX]", "fax"),
    "write to a.b-c+d@mail.example.org.": ("write to [EMAIL].", "email"),
    "see https://example.org/a?b=c.": ("see [URL].", "url"),
    "(www.example.org)": ("([URL])", "url"),
    "from 192.168.0.1 at": ("from [IP] at", "ip"),
    "SSN 123-45-6789": ("SSN [SSN]", "ssn"),
    "SSN: 123456789": ("SSN: [SSN]", "ssn"),
    "MRN: 0012345": ("MRN: [RECORD]", "record"),
    "medical record number AB-12345": ("medical record number [RECORD]", "record"),
    "病历号：A12345": ("病历号：[RECORD]", "record"),
    "住院号 0012345": ("住院号 [RECORD]", "record"),
    "account number 12345678": ("account number [ACCOUNT]", "account"),
    "银行卡号：6222020200112233": ("银行卡号：[ACCOUNT]", "account"),
    "insurance ID 1234-567-89": ("insurance ID [HEALTH_PLAN]", "health_plan"),
    "医保卡号：12345678": ("医保卡号：[HEALTH_PLAN]", "health_plan"),
    "license no. D1234567": ("license no. [LICENCE]", "licence"),
    "license plate 7ABC123": ("license plate [VEHICLE]", "vehicle"),
    "车牌号：京A12345": ("车牌号：京[VEHICLE]", "vehicle"),
    "pacemaker serial number PJN1234567": ("pacemaker serial number [DEVICE]", "device"),
    "微信号：wx_no": ("微信号：wx_no", None),
    "QQ：123456789": ("QQ：[CHAT]", "chat"),
    "微信号：abc12345": ("微信号：[CHAT]", "chat"),
    "身份证号11010519491231002X": ("身份证号[NATIONAL_ID]", "national_id"),
    "身份证：130503670401001": ("身份证：[NATIONAL_ID]", "national_id"),
    "lives at 12 Old Mill Road, Apt 4b, alone": ("lives at [ADDRESS], alone", "address"),
    "住址：北京市朝阳区建国路88号": ("住址：[ADDRESS]", "address"),
    "北京市朝阳区建国路88号2室": ("[ADDRESS]", "address"),
    "Boston, MA 02115": ("Boston, MA [ZIP]", "zip"),
    "Springfield, Illinois 62704-1234": ("Springfield, Illinois [ZIP]", "zip"),
    "his wife Imogen says": ("his wife [NAME] says", "name"),
    "her nurse, Amy Lee, RN": ("her nurse, [NAME], RN", "name"),
    "Attending: OKORO, BLESSING": ("Attending: [NAME]", "name"),
    "Surgeon: Piet de Vries, MD": ("Surgeon: [NAME], MD", "name"),
    "其妻王秀兰陪同": ("其妻[NAME]陪同", "name"),
    "主治医师：周志远，": ("主治医师：[NAME]，", "name"),
    "请黄主任会诊": ("请[NAME]主任会诊", "name"),
    "ring +44 20 7946 0958": ("ring [PHONE]", "phone"),
    "on 0412 345 678 or": ("on [PHONE] or", "phone"),
    "座机：(010) 6234 5678": ("座机：[PHONE]", "phone"),
    "手机：1381234567": ("手机：[PHONE]", "phone"),
    "a ninety-one-year-old man": ("an over-89-year-old man", "age"),
    "a nonagenarian": ("an over-89-year-old", "age"),
    "in her early 90s": ("in her over-89 years", "age"),
    "A 96F with": ("A over 89F with", "age"),
    "男，九十二岁": ("男，89岁以上", "age"),
    "DOB 14-Mar-61": ("DOB [DATE]", "date"),
    "Seen on 3/14 for": ("Seen on [DATE] for", "date"),
    "2019 Mar 14": ("[DATE] 2019", "date"),
    "the fourth of March": ("[DATE]", "date"),
    "二〇一九年五月六日": ("二〇一九年[DATE]", "date"),
    "Patient ID 7730021": ("Patient ID [RECORD]", "record"),
    "Claim No. CLM-20194": ("Claim No. [HEALTH_PLAN]", "health_plan"),
    "身份证号：3301061962031504": ("身份证号：[NATIONAL_ID]", "national_id"),
    "Mrs. Wilson has a rash": ("Mrs. [NAME] has a rash", "name"),
    "Mr Rhys Bowen-Graves": ("Mr [NAME]", "name"),
    "Smt Asha Rani, W/o Suresh Babu": ("Smt [NAME], W/o [NAME]", "name"),
    "Daughter Shanice (HCPOA)": ("Daughter [NAME] (HCPOA)", "name"),
    "is Chidinma (niece)": ("is [NAME] (niece)", "name"),
    "KOWALSKI, Jan DOB": ("[NAME] DOB", "name"),
    "其孙卞子墨代述": ("其孙[NAME]代述", "name"),
    "扎西多吉（藏族），": ("[NAME]（藏族），", "name"),
    "from St. Brendan's Hospital to": ("from [FACILITY] to", "facility"),
    "in Ward 6 East": ("in Ward [FACILITY]", "facility"),
    "转自昆山市第二人民医院": ("转自[FACILITY]", "facility"),
    "pager 8-4471": ("pager [PHONE]", "phone"),
    "in Much Wenlock TF13 6AQ": ("in [ADDRESS]", "address"),
    "居幸福里小区7号楼2单元301室": ("居[ADDRESS]", "address"),
    "Aadhaar 4521 8890 1123": ("Aadhaar [NATIONAL_ID]", "national_id"),
    "seen 14/09/21;": ("seen [DATE];", "date"),
    "in clinic 14/09/21;": ("in clinic [DATE];", "date"),
    "his 91st birthday": ("his over 89 birthday", "age"),
    "his son turned ninety-six in": ("his son turned over 89 in", "age"),
    "this lady, Ada Byron, who": ("this lady, [NAME], who", "name"),
    "this is Kirsty from pharmacy": ("this is [NAME] from pharmacy", "name"),
    "this is Wanda from the Boots pharmacy": ("this is [NAME] from the Boots pharmacy", "name"),
    "This is Wanda calling": ("This is [NAME] calling", "name"),
    "with Tomasz, his brother, on": ("with [NAME], his brother, on", "name"),
    "Little Amara's mum": ("Little [NAME]'s mum", "name"),
    "a 61-year-old bus driver named Desmond": ("a 61-year-old bus driver named [NAME]", "name"),
    "crew member J. Castellanos.": ("crew member [NAME].", "name"),
    "Encounter 7718820": ("Encounter [RECORD]", "record"),
    "driver's license D4528871 was": ("driver's license [LICENCE] was", "licence"),
    "Car registration LK19 WXY": ("Car registration [VEHICLE]", "vehicle"),
    "家属（李桂芳，妻子）": ("家属（[NAME]，妻子）", "name"),
    "我叫黄晓燕，": ("我叫[NAME]，", "name"),
    "患儿乐乐，女，3岁": ("患儿[NAME]，女，3岁", "name"),
    "其子建军（电话": ("其子[NAME]（电话", "name"),
    "护士小张报告": ("护士[NAME]报告", "name"),
    "医生老李查房": ("医生[NAME]查房", "name"),
    "患者姓名 阿依古丽·买买提 性别": ("患者姓名 [NAME] 性别", "name"),
    "居住于夕阳红养老院，": ("居住于[FACILITY]，", "facility"),
    "末次月经8月3日": ("末次月经[DATE]", "date"),
    "Ida is 101 years old and frail": ("Ida is over 89 years old and frail", "age"),
    "medical record (no. K7712034) of": ("medical record (no. [RECORD]) of", "record"),
    "passport P7712034 lost": ("passport [NATIONAL_ID] lost", "national_id"),
    "serial number of implant: 7K203": ("serial number of implant: [DEVICE]", "device"),
    "Drs. Vance and Hu agree": ("Drs. [NAME] and [NAME] agree", "name"),
    "其母贾淑琴患肝炎": ("其母[NAME]患肝炎", "name"),
    "外婆钟秀有哮喘": ("外婆[NAME]有哮喘", "name"),
    "手术医生陶立，": ("手术医生[NAME]，", "name"),
    "接诊医生为白云，": ("接诊医生为[NAME]，", "name"),
    "患儿小宝，4岁": ("患儿[NAME]，4岁", "name"),
    "患者马老先生，": ("患者[NAME]先生，", "name"),
    "患者上官云于昨日": ("患者[NAME]于昨日", "name"),
    "转入内科三病区，": ("转入[FACILITY]，", "facility"),
    "Li Na，女，51岁": ("[NAME]，女，51岁", "name"),
}


@pytest.mark.parametrize("text", GONE)
def test_identifiers_are_taken_out(text):
    expected, kind = GONE[text]
    found, counts = anonymise(text)
    assert found == expected
    assert set(counts) == ({kind} if kind else set())
    assert anonymise(found) == (found, {})


NOTES = Path(__file__).parents[1] / "support/data/notes.txt"


def test_of_notes_nearly_all_identifiers_go_and_no_value_does():
    """How many of each part, written after the rules, went at the first run: docs/benchmarks.md."""
    gone, stays, missed, spoilt = [], [], [], []
    for note in NOTES.read_text(encoding="utf-8").splitlines()[1:]:
        text = re.sub(r"\[\[|\]\]|\{\{|\}\}", "", note)
        found, _ = anonymise(text)
        gone += (identifiers := re.findall(r"\[\[(.*?)\]\]", note))
        stays += (values := re.findall(r"\{\{(.*?)\}\}", note))
        missed += [i for i in identifiers if found.count(i) >= text.count(i)]
        spoilt += [value for value in values if value not in found]
    assert (len(gone), len(stays)) == (743, 749)
    assert len(missed) <= 0.05 * len(gone), missed
    assert not spoilt


STAYS = """
This is Kawasaki disease from day 5 | with aspirin, their risk fell | serial 12-lead ECGs | encounter rate 3.2
This is Candida from sputum | This is Staphylococcus from blood | This is Escherichia from the urine
护士小时候住在 | 医生小包装药 | 护士小车推来 | 医生老方案无效
停经8月3日 | 绝经5月3日 | 护士小剂量给药 | 其子宫后位 | 入住养老院3年 | 患儿多多饮水
92 years old and older | 母亲焦虑， | 妻子程度， | 父亲毕业， | 护士夏季， | 其父何时患病 | 患儿小便，3个月
姓名 性别 年龄 | 医生（高血压专科）建议
Dr. Down's discovery | Dr. John Down's work | Dr. Watson's box | named after Dr. Speed | Dr. Apgar scored newborns
Dr. James Parkinson wrote it | Down syndrome | Parkinson disease | Mr. X | Ms. A. | Mr. and Mrs.
MR Angiography | MS Patients relapse | Miss Cancers | Patient Health Questionnaire
the patient Karnofsky Performance | inpatient Barthel Index | named Barr | called Hoigne
Similarly, a 10-year-old girl | On a trip to Haiti, a 43-year-old woman | 患者刘某，男，34岁 | 张某某先生
患者陈旧性骨折，男性 | 索要他姓名，有时大吼 | 患者的姓名、地址 | strength is 5/12 | 5/5 strength | 120/80 mm Hg
1/2 tablet | 3-4 days | in 2019 | 1995-2001 | 2005-06 | the July effect | in July than the rest
May 10 mg be given? | It may 5 | March 1 gene | MARCH1 | SEPT9 | Oct-4 | DEC1 | 10/12/14 | 7.35-7.45 | 5.5.2
2 of 10/2000 cells | 服药1月1日3次 | 停经2月5日 | 发热1月余 | 3月龄 | 6月 | 10月龄 | 1～2月 | 3～5日 | 近2月加重
an 89-year-old | aged 65 | 89岁 | 18-100 years of age | from 15 to 93 years old | range 31-92 years
90 years of follow-up | aged 90 years or older | over 90 years old | ≥95岁 | 90岁以上 | 65～95岁 | aged 90 days
aged 95% | mean age 92.3 years | age 95-105 | 100 years ago | 99% of 95 | pneumonia at 92% | 95 mmHg
aged 120 minutes | PMID: 12345678 | PMID 21645374 | NCT00816829 | ACTRN12612000038897 | rs1801132
c.1521_1523delCTT | p.Gly12Asp | NM_000492.3:c.350G>A | BRCA1 c.68_69del | EC 2.7.11.1 | EC 1.1.1.27
HLA-B*57:01 | E11.9 | ICD-10 I21.3 | ICD-9 410.71 | CAS 50-78-2 | NDC 0002-7510-01 | ISBN 978-3-16-148410-0
15000000000/L | 13000000000 cells/L | 150,000/mm3 | 1:1000 | 0.5-1.5 mg/kg/day | 10-20-30 | 100.200.3000
CA 12500 U/mL | CA 125 of 12500 | , CA 19500 U/mL | NF EN 13727 | MRN (Mre11-Rad50-Nbs1) complex
MRN Mre11-Rad50 | VIN III | QQ plot 2 | QQ间期 | by phone 2010-2015 | telephone interview in 12 of 15
policy not to address | account for 12345 cases | licence to kill | serial 12-lead ECG | wechat platform
电话心理咨询 | 高速手机和裂钻 | 现工作地址 | 5 Normal Saline | 2 St. | 12 Lead | 1型 | 第2号 | 信号通路2号
号码 | @ 5 mg | 5@10 | Na+ 140 | +10 | 10^9/L | 3.5 x 10^12/L | 14-3-3 protein | 8-OHdG | 1,25-(OH)2D3
U1 1.2.3 | 161183177157181176180 | 123456789012345678 | 12345678901 | 02134567 | 555-1234 | 1905 | 1999
0.00003275, .993 | The discharge pH is 6.4 | seen in 3/5 of cases | on 1/2 tablet | strength on 4/5 | A 99F fever
the Danish neurologist Knud Krabbe | Sister Mary Joseph nodule | his mother Parkinson disease | 母亲高血压，父亲白血病
his father Hispanic | Vitamin D, 30 ng/mL | Serum Sodium, 135 | GenBank accession number AY278741 | 三月余 | 九十以上
the Cleveland Clinic score | in the General Hospital | unit B12 | an Emergency Ward | 三级甲等医院 | 县人民医院
Accession number GSE12345 | extension 120 degrees | pain 8/10 14:00 | 16-Apr | 江西，男，30岁 | 高血压，62岁 | 今年92例
管床医生：请复查血钾。 | 接诊医生查体，患者腹软。 | 手术医生是左利手， | 监护人为单亲，
患儿小耳，3岁发现听力下降 | 母亲陶瓷工，有铅接触史 | 女儿夏秋有鼻炎
医生戴手套，行直肠指检 | Down Syndrome，男，3岁。 | Acute Appendicitis，女
Lung Cancer，男 | patients 90 years of age or less | ninety years old or less
registration number NCT00816829 | 许多医生认为 | 关于医师的规定 | case number 12 | group 12 of 345 | +10 20 30
"""


@pytest.mark.parametrize(
    "text", [part.strip() for line in STAYS.strip().splitlines() for part in line.split(" | ")]
)
def test_medicine_stays_to_the_letter(text):
    assert anonymise(text) == (text, {})
    inside = f"The result was {text}, and (then) 治疗。"
    assert anonymise(inside) == (inside, {})


def test_several_kinds_in_one_text_are_counted():
    text = (
        "Mr. Smith (MRN 1234567), a 95-year-old, came on 5/12/2020 from 12 High Street, phone 555-223-4567."
    )
    found, counts = anonymise(text)
    assert (
        found
        == "Mr. [NAME] (MRN [RECORD]), an over-89-year-old, came on [DATE] 2020 from [ADDRESS], phone [PHONE]."
    )
    assert counts == {"address": 1, "age": 1, "date": 1, "name": 1, "phone": 1, "record": 1}


def test_twice_is_once_whatever_stands_beside_whatever():
    rng = random.Random(0)
    pieces = [
        *GONE,
        *(t for t in STAYS.split() if t != "|"),
        *" -/.,:，年月日号[]()",
        "on ",
        "a ",
        "and ",
        "[DATE]",
        "[NAME] ",
    ]
    for _ in range(2000):
        text = "".join(rng.choices(pieces, k=rng.randint(1, 6)))
        found, counts = anonymise(text)
        assert anonymise(found) == (found, {}), text
        assert (found == text) == (counts == {})


HOSTILE = """1 1- 1. ( 222- Mr._Aa_Aa_ Aa_ www. http:// a@ a@a. 张 市路1 1月1日 12_Aa_ January_1_ 1919- aged_ Texas,_
MRN_A- phone_(1)_ 1.1.1. Mc ["""


@pytest.mark.parametrize("piece", [*(word.replace("_", " ") for word in HOSTILE.split()), "\u3000", "a" * 99])
def test_time_is_linear_whatever_the_text(piece):
    text = piece * (200_000 // len(piece))
    began = time.process_time()
    anonymise(text)
    assert (
        time.process_time() - began < 3
    )  # a megabyte of the worst takes 1 to 3 s; quadratic would take hours


def test_a_question_is_cleaned_in_all_its_parts():
    question = Question(
        *("q", "Mr. Smith came on 5/12/2020.", {"A": "Mr. Smith has gout", "B": "gout since 2019"}, "A"),
        context="See www.example.org",
    )
    cleaned, counts = anonymise_question(question)
    assert cleaned.question == "Mr. [NAME] came on [DATE] 2020."
    assert cleaned.context == "See [URL]"
    assert cleaned.options == {"A": "Mr. [NAME] has gout", "B": "gout since 2019"}
    assert (cleaned.id, cleaned.answer, counts) == ("q", "A", {"name": 2, "date": 1, "url": 1})
    assert anonymise_question(cleaned) == (cleaned, {})


def test_a_question_whose_options_would_become_alike_is_left_out():
    dates = Question("q", "When is the child due?", {"A": "2006年1月22日", "B": "2006年1月23日"}, "A")
    assert anonymise_question(dates) == (None, {"date": 2})
    years = Question("q", "When?", {"A": "15th April 1987", "B": "15th April 1989"}, "A")
    assert anonymise_question(years)[0].options == {"A": "[DATE] 1987", "B": "[DATE] 1989"}
    before = Question(
        "q", "Which?", {"A": "iron", "B": "Iron."}, "A"
    )  # alike before: the format filter's business
    assert anonymise_question(before) == (before, {})


def test_in_the_real_sets_little_is_taken_out_and_nothing_but_dates_ages_and_names(shared):
    counts: Counter[str] = Counter()
    lost = 0
    for file in ("train/medqa_dev_1272.jsonl", "benchmarks/medmcqa/dev.json", "train/cmexam_5000.csv"):
        for question in read_set(shared / "data" / file).questions:
            cleaned, found = anonymise_question(question)
            counts.update(found)
            lost += cleaned is None
    assert counts == {"date": 55, "name": 6}
    assert lost == 2  # they ask for a date
