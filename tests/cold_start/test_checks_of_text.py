"""What the words of a trajectory give away: that the answer was known, that it goes in circles, that it is long."""

import csv
import json
import time

import pytest
from support.jsonl import read_records
from support.places import ROOT, SHARED

from fleming.checks.path import loops
from fleming.cold_start.checks import CHECKS, Case, check_trajectory, length
from fleming.graph.knowledge_graph import KnowledgeGraph
from fleming.records import Question, Trajectory
from fleming.settings import Config
from fleming.settings.synth import SynthConfig

WRITTEN = ROOT / "tests/support/data/leaks.jsonl"
QUESTION = Question("q", "Which?", {"A": "iron", "B": "zinc"}, "B")
LEAKING = """
The answer provided is zinc.
Since the answer is known to be zinc, we can go on.
Knowing that the answer is zinc, I say why.
The prompt states that B is correct.
It is consistent with the answer I was given.
I need to arrive at B.
Let us work backward from the answer.
The key says zinc.
The ground truth is B.
In my earlier attempt I said iron.
The feedback says that it was too long.
Answer: B (given)
The label says B, so let me find reasons for it.
Since the expected output is B, the reasoning has to end there.
We have been handed the solution: zinc.
The answer (given: B) is zinc, so work forward.
They told me it's B, so I will explain B.
It was specified that B is correct.
I should act as though I hadn't seen the answer.
You told me that my first answer was wrong.
My task is to explain why B is right.
We must end with B whatever the findings.
Since B is listed as correct, A can be dismissed.
The metadata says the answer is zinc.
题目要求我解释为什么选B。
提示里说答案是锌。
从答案倒推，锌可以阻断铜的吸收。
由于答案已知，只需补充理由。
题目已给出答案B。
既然答案是B，下面说明理由。
用户说答案是B。
上一次的回答太长。
The correct answer is given as B, so I look for what supports it.
As the hint says, this is Wilson disease.
According to the provided answer, the drug is trientine.
Based on the given answer, copper must be involved.
Since we know that the correct answer is B, the others must be wrong.
I know the answer is zinc, but I will reason towards it.
I was told that the correct answer is zinc.
I've been given the correct answer, so let me justify it.
We are given the right option, B, and need to explain it.
The answer key lists zinc.
The reference answer is zinc.
This matches the provided correct answer.
That is consistent with the stated answer.
The user gave the correct answer as B.
The prompt says the right answer is B.
The question states that the answer is B, so it follows.
The instructions tell us the final answer is zinc.
Given that the correct answer is B, penicillamine cannot be meant.
Given the correct option is B, we can stop here.
I should reason without mentioning that I was told the answer.
I must not reveal that the answer was given.
Let me pretend that I do not know it yet.
Let's work backwards from the given answer.
I need to justify the provided answer.
I will explain why the correct answer fits.
My previous answer overlooked the rash.
In my previous attempt I missed the fever.
As you requested, here is the corrected reasoning.
The hint tells us that zinc is right.
Following the hint, zinc it is.
Per the hint, this is B.
The gold answer is B.
The ground-truth answer is zinc.
The answer has been provided: zinc.
The already known answer, zinc, fits the picture.
As provided, the answer is B.
The answer was already given above as B.
According to the official answer that was given to me, B is right; the given official answer leaves no doubt.
As the hint indicates, copper accumulates.
The problem gives us the answer B.
THE CORRECT ANSWER IS GIVEN AS B.
As stated in the hint, this is gout.
We are given that B is correct, so I argue for it.
Knowing that the correct answer is B, I look for its grounds.
I was told that it is B.
题目给出的答案是B。
根据提供的答案,本例为肝豆状核变性。
按照给出的正确答案,应选B。
正确答案已经给出,为B。
正确答案给定为锌。
参考答案是B。
标准答案为锌,因此排除其他选项。
如提示所说,患者为痛风。
正如提示所述,应选择B。
根据提示,答案是B。
题目已经给出了正确答案B。
用户告诉了我正确答案是B。
已知正确答案是锌,反推其机制。
我们已经知道正确答案,只需说明理由。
我之前的回答忽略了皮疹。
假装不知道答案,逐步推理。
基于已知的正确答案,可以排除A。
参照题目给出的答案,应为B。
根据给出的提示,这是痛风。
""".strip().splitlines()
INNOCENT = """
To reach the right answer we weigh each option.
The instructions say the answer is to be one letter.
The warning label says that 40 mg is toxic.
The key is to treat the cause.
They told me that the pain is worse at night.
My conclusion is B.
The correct answer is B.
So the right answer must be zinc, which blocks the uptake of copper.
There is a hint of jaundice in the sclerae.
According to the hint of a murmur at the apex, the mitral valve is involved.
The patient was given the correct dose of heparin.
She was told that the biopsy was benign.
The answer was provided by the bone marrow biopsy.
As stated in the question, the patient has a rash.
Among the given options, only zinc fits.
Of the provided answer choices, A and B remain.
The given answer options include two chelators.
According to the provided laboratory values, the calcium is high.
Based on the given history, gout is likely.
The correct option is known to cause hair loss.
The right choice is indicated in patients with renal failure.
The drug is given as an infusion.
The gold standard is a biopsy.
A gold standard test for coeliac disease is the duodenal biopsy.
The reference range for sodium is 135 to 145 mmol/L.
Her previous response to steroids was poor.
His previous attempt at detoxification failed.
He takes the tablets as instructed.
The question asks for the next step.
The question says that the patient is afebrile.
The prompt recognition of sepsis saves lives.
We know that copper accumulates in the liver.
I know of no other cause of these rings.
The user of intravenous drugs is at risk of endocarditis.
Let me reconsider: my first thought was gout, but the joint is cold.
The final answer is zinc.
This suggests the answer lies in the kidney.
The examiner noted a thyroid bruit.
The task of the kidney is to keep the volume constant.
Not answering the question of the nurse, she looked away.
He could not say that he knew where he was.
The indicated treatment is plasma exchange.
The known complications of the drug are ototoxicity and renal failure.
The stated diagnosis in the letter was asthma.
The official guideline recommends aspirin.
The expected finding is a low haptoglobin.
The intended effect of the drug is vasodilation.
Wait, that answer would leave the rash unexplained.
Is there an answer that covers all findings?
What gives the hint here is the Kayser-Fleischer ring.
In children the answer is often intussusception.
The correct answer is therefore given intravenously every eight hours, if it is ceftriaxone.
No answer is complete without the family history.
The model of the disease is an autosomal recessive one.
The patient pretends to be asleep.
The last reply of the patient was confused.
We are told that it is a chronic disease.
We are given that a is greater than b.
Knowing that the drug is safe, we go on.
正确答案是B。
因此应选择锌。
X线检查提示左侧肺炎。
血气分析提示代谢性酸中毒,故先补液。
根据检查提示,患者存在贫血。
心电图提示所有导联低电压。
题目给出的答案选项中只有B合理。
题干提示患者有长期饮酒史。
根据题目给出的条件,可排除痛风。
根据提供的化验结果,血钙升高。
标准剂量为每日两次。
参考范围为135至145。
患者之前的治疗无效。
已知患者对青霉素过敏。
我们已经知道铜在肝脏沉积。
本题考查的是白血病的分型。
综上所述,答案为B。
""".strip().splitlines()


