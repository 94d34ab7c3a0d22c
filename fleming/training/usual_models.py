"""The sizes of a model, from its folder's config.json alone or by the name of one that people usually start from.

assets/models.yaml is the list. Left out: whatever memory does not depend on (positions, norms), of which a model
known by name has stand-ins.
"""

import re
from pathlib import Path

from fleming.assets import load_table
from model.errors import InputError
from model.huggingface.config import ModelConfig, load_config

COLUMNS = ["model_type", "num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads"]
COLUMNS += ["num_key_value_heads", "head_dim", "vocab_size", "tie_word_embeddings"]


def sizes_of(model: str | Path) -> ModelConfig:
    """Return the sizes of a model folder, or of a usual model by its name or its id of the hub.

    Raises InputError as `load_config`, and names the usual models where it is neither.
    """
    if Path(model).is_dir():
        return load_config(model)
    wanted = re.sub(r"^meta-|-(math|coder)(?=-)", "", Path(model).name.lower())
    for name, row in load_table("models.yaml").items():
        if re.fullmatch(rf"{re.escape(name.lower())}([-_].*)?", wanted):
            raw = dict(zip(COLUMNS, row, strict=True)) | {"max_position_embeddings": 131072}
            return ModelConfig.from_hf(raw, f"assets/models.yaml: {name}")
    try:
        return load_config(model)
    except InputError as error:
        raise InputError(f"{error}; sizes alone are known of the models in assets/models.yaml") from None
