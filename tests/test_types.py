"""Identities are for ever: a digest that changed would ask for every stored chain again."""

from dataclasses import replace

from scotd.types import Chain, Finish, SamplingParams

PARAMS = SamplingParams(temperature=0.7, top_p=0.95, top_k=40, max_tokens=48, stop=("\n\n", "\nQ:"))


def test_digests_of_sampling_parameters_are_pinned() -> None:
    assert SamplingParams().id == "61c366f057a6e539a932163bb42c6231"
    assert SamplingParams(temperature=0, top_p=1, stop=("\n\n", "\nQ:")).id == "4d1686c9a3d4a0cf15bd2ce4a35acd47"
    assert PARAMS.id == "bca994e37a1d2cc4a99b33168e554f18"


def test_sampling_parameters_there_and_back() -> None:
    full = replace(PARAMS, min_p=0.1)
    assert SamplingParams.from_json(PARAMS.to_json()) == PARAMS and SamplingParams.from_json(full.to_json()) == full
    assert set(full.to_json()) == set(vars(full)), "every field is part of the identity"
    assert full.id != PARAMS.id
    assert SamplingParams(temperature=1).id == SamplingParams(temperature=1.0).id


def test_the_identity_of_a_chain_is_pinned() -> None:
    chain = Chain(
        question_key="t/1", prompt_id="p", teacher="local:x", sampling=PARAMS, index=3, text="a", finish=Finish.STOP
    )
    assert chain.id == "1932861a85fc4123fd17974dff4a5f6a"
