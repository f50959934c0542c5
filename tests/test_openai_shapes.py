"""What servers answer, in the shapes of their documents and sources. None of the real servers was ever run here."""

from collections.abc import Iterator
from typing import Any

import pytest
from loopback import Answer, Request, Server, choice, ideal, listed, refusal
from test_openai_teacher import FAST, ask, one, outcomes

from scotd.teachers import Outcome
from scotd.teachers.openai_replies import NOTE_NO_LOGPROB, NOTE_ONLY_REASONING, NOTE_REASONING, NOTE_REFUSAL
from scotd.types import Finish


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        yield running


def refuses(parameter: str, error: Answer) -> Any:
    """A server that answers with an error wherever a request has the parameter."""
    return lambda request, number: error if parameter in request.body else ideal(request, number)


def answered(server: Server, given: dict[str, Any], **more: Any) -> Outcome:
    """The outcome of an ask for one chain that is answered with this choice."""
    usage = {"prompt_tokens": 7, "completion_tokens": 5, **more.pop("usage", {})}
    server.script = [Answer(body={"choices": [given], "usage": usage})]
    return one(server, ask(), **more)


class TestOpenAI:
    def test_reasoning_models_want_max_completion_tokens(self, server: Server) -> None:
        # The error as in https://github.com/SilasMarvin/lsp-ai/issues/95 and many more: param, code and words.
        server.respond = refuses(
            "max_tokens",
            refusal(
                "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' "
                "instead.",
                param="max_tokens",
                code="unsupported_parameter",
            ),
        )
        first, second = outcomes(server, ask(2, max_tokens=50), ask(2, max_tokens=50, question="t/2"))
        assert [len(outcome.completions) for outcome in (first, second)] == [2, 2]
        assert ["max_completion_tokens" in request.body for request in server.requests] == [False, True, True]
        assert all(request.body["max_completion_tokens"] == 50 for request in server.requests[1:])
        assert len(first.notes) == 1 and "max_completion_tokens" in first.notes[0] and second.notes == ()

    def test_a_limit_that_is_too_large_is_no_such_refusal(self, server: Server) -> None:
        # vLLM names both: vllm/entrypoints/openai, "'max_tokens' or 'max_completion_tokens' is too large".
        server.respond = lambda request, number: refusal("'max_tokens' or 'max_completion_tokens' is too large: 9000.")
        outcome = one(server, ask())
        assert outcome.error is not None and "too large" in outcome.error and len(server.requests) == 1

    @pytest.mark.parametrize("parameter", ["top_p", "temperature", "logprobs"])
    def test_reasoning_models_refuse_what_shapes_the_draw(self, server: Server, parameter: str) -> None:
        # https://github.com/danny-avila/LibreChat/issues/10737 lists what o1, o3 and gpt-5 refuse.
        error = refusal(f"Unsupported parameter: '{parameter}' is not supported with this model.", param=parameter)
        server.respond = refuses(parameter, error)
        outcome = one(server, ask(2))
        assert len(outcome.completions) == 2 and len(outcome.notes) == 1
        assert [parameter in request.body for request in server.requests] == [True, False]

    def test_a_temperature_that_is_meant_is_never_left_out(self, server: Server) -> None:
        error = "Unsupported value: 'temperature' does not support 0.7 with this model. Only the default (1) value is"
        server.respond = refuses("temperature", refusal(f"{error} supported.", param="temperature"))
        outcome = one(server, ask(temperature=0.7))
        assert outcome.completions == () and outcome.error is not None and len(server.requests) == 1

    def test_tokens_of_hidden_reasoning_are_not_the_chains(self, server: Server) -> None:
        # API reference, the completion object: usage.completion_tokens_details.reasoning_tokens.
        usage = {"completion_tokens": 500, "completion_tokens_details": {"reasoning_tokens": 480}}
        outcome = answered(server, choice("text"), usage=usage, logprobs=False)
        assert outcome.completions[0].n_tokens is None
        assert outcome.usage.completion_tokens == 500, "billed all the same"

    def test_a_refusal_to_answer_is_an_empty_text(self, server: Server) -> None:
        # API reference, the message object: refusal.
        given = {"message": {"content": None, "refusal": "I cannot help with that."}, "finish_reason": "stop"}
        outcome = answered(server, given)
        assert outcome.completions[0].text == "" and NOTE_REFUSAL in outcome.notes and outcome.error is None


