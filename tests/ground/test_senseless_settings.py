"""Settings of the right type that make no sense together or at their size: one line naming the key and the way out."""

import pytest
from support.places import ROOT

from fleming.config import load_config
from fleming.settings import Config
from model.drawing import SamplingParams
from model.errors import InputError

CLIP = ["grpo.clip_low", "expected from 0.0001"]
SENSELESS = [  # settings, and what the line must say: the key, and what to do
    (["grpo.clip_low=0", "grpo.clip_high=0"], CLIP),
    (["grpo.clip_low=1e-300", "grpo.clip_high=1e-300"], CLIP),
    (["grpo.clip_high=0"], ["grpo.clip_high", "expected at least 0.0001"]),
    (["grpo.curriculum.stage1_mix={hard: 2, simple: -1}"], ["curriculum.stage1_mix.simple", "at least 0"]),
    (["grpo.curriculum.stage2_mix={wrong: -1, right: 2}"], ["curriculum.stage2_mix.wrong", "at least 0"]),
    (["grpo.curriculum.stage2_mix={wrong: 0, right: 0}"], ["curriculum.stage2_mix", "not all 0"]),
    (["synth.public={a: x}", "synth.mix={a: -1, graph: 2}"], ["synth.mix.a", "at least 0"]),
    (["synth.mix={graph: 0}"], ["synth.mix", "set one above 0"]),
    (["synth.kinds={gene: 0}"], ["synth.kinds", "set one above 0"]),
    (["synth.kinds={}"], ["synth.kinds", "name one"]),
    (["synth.registers=[]"], ["synth.registers", "name one"]),
    (["synth.rules.min_facts=9"], ["synth.rules.min_facts", "lower it to max_facts = 7"]),
    (["grpo.correct_weight=0", "grpo.format_weight=0"], ["grpo.correct_weight", "set one above 0"]),
    (["grpo.correct_weight=-1"], ["grpo.correct_weight", "expected at least 0"]),
    (["grpo.format_weight=-0.1"], ["grpo.format_weight", "expected at least 0"]),
    (["grpo.importance_cap=0.5"], ["grpo.importance_cap", "expected 0, or at least 1"]),
    (["grpo.preset=dapo", "grpo.kl_estimator=k3"], ["grpo.kl_estimator is k3", "set kl_coef"]),
    (["grpo.kl_estimator=k2", "grpo.kl_coef=0"], ["grpo.kl_estimator is k2", "set kl_coef"]),
    (["grpo.preset=paper", "grpo.kl_coef=0.1"], ["grpo.kl_coef", "set kl_estimator"]),
    (["grpo.preset=paper", "grpo.updates_per_rollout=4"], ["grpo.updates_per_rollout is 4", "set it to 1"]),
    (
        ["grpo.objective=log_prob", "grpo.updates_per_rollout=2"],
        ["grpo.updates_per_rollout", "clipped_ratio"],
    ),
    (["grpo.clip_high=1e39"], ["grpo.clip_high is out of its range", "from -1e+38 to 1e+38"]),
    (["grpo.curriculum.stage1_mix={hard: 1, simple: 1e308}"], ["stage1_mix.simple", "to 1e+38"]),
    (["chat_template_kwargs={shift: -1.0e+39}"], ["kwargs.shift", "found -1e+39, expected from -1e+38"]),
    (["chat_template_kwargs={shifts: [0, 1.0e+39]}"], ["kwargs.shifts", "found 1e+39"]),
    (["grpo.curriculum.switch.max_slope=-1e308"], ["switch.max_slope", "expected from -1 to 1"]),
    (["grpo.curriculum.none_right_weight=1e308"], ["none_right_weight", "to 1e+38"]),
    (["grpo.temperature=1e-30"], ["grpo.temperature", "expected from 0.01"]),
    (["grpo.temperature=1e30"], ["grpo.temperature", "to 100"]),
    (["evaluate.temperature=1e-30"], ["evaluate.temperature", "expected 0, or from 0.01"]),
    (["grpo.stage1.max_steps=0", "grpo.stage2.max_steps=0"], ["grpo.stage1.max_steps", "set one above 0"]),
    (["grpo.curriculum.hard=[]", "grpo.curriculum.simple=[]"], ["grpo.curriculum.hard", "name one"]),
    (["grpo.curriculum.simple=[]"], ["grpo.curriculum.simple", "stage1_mix.simple to 0"]),
    (["free.relative_tolerance=1"], ["free.relative_tolerance", "below 1"]),
    (["parallel.timeout_minutes=1e300"], ["parallel.timeout_minutes", "at most 1e6"]),
    (["grpo.learning_rate=100"], ["grpo.learning_rate", "at most 1"]),
    (["sft.learning_rate=1e10"], ["sft.learning_rate", "at most 1"]),
    (["sft.weight_decay=1e9"], ["sft.weight_decay", "from 0 to 1"]),
    (["sft.sequences_per_step=10000000000"], ["sft.sequences_per_step", "from 1 to 1,000,000"]),
    (["grpo.stage2.group_size=10000000000"], ["grpo.stage2.group_size", "from 2 to 1,000,000"]),
    (["grpo.curriculum.mine_samples=0"], ["grpo.curriculum.mine_samples", "from 1 to 1,000,000"]),
    (["evaluate.temperature=1", "evaluate.samples=10000000000"], ["evaluate.samples", "to 1,000,000"]),
    (["evaluate.models={../mine: base/model}"], ["evaluate.models has '../mine'", "no /, no dot first"]),
    (["evaluate.models={'': base/model}"], ["evaluate.models has ''", "the name of a folder"]),
    (["threads=99999999999999999999"], ["threads", "from 0 to 1024"]),
    (
        ["grpo.learning_rate=", "1e-6"],
        ["grpo.learning_rate= has no value", "no blank", "grpo.learning_rate=null"],
    ),
    (["model=", "DIR"], ["model= has no value", "\"model=''\""]),
    (["grpo.kl_coef= "], ["grpo.kl_coef= has no value"]),
]