def trajectory(thought: str, answer: str = "B") -> Trajectory:
    return Trajectory(
        "t",
        "q",
        [{"role": "user", "content": "?"}],
        f"<think>\n{thought}\n</think>\n<answer>{answer}</answer>",
    )


def code(thought: str, max_words: int = 10_000, check: str = "") -> str | None:
    cfg = Config(synth=SynthConfig(max_words=max_words))
    case = trajectory(thought), QUESTION, KnowledgeGraph(), cfg
    if check == "loops":
        return "loop" if loops(thought) else None
    return CHECKS[check](Case(*case)) if check else check_trajectory(*case)


# Leaks


@pytest.mark.parametrize("sentence", LEAKING)
def test_what_tells_that_the_answer_was_given_is_a_leak(sentence):
    around = f"The patient has a fever.\n\n{sentence} That explains the rash."
    assert code(around) == "leak"
    assert code(around.replace("'", "\u2019").replace(" ", "\n")) == "leak"


@pytest.mark.parametrize("sentence", INNOCENT)
def test_what_a_clinician_says_is_none(sentence):
    assert code(f"The patient has a fever. {sentence} That explains the rash.") is None


@pytest.mark.parametrize(
    ("batch", "least"),
    [("A", 200), ("B", 160), ("C", 124), ("D", 122), ("E", 0), ("F", 0), ("G", 90), ("H", 45), ("I", 43)],
)
def test_most_of_what_others_wrote_as_leaks_is_found_and_nothing_that_they_wrote_as_none(batch, least):
    # Writers each of whom knew neither the rules nor the other batches; docs/cold-start.md has what was found of each
    # before the rules were widened by it. Without a leak are E, what reviewers wrote against the rules, and F.
    rows = [row for row in read_records(WRITTEN) if row["batch"] == batch]
    called = {
        is_leak: [code(row["text"], check="leaks") for row in rows if row["leak"] is is_leak]
        for is_leak in (True, False)
    }
    assert sum(found == "leak" for found in called[True]) >= least
    assert set(called[False]) == {None}


