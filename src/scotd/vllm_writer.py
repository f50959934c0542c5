"""Blocks written by vLLM, in a worker of `fleet.py` that has a GPU.

vLLM gets token ids and gives token ids: prompts, texts and log-probabilities are made by the same code as where
`decode.py` writes. What prompts share is computed once by its prefix cache. Each chain has its own seed; vLLM's numbers
still depend on what else is in a batch, so chains repeat in their identities and not in their bits.

Written after vLLM 0.11's documents and source. Unverified: it was run with a stand-in for vLLM only.
"""

from typing import Any

from scotd.blocks import Block, Written
from scotd.decode import completion, end_tokens
from scotd.device import Precision
from scotd.errors import RunError
from scotd.models import ModelFiles
from scotd.types import Completion, Finish

_FINISH = {"stop": Finish.STOP, "length": Finish.LENGTH}


class VllmWriter:
    """One model in vLLM, on the GPU that Ray gave to this process."""

    def __init__(self, files: ModelFiles, precision: Precision) -> None:
        import vllm

        self._vllm = vllm
        self.engine = vllm.LLM(
            model=files.pretrained,
            dtype=precision,
            enable_prefix_caching=True,
            logprobs_mode="raw_logprobs",  # at temperature 1, before top-k, top-p and min-p
            generation_config="vllm",  # nothing of the model's own ways of drawing
        )
        self.tokenizer = self.engine.get_tokenizer()
        self.ends = end_tokens(self.tokenizer, None)

    def complete(self, block: Block, _shared: tuple[int, ...]) -> Written:
        """Write a block: one request a chain, all at once."""
        sampling = block.sampling
        prompts, params = [], []
        for prompt, seeds in zip(block.prompts, block.seeds, strict=True):
            for seed in seeds:
                prompts.append({"prompt_token_ids": list(prompt)})
                params.append(
                    self._vllm.SamplingParams(
                        temperature=sampling.temperature,
                        top_p=sampling.top_p,
                        top_k=sampling.top_k,
                        min_p=sampling.min_p,
                        max_tokens=sampling.max_tokens,
                        stop=list(sampling.stop) or None,
                        seed=seed,
                        logprobs=0,  # of the token that was drawn
                    )
                )
        answers = iter(self.engine.generate(prompts, params, use_tqdm=False))
        return [[self._completion(next(answers), block) for _ in seeds] for seeds in block.seeds]

    def _completion(self, answer: Any, block: Block) -> Completion:
        (drawn,) = answer.outputs
        if drawn.finish_reason not in _FINISH:
            raise RunError(f"vLLM ended a chain with '{drawn.finish_reason}', which is neither stop nor length.")
        tokens = list(drawn.token_ids)
        logprobs = [at[token].logprob for at, token in zip(drawn.logprobs, tokens, strict=True)]
        ends = {*self.ends, drawn.stop_reason} if isinstance(drawn.stop_reason, int) else self.ends
        finish = _FINISH[drawn.finish_reason]
        return completion(self.tokenizer, tokens, logprobs, finish, stop=block.sampling.stop, ends=ends)
