"""Folders in and out: bit for bit against transformers, and every way in which a folder can be broken."""

import itertools
import json
import os
import re
import shutil
from pathlib import Path

import pytest
import safetensors.torch
import torch
from support.models import TINY, hf_folder, refusal

from model import load_model, save_model
from model.errors import InputError
from model.huggingface.weights import load_weights, read_header

INDEX = "model.safetensors.index.json"


def hf_load(folder):
    import transformers

    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype="auto").eval()


def rewrite(folder, change, file="model.safetensors"):
    """Apply `change` to the dict of tensors in a safetensors file."""
    tensors = safetensors.torch.load_file(folder / file)
    change(tensors)
    safetensors.torch.save_file(tensors, folder / file, metadata={"format": "pt"})


def rewrite_header(folder, change, file="model.safetensors"):
    """Apply `change` to the header of a safetensors file, leaving its bytes of tensors."""
    data = (folder / file).read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    text = change(header)
    text = json.dumps(header).encode() if text is None else text
    (folder / file).write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])


def equal(ours, other):
    """Every parameter is, bit for bit, that of another model, ours or transformers', and there are no others."""
    others = {name.removeprefix("model."): p for name, p in other.named_parameters()}
    mine = dict(ours.named_parameters())
    assert mine.keys() == others.keys()
    return all(mine[name].dtype == p.dtype and torch.equal(mine[name], p) for name, p in others.items())


@pytest.mark.parametrize("shard", ["5GB", "60KB"])
@pytest.mark.parametrize("name", sorted(TINY))
def test_a_model_goes_from_transformers_to_us_and_back_bit_for_bit(name, shard, tmp_path):
    hf = hf_folder(tmp_path / "theirs", name, shard=shard)
    assert (tmp_path / "theirs" / INDEX).exists() == (shard == "60KB")
    ours, tokenizer = load_model(tmp_path / "theirs")
    assert equal(ours, hf)
    tied = hf.config.tie_word_embeddings
    assert (ours.lm_head.weight is ours.embed_tokens.weight) == tied
    assert ours.vocab_limit == tokenizer.size < ours.cfg.vocab_size
    save_model(ours, tokenizer, tmp_path / "ours", max_shard_bytes=5 << 30 if shard == "5GB" else 60_000)
    assert (tmp_path / "ours" / INDEX).exists() == (shard == "60KB")
    again = hf_load(tmp_path / "ours")
    assert equal(ours, again)
    tokens = torch.arange(24)[None]
    with torch.no_grad():
        assert torch.equal(again(tokens).logits, hf(tokens).logits)
    assert equal(load_model(tmp_path / "ours")[0], hf)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16, torch.float16])
def test_dtypes_are_converted_on_the_way_in_and_on_the_way_out(stored, dtype, tmp_path):
    hf = hf_folder(tmp_path / "theirs", dtype=stored)
    ours, tokenizer = load_model(tmp_path / "theirs", dtype=dtype)
    assert equal(ours, hf.to(dtype))
    save_model(ours, tokenizer, tmp_path / "ours", dtype=torch.bfloat16)
    exported = load_model(tmp_path / "ours", dtype=torch.bfloat16)[0]
    assert equal(exported, hf.to(torch.bfloat16))
    assert equal(exported, hf_load(tmp_path / "ours"))


def test_weights_are_overwritten_in_place(tmp_path):
    first, second = hf_folder(tmp_path / "a"), hf_folder(tmp_path / "b", seed=1)
    ours, _ = load_model(tmp_path / "a")
    addresses = [p.data_ptr() for p in ours.parameters()]
    assert equal(ours, first)
    load_weights(ours, tmp_path / "b")
    assert equal(ours, second)
    assert [p.data_ptr() for p in ours.parameters()] == addresses
    assert ours.lm_head.weight is ours.embed_tokens.weight