class TestVLLM:
    @pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
    def test_reasoning_in_a_field_of_its_own(self, server: Server, field: str) -> None:
        # docs.vllm.ai, "Reasoning Outputs": `reasoning`, which was called `reasoning_content` before.
        message = {"role": "assistant", "content": " So it is (A).", field: "Let me think."}
        outcome = answered(server, {"message": message, "finish_reason": "stop"}, logprobs=False)
        (completion,) = outcome.completions
        assert (completion.text, completion.n_tokens) == (" So it is (A).", None)
        assert outcome.notes == (NOTE_REASONING,)

    def test_reasoning_that_used_up_the_tokens(self, server: Server) -> None:
        message = {"role": "assistant", "content": None, "reasoning": "Let me think. And think."}
        outcome = answered(server, {"message": message, "finish_reason": "length"}, logprobs=False)
        (completion,) = outcome.completions
        assert (completion.text, completion.finish) == ("", Finish.LENGTH)
        assert outcome.notes == (NOTE_REASONING, NOTE_ONLY_REASONING)

    def test_log_probabilities_of_reasoning_and_text_together_are_not_taken(self, server: Server) -> None:
        # vllm/entrypoints/openai/chat_completion/serving.py lists those of all output tokens, reasoning first.
        message = {"content": " (A).", "reasoning": "Hm."}
        given = {"message": message, "finish_reason": "stop", "logprobs": listed([("Hm.", -1.0), (" (A).", -2.0)])}
        outcome = answered(server, given)
        assert outcome.completions[0].mean_logprob is None and NOTE_NO_LOGPROB in outcome.notes

    def test_log_probabilities_of_the_chat(self, server: Server) -> None:
        # chat_completion/protocol.py, ChatCompletionLogProb: bytes may be null, -9999.0 stands for minus infinity.
        entries = [{"token": " A", "logprob": -1.0, "bytes": None, "top_logprobs": []}]
        given = {**choice(" A"), "logprobs": {"content": entries}, "stop_reason": None, "token_ids": None}
        assert answered(server, given).completions[0].mean_logprob == -1.0
        entries[0]["logprob"] = -9999.0
        assert answered(server, given).completions[0].mean_logprob is None

    def test_log_probabilities_of_completions(self, server: Server) -> None:
        # https://github.com/ggml-org/llama.cpp/pull/15189 shows a vLLM answer: four lists of one length.
        logprobs = {"text_offset": [0], "token_logprobs": [-0.25], "tokens": [" A"], "top_logprobs": [{" A": -0.25}]}
        outcome = answered(server, choice(" A", chat=False, logprobs=logprobs), endpoint="completions")
        assert outcome.completions[0].mean_logprob == -0.25

    @pytest.mark.parametrize("flat", [True, False], ids=["earlier", "later"])
    def test_errors(self, server: Server, flat: bool) -> None:
        # https://github.com/vllm-project/vllm/issues/4667 shows the flat form; later ones nest it as OpenAI does.
        error = {"message": "max_tokens must be at least 1", "type": "BadRequestError", "param": None, "code": 400}
        body = {"object": "error", **error} if flat else {"error": error}
        server.script = [Answer(status=400, body=body)]
        assert one(server, ask()).error == "HTTP 400: max_tokens must be at least 1"


class TestSGLang:
    def test_a_choice(self, server: Server) -> None:
        # python/sglang/srt/entrypoints/openai/protocol.py: reasoning_content and matched_stop beside OpenAI's fields.
        message = {"role": "assistant", "content": " (A).", "reasoning_content": None, "tool_calls": None}
        given = {
            "message": message,
            "logprobs": None,
            "finish_reason": "stop",
            "matched_stop": 2,
            "hidden_states": None,
        }
        outcome = answered(server, given, logprobs=False)
        assert (outcome.completions[0].text, outcome.completions[0].n_tokens, outcome.notes) == (" (A).", 5, ())

    def test_an_aborted_choice_is_stored_as_ended_unknown(self, server: Server) -> None:
        # The same file: finish_reason may be "abort".
        outcome = answered(server, choice(" half", finish="abort"), logprobs=False)
        assert outcome.completions[0].finish is Finish.UNKNOWN

    def test_a_piece_of_a_character_is_listed_as_a_replacement(self, server: Server) -> None:
        # The same folder, serving_chat.py: bytes are those of the decoded token, so a part of a character is U+FFFD.
        tokens = [("\ufffd", -1.0), ("\ufffd", -1.0)]
        outcome = answered(server, choice("é", logprobs=listed(tokens)))
        assert outcome.completions[0].mean_logprob is None and outcome.notes == (NOTE_NO_LOGPROB,)