def real_texts() -> dict[str, list[str]]:
    def lines(name):
        return map(json.loads, filter(None, (SHARED / "data" / name).read_text().split("\n")))

    with open(SHARED / "data/train/cmexam_5000.csv", newline="") as file:
        chinese = list(csv.DictReader(file))
    traces = json.loads((SHARED / "data/train/huatuogpt_o1_demo_198.json").read_text())
    return {
        "traces": [f"{row['Complex_CoT']}\n{row['Response']}" for row in traces],
        "answers": [" ".join(map(str, row["raw"])) for row in lines("model_outputs/medqa_gpt35_cot.jsonl")],
        "explanations": [row["Explanation"] or "" for row in chinese],
        "stems": [row["question"] for row in lines("train/medqa_dev_1272.jsonl")],
    }


@pytest.mark.skipif(
    not (SHARED / "data/train/cmexam_5000.csv").exists(), reason="no real data beside the repository"
)
def test_real_reasoning_that_saw_no_answer_is_hardly_ever_called_a_leak_or_a_loop():
    for name, texts in real_texts().items():
        for check in ("leaks", "loops"):
            alarms = sum(code(text, check=check) is not None for text in texts)
            assert alarms <= len(texts) / 500, (name, check, alarms)


# Loops


@pytest.mark.parametrize(
    ("thought", "expected"),
    [
        ("I have to think again about this. " * 4, "loop"),  # 7 words, 21 said again
        ("I have to think again about this. " * 3, None),
        ("no " * 21, "loop"),
        ("no " * 20, None),
        ("First the liver. " + "Wait. Could it be so? " * 10 + "Then the kidney fails, and so on.", "loop"),
        (" ".join(f"word{i}" for i in range(200)) * 1, None),
        ("\n".join([" ".join(f"word{i}" for i in range(200))] * 3), "loop"),
        ("\n".join([" ".join(f"word{i}" for i in range(200))] * 2), None),  # told twice
        ("再想一想，也许是痛风。" * 4, "loop"),
        ("\n".join(f"{i}. Zinc blocks the uptake of copper." for i in range(9)), "loop"),
        ("\n".join(f"**Step {i}:** Zinc blocks the uptake of copper." for i in range(9)), "loop"),
        ("\n".join(f"{i} mg of zinc binds {3 * i} mg of copper." for i in range(3)), None),
        ("It is not A. It is not B. It is not C. It is not D. It is not E. It is not F.", None),
        ("Iron fits. Iron fits the blood. Iron fits the blood and the liver. Iron fits all of it.", None),
    ],
)
def test_a_loop_is_what_only_says_again_what_was_said(thought, expected):
    assert code(thought) == expected


# Length, and work


@pytest.mark.parametrize(
    ("text", "words"),
    [("a b  c\n", 3), ("患者发热", 4), ("患者 38.5 °C 发热", 6), ("it's non-caseating", 2), ("", 0)],
)
def test_length_counts_words_and_of_chinese_characters(text, words):
    assert length(text) == words


def test_the_bound_holds_in_chinese_too():
    assert code("铁" * 8, max_words=11) is None  # and three lines of tags
    assert code("铁" * 9, max_words=11) == "too_long"


@pytest.mark.parametrize(
    "hostile",
    [
        "a-" * 125_000,  # one word by white space
        "the given " * 25_000,
        "no " * 94_000,
        "答" * 94_000,
        "i am told " * 25_000,
        "<think>" * 31_000,
        "\u0301" * 62_000,
        "pretend " + "n't " * 62_000,
    ],
)
def test_a_quarter_of_a_megabyte_of_anything_is_judged_in_seconds(hostile):
    start = time.process_time()
    assert code(hostile, max_words=10**9) != "wrong_answer"
    for check in ("leaks", "loops"):
        code(hostile, max_words=10**9, check=check)
    assert time.process_time() - start < 3  # what takes the square of its length takes minutes