def test_an_export_holds_the_names_metadata_and_files_of_a_hugging_face_folder(tmp_path):
    hf_folder(tmp_path / "theirs", "qwen2-untied", shard="60KB")
    (tmp_path / "theirs" / "special_tokens_map.json").write_bytes(b'{ "eos_token":"<|im_end|>" }\r\n')
    (tmp_path / "theirs" / "generation_config.json").write_bytes(b'{"eos_token_id":  [281, 0], "top_p": 0.8}')
    ours, tokenizer = load_model(tmp_path / "theirs")
    assert tokenizer.stop_ids == {0, 281}
    save_model(ours, tokenizer, tmp_path / "ours", max_shard_bytes=60_000)
    names = {}
    for path in (tmp_path / "ours").glob("*.safetensors"):
        with safetensors.safe_open(path, framework="pt") as file:
            assert file.metadata() == {"format": "pt"}
            names |= dict.fromkeys(file.keys(), path.name)
            sizes = [file.get_tensor(name).nbytes for name in file.keys()]  # noqa: SIM118 (not a dict)
            assert sum(sizes) <= 60_000 or len(sizes) == 1
        assert path.stat().st_mode & 0o777 == (tmp_path / "theirs" / "tokenizer.json").stat().st_mode & 0o777
    index = json.loads((tmp_path / "ours" / INDEX).read_text())
    assert index["weight_map"] == names
    assert index["metadata"]["total_size"] == 4 * sum(p.numel() for p in ours.parameters())
    assert names.keys() == json.loads((tmp_path / "theirs" / INDEX).read_text())["weight_map"].keys()
    kept = {path.name for path in (tmp_path / "theirs").iterdir() if "safetensors" not in path.name} - {
        "config.json"
    }
    assert kept >= {
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "generation_config.json",
    }
    for name in kept:
        assert (tmp_path / "ours" / name).read_bytes() == (tmp_path / "theirs" / name).read_bytes()


def test_others_stop_where_we_do(tmp_path):
    hf_folder(tmp_path / "base")
    (tmp_path / "base" / "generation_config.json").write_text(
        '{"eos_token_id": 0, "top_p": 0.8}'
    )  # no end of a turn
    ours, tokenizer = load_model(tmp_path / "base")
    save_model(ours, tokenizer, tmp_path / "ours")
    exported = json.loads((tmp_path / "ours" / "generation_config.json").read_text())
    assert exported == {"eos_token_id": [0, tokenizer.end_of_turn], "top_p": 0.8}
    assert load_model(tmp_path / "ours")[1].stop_ids == tokenizer.stop_ids


def test_saving_replaces_a_model_folder_whole_and_leaves_nothing_beside_it(tmp_path):
    hf_folder(tmp_path / "m", shard="60KB")
    ours, tokenizer = load_model(tmp_path / "m")
    (tmp_path / ".m.tmp").mkdir()  # what a killed run may have left
    (tmp_path / ".m.tmp" / "model.safetensors").write_text("half")
    save_model(ours, tokenizer, tmp_path / "m")
    assert [path.name for path in tmp_path.iterdir()] == ["m"]
    assert not (tmp_path / "m" / INDEX).exists()  # else the shards of yesterday would lie beside today's file
    assert equal(ours, hf_load(tmp_path / "m"))


def test_saving_never_replaces_what_is_no_model_folder(tmp_path):
    hf_folder(tmp_path / "m")
    ours, tokenizer = load_model(tmp_path / "m")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text("years")
    with pytest.raises(InputError, match="home: is no model folder"):
        save_model(ours, tokenizer, tmp_path / "home")
    with pytest.raises(InputError, match=r"thesis\.tex: is no model folder"):
        save_model(ours, tokenizer, tmp_path / "home" / "thesis.tex")
    assert (tmp_path / "home" / "thesis.tex").read_text() == "years"
    (tmp_path / "empty").mkdir()
    save_model(ours, tokenizer, tmp_path / "empty")
    save_model(ours, tokenizer, tmp_path / "deep" / "er" / "m")
    assert equal(ours, hf_load(tmp_path / "deep" / "er" / "m"))


def test_a_save_killed_anywhere_leaves_a_whole_folder_and_the_next_one_cleans_up(tmp_path, monkeypatch):
    old = hf_folder(tmp_path / "m")
    ours, tokenizer = load_model(tmp_path / "m")
    with torch.no_grad():
        ours.norm.weight.add_(1)
    shutil.copytree(tmp_path / "m", tmp_path / "original")

    def mortal(call, clock, death):
        def wrapped(*arguments, **settings):
            if next(clock) == death:
                raise KeyboardInterrupt
            return call(*arguments, **settings)

        return wrapped

    outcomes = []
    while outcomes[-1:] != ["finished"]:
        clock = itertools.count()
        try:
            with monkeypatch.context() as patch:
                for owner, name in ((os, "fsync"), (os, "rename"), (Path, "mkdir"), (shutil, "rmtree")):
                    patch.setattr(owner, name, mortal(getattr(owner, name), clock, death=len(outcomes)))
                save_model(ours, tokenizer, tmp_path / "m", max_shard_bytes=60_000)
            outcomes.append("finished")
        except KeyboardInterrupt:
            whole = load_model(tmp_path / ("m" if (tmp_path / "m").exists() else ".m.old"))[0]
            assert equal(whole, old) or equal(whole, ours)
            outcomes.append("old" if equal(whole, old) else "new")
        save_model(ours, tokenizer, tmp_path / "m")
        assert {path.name for path in tmp_path.iterdir()} == {"m", "original"}
        assert equal(load_model(tmp_path / "m")[0], ours)
        shutil.rmtree(tmp_path / "m")
        shutil.copytree(tmp_path / "original", tmp_path / "m")
    assert outcomes == sorted(outcomes, key=["old", "new", "finished"].index)
    assert {"old", "new", "finished"} == set(outcomes)