class TestLlamaCpp:
    @pytest.mark.parametrize(
        ("status", "message"),
        [
            # tools/server: one choice only, thrown as a runtime_error and so answered with HTTP 500 ...
            (500, "Only one completion choice is allowed"),
            # ... and later as many as there are slots.
            (400, "n_cmpl cannot be greater than the number of slots, please increase -np"),
            (500, "n_cmpl cannot be greater than the number of slots, please increase -np"),
        ],
    )
    def test_n_refused(self, server: Server, status: int, message: str) -> None:
        kind = "server_error" if status == 500 else "invalid_request_error"
        error = refusal(message, status=status, code=status, type=kind)
        server.respond = lambda request, number: error if request.body.get("n", 1) > 1 else ideal(request, number)
        first, second = outcomes(server, ask(3), ask(1, question="t/2"))
        assert len(first.completions) == 3 and first.error is None and second.error is None
        assert [request.body.get("n", 1) for request in server.requests] == [3, 1, 1, 1, 1]

    def test_an_error_of_the_server_that_names_nothing_sent_is_retried(self, server: Server) -> None:
        server.script = [refusal("Invalid input batch.", status=500, code=500, type="server_error")]
        assert one(server, ask(3)).error is None and len(server.requests) == 2

    def test_loading_is_waited_for(self, server: Server) -> None:
        # tools/server/README.md, GET /health: 503 and this error until the model is there.
        server.script = [refusal("Loading model", status=503, code=503, type="unavailable_error")] * 3
        assert one(server, ask(2)).error is None and len(server.requests) == 4

    def test_log_probabilities_have_the_chats_form_on_completions_too(self, server: Server) -> None:
        # tools/server/server-task.cpp, to_json_oaicompat: {"content": [{"id", "token", "bytes", "logprob", ...}]}.
        entries = [{"id": 3, "token": " A", "bytes": [32, 65], "logprob": -0.5, "top_logprobs": []}]
        given = choice(" A", chat=False, logprobs={"content": entries})
        assert answered(server, given, endpoint="completions").completions[0].mean_logprob == -0.5
        entries[0]["logprob"] = -3.4028234663852886e38  # the same file, `logarithm`: minus infinity
        assert answered(server, given, endpoint="completions").completions[0].mean_logprob is None


class TestOllama:
    def test_n_is_ignored(self, server: Server) -> None:
        # openai/openai.go: ChatCompletionRequest has no n, and ToChatCompletion makes one choice.
        def respond(request: Request, number: int) -> Answer:
            asked = {key: value for key, value in request.body.items() if key != "n"}
            return ideal(Request(path=request.path, headers=request.headers, body=asked), number)

        server.respond = respond
        outcome = one(server, ask(4))
        assert len(outcome.completions) == 4 and len({one.text for one in outcome.completions}) == 4
        assert [request.body.get("n", 1) for request in server.requests] == [4, 3, 1, 1]

    def test_thinking_is_in_reasoning_and_log_probabilities_may_be_dropped(self, server: Server) -> None:
        # openai/openai.go: Message.Reasoning; https://github.com/ollama/ollama/issues/16117: logprobs were ignored.
        message = {"role": "assistant", "content": "(A).", "reasoning": "Hm."}
        outcome = answered(server, {"index": 0, "message": message, "finish_reason": "stop"})
        assert outcome.completions[0].text == "(A)." and set(outcome.notes) == {NOTE_REASONING, NOTE_NO_LOGPROB}

    def test_a_model_that_is_not_there_ends_the_run(self, server: Server) -> None:
        # openai/openai.go, NewError.
        error = {"message": "model 'x' not found", "type": "not_found_error", "param": None, "code": None}
        server.respond = lambda request, number: Answer(status=404, body={"error": error})
        with pytest.raises(Exception, match=r"HTTP 404 \(model 'x' not found\)"):
            outcomes(server, ask(), patience=FAST)
