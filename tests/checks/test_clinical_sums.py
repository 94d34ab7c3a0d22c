"""Right clinical sums as people write them, none of which is called wrong; and plainly wrong ones, all of which are."""

import pytest

from fleming.checks.calculations import calculations, check

SHORTHAND = """
5 mg/kg × 70 kg = 350 mg over 30 min
20 mL/kg × 10 kg = 200 mL over 20 min
10 mL/kg × 20 kg = 200 mL over 1 hour
8.0 mg/dL + 0.8 × (4.0 g/dL - 2.0 g/dL) = 9.6 mg/dL
4 mL × 70 kg × 30% = 8400 mL
60kg×4×30%=7200ml
2+2+2+1+1 = 8/10
3 + 4 + 5 = 12/15
2 g/day ÷ 4 = 500 mg q6h
15 mg/kg × 10 kg = 150 mg every 6 hours
10 mg/kg/dose × 20 kg = 200 mg twice daily
10^-7.4 = 40 nmol/L
330 mL × 5% × 0.8 g/mL = 13.2 g = 1.3 units
40 mg/kg/day × 10 kg = 400 mg/day ÷ 2 = 200 mg
2 × 140 mEq/L + 90 mg/dL/18 + 14 mg/dL/2.8 = 290 mOsm/kg
(10 mL/h × 10 g/100 mL × 1000)/(3 kg × 60) = 5.6 mg/kg/min
from 2 June to 9 June, after 3 days of antibiotics
between 3 May and 20 May he took 5 days of azithromycin
350 mg / 125 mg per 5 mL = 14 mL
400 mg ÷ 250 mg/5 mL = 8 mL
500 units ÷ 100 units per 1 mL = 5 mL
OR = (30)(70)/(20)(80) = 1.31
1/2(10)(5) = 25
LMP 10 March 2024 - 3 months + 7 days = 17 December 2024
预产期：3月10日减3个月加7天=12月17日
6 pm + 8 h = 2 am
a rise of 2 °C = 3.6 °F
500 mg q6h × 7 days = 28 doses
VT × RR = 500 mL × 12 = 6 L/min
acetaminophen 150 µg/mL = 1000 µmol/L
from 1 March 2020 to 10 May 2020, 3 days of fever
Step 2 - 70 kg × 5 mg/kg = 350 mg
Table 1 – 5 + 3 = 8
5 mg/kg × 60 kg (about 132 lb) = 300 mg
70 kg (about 150 lb)
It lasts 2 weeks or about 10 days.
2 h (about 30 min in the fasted)
Each lasts 5 min or about 10 s.
500 mg, or about 2 g in severe cases
70 kg × 5 mg/kg = 350 mg, or about 2 g, in severe cases
70 kg × 5 mg/kg = 350 mg, or about 2 g in severe cases
8 kg, i.e. about 13% of 60 kg
mean ± 1.96 × SE = 10 ± 1.96 × 2 = 6.08 to 13.92
40 + 5 ± 2 = 43-47
1.5 × 10 + 8 ± 2 = 23 ± 2 mmHg
2 packs/day × 20 years = 40 pack-years
$\\frac{70\\text{ kg}}{(1.75\\text{ m})^2} = 22.9\\ \\text{kg/m}^2$
三分之二乘以三十等于二十
""".strip().splitlines()
RIGHT = """
Gentamicin: 7 mg/kg × 60 kg = 420 mg over 1 h
Vancomycin 25 mg/kg × 80 kg = 2000 mg over 120 minutes
Ceftriaxone 100 mg/kg/day × 12 kg = 1200 mg/day ÷ 2 = 600 mg q12h
Amoxicillin 90 mg/kg/day × 14 kg = 1260 mg/day ÷ 2 = 630 mg twice daily
Paracetamol 4 g/day ÷ 4 = 1 g every 6 hours
Levetiracetam 3 g/day ÷ 2 = 1500 mg bid
Norepinephrine 0.1 mcg/kg/min × 80 kg × 60 = 480 mcg/h
Dobutamine 5 mcg/kg/min × 60 kg = 300 mcg/min = 18 mg/h
250 mg / 50 mL = 5 mg/mL; 18 mg/h ÷ 5 mg/mL = 3.6 mL/h
CrCl = (140 - 65) × 80 kg / (72 × 1.5 mg/dL) = 55.6 mL/min
CrCl = (140 - 70) × 60 × 0.85 / (72 × 1.0) = 49.6 mL/min
eGFR = 175 × 1.5^-1.154 × 60^-0.203 = 47.7 mL/min/1.73 m²
Anion gap = 138 mEq/L - 100 mEq/L - 12 mEq/L = 26 mEq/L
Corrected gap = 14 + 2.5 × (4.0 g/dL - 2.0 g/dL) = 19 mEq/L
Osmolality = 2 × 135 mmol/L + 180 mg/dL/18 + 28 mg/dL/2.8 + 92 mg/dL/4.6 = 310 mOsm/kg
Osmolal gap = 330 mOsm/kg - 290 mOsm/kg = 40 mOsm/kg
PAO2 = 0.4 × (760 mmHg - 47 mmHg) - 40 mmHg/0.8 = 235 mmHg
A-a gradient = 100 mmHg - 60 mmHg = 40 mmHg
BMI = 95 kg / (1.80 m × 1.80 m) = 29.3 kg/m²
BSA = (180 × 80 / 3600)^0.5 = 2.0 m²
MAP = 70 mmHg + (130 mmHg - 70 mmHg)/3 = 90 mmHg
QTc = 420 ms / 0.81^0.5 = 467 ms
QTc = 400 + 154 × (1 - 0.8) = 430.8 ms
FENa = (10 mEq/L × 2 mg/dL) / (140 mEq/L × 100 mg/dL) × 100 = 0.14%
Corrected Na = 125 mEq/L + 0.016 × (600 mg/dL - 100 mg/dL) = 133 mEq/L
MELD = 3.78 × 0.69 + 11.2 × 0.41 + 9.57 × 0.69 + 6.43 = 20.2
LDL = 220 mg/dL - 45 mg/dL - 150 mg/dL/5 = 145 mg/dL
LDL = 5.6 mmol/L - 1.2 mmol/L - 2.2 mmol/L/2.2 = 3.4 mmol/L
Deficit: 10 kg × 7% = 0.7 kg = 700 mL
Maintenance 10 kg × 100 mL/kg + 8 kg × 50 mL/kg = 1400 mL/day ÷ 24 = 58 mL/h
4 mL/kg × 60 kg × 25% = 6000 mL; half, 3000 mL over 8 h = 375 mL/h
Free water deficit = 0.6 L/kg × 70 kg × (154/140 - 1) = 4.2 L
Gestational age 31 weeks × 7 + 4 days = 221 days
from 1 January 2024 to 7 October 2024 is 40 weeks
1800/60 = 30 mg/dL per unit
1500 ÷ 50 = 30 mg/dL
Insulin: 0.5 units/kg/day × 90 kg = 45 units/day ÷ 2 = 22.5 units
500 mL × 20 gtt/mL ÷ 240 min = 42 gtt/min
1000 mL / 10 h = 100 mL/h × 15 gtt/mL ÷ 60 = 25 gtt/min
750 mL × 12% × 0.8 g/mL = 72 g = 9 units
500 mL × 5% × 0.79 = 19.75 g = 2 drinks
30 cigarettes/day ÷ 20 × 24 years = 36 pack-years
NNT = 1/(8% - 5%) = 33
ARR = 12% - 8% = 4
LR+ = 0.80/(1 - 0.90) = 8
LR- = (1 - 0.80)/0.90 = 0.22
Sensitivity = 45/(45 + 5) = 90%
PPV = 45/(45 + 95) = 0.321 = 32.1%
t1/2 = 0.693 × 35 L / 7 L/h = 3.5 h
100 mg × 0.5^3 = 12.5 mg
Apgar 2 + 2 + 1 + 2 + 1 = 8/10
GCS E4 + V4 + M6 = 14/15
[H+] = 10^-7.1 = 79 nmol/L
from 3 April to 20 April he had 4 days of vomiting
between 1 May 2021 and 30 June 2021, after 6 weeks of methotrexate
氨茶碱5mg/kg×60kg=300mg
体重70kg×4ml×20%=5600ml
补钠量=(142-122)×60×0.6=720mmol
阴离子间隙=140-104-16=20mmol/L
从3月1日到3月20日,服药5天
平均动脉压=(150+2×90)÷3=110mmHg
$25{,}000 / 500 = 50$ units/mL
$3{,}5 \\times 2 = 7$
3 units × 300 mL = 900 mL of packed cells
14 units × 8 g = 112 g of alcohol a week
expected pCO2 = HCO3 18 mEq/L + 15 = 33 mmHg
Crown-rump length 45 mm + 42 = 87 days
150 mL + 20% = 180 mL
80 kg − 10% = 72 kg
He takes 5 mg tablets, 2 tablets twice daily = 20 mg/day
2000 Cal = 2000 kcal
5 − 1/2 = 5-1/2 = 4.5
1000ml×15滴/ml÷300分钟=50滴/分钟
""".strip().splitlines()
WRONG = """
5 mg/kg × 70 kg = 450 mg over 30 min
20 mL/kg × 10 kg = 250 mL over 20 min
4 mL × 70 kg × 30% = 9400 mL
60kg×4×30%=7800ml
2+2+2+1+1 = 9/10
3 + 4 + 5 = 13/15
2 g/day ÷ 4 = 600 mg q6h
10^-7.4 = 60 nmol/L
40 mg/kg/day × 10 kg = 450 mg/day ÷ 2 = 225 mg
8.0 mg/dL + 0.8 × (4.0 g/dL - 2.0 g/dL) = 9.9 mg/dL
2 × 140 mEq/L + 90 mg/dL/18 + 14 mg/dL/2.8 = 310 mOsm/kg
(10 mL/h × 10 g/100 mL × 1000)/(3 kg × 60) = 6.6 mg/kg/min
20% of 150 mL = 3000 mL
350 mg / 125 mg per 5 mL = 16 mL
(30)(70)/(20)(80) = 1.51
500 mL × 12 = 7 L/min
acetaminophen 150 µg/mL = 1050 µmol/L
5 mg/kg × 70 kg = 360 mg may be given
10 kg × 5% = 50 kg
BMI = 95 kg / (1.80 m × 1.80 m) = 31.3 kg/m²
CrCl = (140 - 65) × 80 / (72 × 1.5) = 65.6 mL/min
Anion gap = 138 mEq/L - 100 mEq/L - 12 mEq/L = 24 mEq/L
MAP = (120 + 2 × 80)/3 = 103 mmHg
LDL = 220 mg/dL - 45 mg/dL - 150 mg/dL/5 = 155 mg/dL
1800/60 = 35 mg/dL
NNT = 1/(0.12 - 0.08) = 20
Sensitivity = 45/(45 + 5) = 95%
500 mL × 20 gtt/mL ÷ 240 min = 52 gtt/min
t1/2 = 0.693 × 35 L / 7 L/h = 4.5 h
31 × 7 + 4 = 231 days
from 2 June to 9 June is 9 days
from 1 March 2020 to 10 May 2020, a total of 60 days
从3月1日到3月20日共25天
平均动脉压=(150+2×90)÷3=120mmHg
5 mg/kg × 70 kg = 350 mL
70 kg × 5 mg/kg = 350 mcg
15 mg/kg/day × 10 kg = 150 mg every 6 hours
PaO2 60 mmHg = 12 kPa
vitamin B12 200 pg/mL = 300 pmol/L
1.5 × 10 + 8 ± 2 = 33 ± 2 mmHg
1.5(12) + 8 = 36 ± 2, i.e. 34-38
**Step 2:** 4.5 - 3.0 = **2.5**
bilirubin 68 μmol/L (≈8 mg/dL)
血糖 8.3 mmol/L(约 180 mg/dL)
70 kg (about 190 lb)
5 mg/kg × 60 kg (= 350 mg)
Hemoglobin 12 g/dL, i.e. 12 g/L, is normal
70 × 70 = 4900 mL/min, or about 49 L/min
5 ft 4 in tall (173 cm)
1.5 packs/day × 20 years = 40 pack-years
1 g ÷ 250 mg = 5 tablets
20 mg - 15 mg = 15 mg
180/(180 + 20) = 0.80 (80%)
500 × 20 ÷ (4 × 60) ≈ 52 滴/分
$1{,}640 + 1{,}000 = 2{,}460$ mL
每日补液４０００ｍｌ÷２４ｈ≈１９７ｍｌ／ｈ
1200ml÷24h=60ml/h
The dose is **0.1 mg/kg × 25 kg = 25 mg**
BSA = √(170 × 65/3600) = 1.95 m²
$\\sqrt{\\frac{180 \\times 80}{3600}} = 4$
QTc = 420 ms/√0.81 = 517 ms
1 1/2 tablets × 4 = 8 tablets
2 ½ + 1½ = 5
40 weeks - 32 5/7 weeks = 8 2/7 weeks
Apgar 2 (heart rate) + 1 (tone) + 2 (reflexes) = 6
评分：2（心率）+1（呼吸）+2（年龄≥75）=6
AG &= 140 - (100 + 16) \\\\ &= 140 - 116 \\\\ &= 34
""".strip().splitlines()


@pytest.mark.parametrize("text", SHORTHAND + RIGHT)
def test_a_right_sum_is_not_called_wrong(text):
    assert check(text)["code"] is None, calculations(text)


@pytest.mark.parametrize("text", WRONG)
def test_a_wrong_sum_is_found(text):
    assert check(text)["code"], calculations(text)


def test_most_of_them_are_read():
    read = [text for text in RIGHT if check(text)["ok"]]
    assert len(RIGHT) >= 60
    assert len(read) >= 0.7 * len(RIGHT), [text for text in RIGHT if text not in read]