# Broken folders. Each test starts from a good one.


@pytest.fixture
def folder(tmp_path):
    hf_folder(tmp_path / "m", "qwen2-untied")
    return tmp_path / "m"


@pytest.fixture
def sharded(tmp_path):
    hf_folder(tmp_path / "m", "qwen2-untied", shard="60KB")
    return tmp_path / "m"


@pytest.fixture
def tied(tmp_path):
    hf_folder(tmp_path / "m", "qwen3")
    return tmp_path / "m"


def test_missing_and_extra_tensors_are_named(folder):
    name = "model.layers.1.self_attn.k_proj.bias"
    rewrite(folder, lambda tensors: tensors.pop(name))
    refusal(folder, folder / "model.safetensors", name, "missing")
    rewrite(
        folder, lambda tensors: tensors.update({name: torch.zeros(32), "model.layers.9.odd": torch.zeros(1)})
    )
    refusal(folder, folder / "model.safetensors", "model.layers.9.odd", "not part of")


def test_a_wrong_shape_is_named_with_both_shapes(folder):
    name = "model.layers.0.mlp.up_proj.weight"
    rewrite(folder, lambda tensors: tensors.update({name: tensors[name].t().contiguous()}))
    refusal(folder, folder / "model.safetensors", name, "[64, 112]", "[112, 64]")


@pytest.mark.parametrize("dtype", [torch.float64, torch.int8, torch.float8_e4m3fn])
def test_a_dtype_that_is_no_plain_weight_is_refused(dtype, folder):
    name = "model.norm.weight"
    rewrite(folder, lambda tensors: tensors.update({name: torch.ones(64).to(dtype)}))
    refusal(folder, folder / "model.safetensors", name, "F32, F16, BF16")


def test_an_untied_model_needs_its_output_matrix(folder):
    rewrite(folder, lambda tensors: tensors.pop("lm_head.weight"))
    refusal(folder, "lm_head.weight", "missing")


def test_a_tied_model_may_carry_its_output_matrix_if_it_is_the_embedding(tied):
    embedding = "model.embed_tokens.weight"
    rewrite(tied, lambda tensors: tensors.update({"lm_head.weight": tensors[embedding].clone()}))
    ours, _ = load_model(tied)
    assert ours.lm_head.weight is ours.embed_tokens.weight

    def nudge(tensors):
        tensors["lm_head.weight"][7, 3] += 1e-6

    rewrite(tied, nudge)
    refusal(tied, tied / "model.safetensors", "lm_head.weight", "embedding")
    rewrite(tied, lambda tensors: tensors.pop(embedding))
    refusal(tied, embedding, "missing")


