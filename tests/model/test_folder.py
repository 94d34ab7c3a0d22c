"""What people bring in place of a model folder is named, with what to do; and a folder's files lie in it."""

import json
import os

import pytest
import torch
from support.models import hf_folder, refusal

from model import load_model, save_model
from model.errors import InputError
from model.huggingface import weights

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3945441440\n"


@pytest.fixture
def folder(tmp_path):
    hf_folder(tmp_path / "m", "llama")
    return tmp_path / "m"


def test_an_id_of_the_hub_is_told_how_to_download_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refusal("Qwen/Qwen2.5-7B", "no such model folder", "hf download Qwen/Qwen2.5-7B --local-dir Qwen2.5-7B")
    with pytest.raises(InputError) as error:
        load_model("/nowhere/models/x")
    assert "hub" not in str(error.value)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_pointer_of_git_lfs_is_named(name, folder):
    (folder / name).write_text(POINTER)
    refusal(folder, folder / name, "Git LFS", "git lfs pull")


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
@pytest.mark.parametrize("alone", [True, False])
def test_an_adapter_is_named_alone_and_beside_weights(name, alone, folder):
    if alone:
        (folder / "model.safetensors").unlink()
        (folder / "config.json").unlink()
    (folder / name).write_text("{}")
    refusal(folder, folder / name, "adapter", "merge_and_unload")


@pytest.mark.parametrize(
    ("name", "parts"),
    [("a-q4.gguf", ["GGUF"]), ("pytorch_model-00001-of-00002.bin", ["pickled", "safetensors"])],
)
def test_other_forms_of_weights_are_named_where_there_are_no_safetensors(name, parts, folder):
    (folder / name).write_bytes(b"x")
    load_model(folder)  # beside what is read they are no matter
    (folder / "model.safetensors").unlink()
    refusal(folder, folder / name, *parts)
    refusal(folder / name, folder / name, "file" if "bin" in name else "GGUF")


@pytest.mark.parametrize("method", ["awq", "gptq", "bitsandbytes"])
def test_quantised_weights_are_named(method, folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(
        json.dumps(config | {"quantization_config": {"quant_method": method}})
    )
    refusal(folder, folder / "config.json", method, "the model that they were made from")


def test_the_first_foreign_tensor_is_named_where_ours_are_missing(folder):
    import safetensors.torch

    tensors = safetensors.torch.load_file(folder / "model.safetensors")
    prefixed = {f"language_model.{name}": tensor for name, tensor in tensors.items()}
    safetensors.torch.save_file(prefixed, folder / "model.safetensors")
    first = next(iter(weights.read_header(folder / "model.safetensors")))
    refusal(folder, "model.embed_tokens.weight is missing", first, "prefix")


HUGE = [("num_hidden_layers", 10**12), ("hidden_size", 10**12), ("intermediate_size", 10**14)]
HUGE += [("num_attention_heads", 10**9), ("vocab_size", 10**14), ("head_dim", 10**14)]


@pytest.mark.parametrize(("key", "value"), HUGE)
def test_sizes_that_are_not_the_weights_are_refused_before_anything_is_made(key, value, folder, monkeypatch):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {key: value, "head_dim": 16} | {key: value}))
    monkeypatch.setattr(weights, "Transformer", lambda cfg: pytest.fail("a model was made"))
    refusal(folder, "tensors; config.json has 1000000000000 layers" if "layers" in key else "tensor model.")


def test_weights_are_compared_before_memory_is_taken(folder, monkeypatch):
    """The last tensor of the model is of a wrong shape: nothing has been allocated when this is found."""
    import safetensors.torch

    tensors = safetensors.torch.load_file(folder / "model.safetensors")
    tensors["model.norm.weight"] = torch.ones(5)
    safetensors.torch.save_file(tensors, folder / "model.safetensors")
    monkeypatch.setattr(weights.Transformer, "allocate", lambda *_: pytest.fail("memory was taken"))
    refusal(folder, "model.norm.weight", "[5]")


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json", "vocab.json"])
def test_a_link_that_leads_out_is_refused_and_one_that_stays_is_not(name, folder, tmp_path):
    path, outside = folder / name, tmp_path / "secret"
    if path.exists():
        path.rename(outside)
    else:
        outside.write_text("{}")
    path.symlink_to(outside)
    refusal(folder, path, "leads out of the model folder")
    outside.rename(folder / "inside")
    path.unlink()
    path.symlink_to("inside")
    load_model(folder)


@pytest.mark.parametrize(
    "name", ["model.safetensors", "config.json", "tokenizer.json", "chat_template.jinja"]
)
def test_a_link_to_nothing_or_to_itself_is_no_absent_file(name, folder):
    for target in ("nothing", name):
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(target)
        refusal(folder, folder / name, "cannot read")


def test_weights_of_another_name_are_named(folder):
    (folder / "model.safetensors").rename(folder / "consolidated.safetensors")
    refusal(folder, "neither model.safetensors nor", "without them consolidated.safetensors is not read")


def test_a_name_that_no_file_system_has_is_refused(folder):
    refusal("m" * 300, "cannot read", "m" * 300)
    refusal("~/no/such", "~/no/such: no such model folder", "write ~ out")
    for address in ("https://huggingface.co/Qwen/Qwen2.5-7B", "hf://Qwen/Qwen2.5-7B"):
        refusal(address, "hf download Qwen/Qwen2.5-7B --local-dir Qwen2.5-7B")
    refusal(
        "https://huggingface.co/Qwen/Qwen2.5-7B/tree/main",
        "hf download Qwen/Qwen2.5-7B --local-dir Qwen2.5-7B",
    )


def test_the_cache_of_the_hub_is_read_though_its_files_are_links(folder, tmp_path):
    snapshot, blobs = tmp_path / "models--a--b/snapshots/0123", tmp_path / "models--a--b/blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for i, path in enumerate(sorted(folder.iterdir())):
        path.rename(blobs / str(i))
        (snapshot / path.name).symlink_to(f"../../blobs/{i}")
    transformer, tokenizer = load_model(snapshot)
    save_model(transformer, tokenizer, tmp_path / "export")
    assert not any(path.is_symlink() for path in (tmp_path / "export").iterdir())
    (snapshot / "tokenizer.json").unlink()
    (snapshot / "tokenizer.json").symlink_to("/etc/hostname")
    refusal(snapshot, "leads out of the model folder")


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_pipe_is_no_file_and_is_not_waited_for(name, folder):
    (folder / name).unlink()
    os.mkfifo(folder / name)
    refusal(folder, folder / name, "pipe")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_tensor_that_is_not_finite_is_named(value, dtype, tmp_path):
    import safetensors.torch

    hf_folder(tmp_path, "llama", dtype)
    tensors = safetensors.torch.load_file(tmp_path / "model.safetensors")
    tensors["model.layers.1.mlp.up_proj.weight"][3, 5] = value
    safetensors.torch.save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    refusal(tmp_path, "model.layers.1.mlp.up_proj.weight", "not finite")