@pytest.mark.parametrize(("settings", "said"), SENSELESS, ids=[" ".join(s) for s, _ in SENSELESS])
def test_settings_without_sense_are_one_line_naming_the_key_and_the_way_out(settings, said):
    with pytest.raises(InputError) as error:
        load_config(Config, None, settings)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith("command line: ")
    for part in said:
        assert part in str(error.value)


@pytest.mark.parametrize(
    "settings",
    [
        ["grpo.importance_cap=0"],
        ["grpo.importance_cap=1"],
        ["grpo.preset=dapo", "grpo.kl_estimator=k3", "grpo.kl_coef=0.01"],
        ["grpo.preset=dapo", "grpo.kl_estimator=none"],
        ["grpo.kl_coef=0"],
        ["grpo.preset=dapo", "grpo.updates_per_rollout=4"],
        ["grpo.curriculum.simple=[]", "grpo.curriculum.stage1_mix={hard: 1, simple: 0}"],
        ["grpo.stage1.max_steps=0"],
        ["grpo.correct_weight=0"],
        ["evaluate.temperature=0"],
        ["data.questions=''"],
    ],
)
def test_what_makes_sense_is_taken(settings):
    load_config(Config, None, settings)


@pytest.mark.parametrize("path", sorted(ROOT.glob("configs/*.yaml")), ids=lambda path: path.name)
@pytest.mark.parametrize("preset", ["grpo", "paper", "dapo", "dr_grpo", "gspo", "cispo"])
def test_every_config_takes_every_preset(path, preset):
    """The demo names a clip and the others a KL, which some presets have not: null takes them back."""
    load_config(Config, path, [f"grpo.preset={preset}", "grpo.clip_high=null", "grpo.kl_coef=null"])


def test_the_sampler_refuses_what_rounds_to_greedy_or_overflows():
    for temperature in (1e-30, 1e-320, 1e30):
        with pytest.raises(InputError, match="temperature"):
            SamplingParams(temperature=temperature)