def test_rotary_buffers_of_old_exports_are_ignored(folder):
    before = load_model(folder)[0]
    rewrite(folder, lambda t: t.update({"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(8)}))
    after = load_model(folder)[0]
    assert all(torch.equal(a, b) for a, b in zip(before.parameters(), after.parameters(), strict=True))


def test_a_file_cut_at_any_byte_names_the_first_tensor_that_is_lost(folder):
    path = folder / "model.safetensors"
    data, header = path.read_bytes(), read_header(path)
    first = min(stored.begin for stored in header.values())
    for cut in (0, 5, 8, 9, first - 1):
        path.write_bytes(data[:cut])
        refusal(folder, path, "cut off within its header")
    for cut in (first, first + 1, (first + len(data)) // 2, len(data) - 1):
        path.write_bytes(data[:cut])
        with pytest.raises(InputError, match="truncated") as error:
            load_model(folder)
        lost = re.search(r"tensor (\S+) ends at", str(error.value))[1]
        ends = sorted(stored.end for stored in header.values())
        assert str(path) in str(error.value)
        assert header[lost].end == next(end for end in ends if end > cut)
    path.write_bytes(data + b"\0")
    refusal(folder, path, "1 bytes after the last tensor")


@pytest.mark.parametrize(
    "change",
    [
        lambda header: header["model.norm.weight"].update(
            data_offsets=[0, 256]
        ),  # over another tensor's bytes
        lambda header: header["model.norm.weight"].update(data_offsets=[-256, 0]),
        lambda header: header["model.norm.weight"].update(data_offsets=[256, 0]),
        lambda header: header["model.norm.weight"].update(data_offsets=[0, 1 << 80]),
        lambda header: header["model.norm.weight"].update(data_offsets="all"),
        lambda header: header["model.norm.weight"].update(data_offsets=[0, 256, 512]),
        lambda header: header["model.norm.weight"].update(shape=[1 << 40, 1 << 40]),
        lambda header: header["model.norm.weight"].update(shape=[64.0]),
        lambda header: header["model.norm.weight"].update(shape=[True, 64]),
        lambda header: header["model.norm.weight"].pop("shape"),
        lambda header: header["model.norm.weight"].update(dtype=["F32"]),
        lambda header: header.update({"model.norm.weight": 7}),
        lambda header: b"[]",
        lambda header: b"{",
        lambda header: b"\xff" * 64,
        lambda header: b"[" * 100_000,
    ],
)
def test_a_header_that_lies_is_refused_before_anything_is_read(change, folder):
    rewrite_header(folder, lambda header: value if isinstance(value := change(header), bytes) else None)
    refusal(folder, folder / "model.safetensors")


def test_a_header_longer_than_the_file_allocates_nothing(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes((1 << 62).to_bytes(8, "little") + b"{}")
    with pytest.raises(InputError, match="header"):
        read_header(path)


def test_our_reading_of_a_header_is_the_librarys(folder):
    header = read_header(folder / "model.safetensors")
    data = (folder / "model.safetensors").read_bytes()
    tensors = safetensors.torch.load_file(folder / "model.safetensors")
    assert header.keys() == tensors.keys()
    for name, stored in header.items():
        assert (stored.dtype, stored.shape) == (torch.float32, tuple(tensors[name].shape))
        assert data[stored.begin : stored.end] == tensors[name].numpy().tobytes()


def test_the_index_and_the_shards_must_agree_both_ways(sharded):
    index = json.loads((sharded / INDEX).read_text())
    placed = index["weight_map"]
    name = "model.norm.weight"
    home = placed[name]
    other = next(file for file in sorted(set(placed.values())) if file != home)

    def write(**changes):
        (sharded / INDEX).write_text(
            json.dumps({"weight_map": {k: v for k, v in (placed | changes).items() if v}})
        )

    write(**{name: other})
    refusal(sharded, sharded / other, name)
    write(**{name: None})
    refusal(sharded, sharded / home, name, INDEX)
    for escape in (
        "../model.safetensors",
        "/etc/passwd",
        "a\\b.safetensors",
        "pickle.bin",
        "..",
        "\0.safetensors",
    ):
        write(**{name: escape})
        refusal(sharded, sharded / INDEX, repr(escape))
    write(**{name: "model-00099.safetensors"})
    refusal(sharded, sharded / "model-00099.safetensors", "cannot read")
    for broken in ([], {"weight_map": []}, {"weight_map": {}}, {"weight_map": {"a": 1}}, {}):
        (sharded / INDEX).write_text(json.dumps(broken))
        refusal(sharded, sharded / INDEX)
    write()
    load_model(sharded)
    rewrite(sharded, lambda tensors: tensors.pop(name), home)
    refusal(sharded, sharded / home, name)
    (sharded / home).unlink()
    refusal(sharded, sharded / home)


def test_a_truncated_shard_is_named(sharded):
    shard = sorted(sharded.glob("model-*.safetensors"))[1]
    shard.write_bytes(shard.read_bytes()[:-10])
    refusal(sharded, shard, "truncated", "tensor model.")


def test_a_folder_without_safetensors_is_refused(folder):
    (folder / "model.safetensors").unlink()
    refusal(folder, folder, "safetensors")
    shutil.rmtree(folder)
    refusal(folder, folder, "no such model folder")


def test_a_vocabulary_smaller_than_the_tokenizer_is_refused(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"vocab_size": 200}))
    refusal(folder, folder / "config.json", "vocab_size is 200", "282 ids")


@pytest.mark.slow
def test_a_real_pretrained_folder_goes_through_bit_for_bit(tmp_path):
    source = os.environ.get("REAL_MODEL")
    if source is None:
        pytest.skip("needs a real model folder in $REAL_MODEL (see ../shared/tools/real_small_model.py)")
    ours, tokenizer = load_model(source, dtype=torch.bfloat16)
    save_model(ours, tokenizer, tmp_path / "m", max_shard_bytes=100 << 20)
    assert equal(ours, hf_load(tmp_path / "m"))
    assert equal(ours, hf_load(source))
