"""The official openai SDK against a real daemon."""
import json
import urllib.request

import openai
import pytest

QUESTION = [{"role": "user", "content": "Name the capital of France."}]


@pytest.fixture(scope="module")
def client(daemon):
    return openai.OpenAI(base_url=daemon.http + "/v1", api_key="none", max_retries=0, timeout=60)


def test_curl_style_chat_says_paris(daemon):
    body = json.dumps({"messages": QUESTION, "temperature": 0, "max_tokens": 20}).encode()
    request = urllib.request.Request(
        daemon.http + "/v1/chat/completions", data=body, headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        answer = json.load(response)
    assert "Paris" in answer["choices"][0]["message"]["content"]
    assert answer["usage"]["total_tokens"] == answer["usage"]["prompt_tokens"] + answer["usage"]["completion_tokens"]


def test_sdk_streamed_deltas_concatenate_to_the_answer_not_streamed(client):
    params = dict(model="default", messages=QUESTION, temperature=0, max_tokens=40, logprobs=True, top_logprobs=3)
    whole = client.chat.completions.create(**params)
    text, logprobs, usage, finish = "", [], None, None
    for chunk in client.chat.completions.create(**params, stream=True, stream_options={"include_usage": True}):
        if chunk.usage:
            usage = chunk.usage
        for choice in chunk.choices:
            text += choice.delta.content or ""
            if choice.logprobs:
                logprobs += choice.logprobs.content
            finish = choice.finish_reason or finish
    answer = whole.choices[0]
    assert text == answer.message.content
    assert finish == answer.finish_reason
    assert [(t.token, t.logprob, t.bytes) for t in logprobs] == [
        (t.token, t.logprob, t.bytes) for t in answer.logprobs.content]
    assert all(len(t.top_logprobs) == 3 for t in logprobs)
    assert len(logprobs) == usage.completion_tokens == whole.usage.completion_tokens
    assert usage.prompt_tokens == whole.usage.prompt_tokens


def test_sdk_stream_helper_accumulates(client):
    with client.chat.completions.stream(model="default", messages=QUESTION, temperature=0, max_tokens=30) as stream:
        for _ in stream:
            pass
        final = stream.get_final_completion()
    assert "Paris" in final.choices[0].message.content


def test_async_client_streams(daemon):
    import asyncio

    async def run():
        async with openai.AsyncOpenAI(base_url=daemon.http + "/v1", api_key="none", max_retries=0) as c:
            parts = []
            stream = await c.chat.completions.create(
                model="default", messages=QUESTION, temperature=0, max_tokens=20, stream=True)
            async for chunk in stream:
                parts += [choice.delta.content or "" for choice in chunk.choices]
            return "".join(parts)

    assert "Paris" in asyncio.run(run())


def test_choice_i_is_the_same_for_every_n(client):
    params = dict(model="default", prompt="The three colours are", max_tokens=16, seed=7, temperature=1.2)
    one = client.completions.create(**params, n=1)
    four = client.completions.create(**params, n=4)
    assert [c.index for c in four.choices] == [0, 1, 2, 3]
    assert one.choices[0].text == four.choices[0].text
    assert len({c.text for c in four.choices}) > 1


def test_completions_with_logprobs_and_stop(client):
    answer = client.completions.create(
        model="default", prompt="Count: 1, 2, 3, 4,", max_tokens=30, temperature=0, logprobs=2, stop=[" 9", "\n"])
    choice = answer.choices[0]
    assert " 9" not in choice.text and "\n" not in choice.text
    assert choice.finish_reason in ("stop", "length")
    assert len(choice.logprobs.tokens) == len(choice.logprobs.token_logprobs) == answer.usage.completion_tokens


def test_prefix_cache_is_seen_in_usage_and_changes_nothing(client):
    long = "The quick brown fox jumps over the lazy dog. " * 20
    params = dict(model="default", prompt=long, max_tokens=12, temperature=0)
    first = client.completions.create(**params)
    second = client.completions.create(**params)
    assert second.usage.prompt_tokens_details.cached_tokens >= 64
    assert first.choices[0].text == second.choices[0].text


@pytest.mark.parametrize("change, param, status", [
    ({"temperature": 2.5}, "temperature", 400),
    ({"temperature": "hot"}, "temperature", 400),
    ({"top_p": -0.1}, "top_p", 400),
    ({"n": 0}, "n", 400),
    ({"max_tokens": 10**9}, None, 400),
    ({"logit_bias": {"99999999": 1}}, "logit_bias", 400),
    ({"no_such_field": 1}, "no_such_field", 400),
    ({"response_format": {"type": "json_object"}}, "response_format", 400),
    ({"messages": []}, "messages", 400),
    ({"messages": [{"role": "king", "content": "x"}]}, "messages[0].role", 400),
    ({"model": "no-such-model"}, None, 404),
])
def test_bad_fields_are_named(daemon, change, param, status):
    body = json.dumps({"messages": QUESTION, "max_tokens": 4, **change}).encode()
    request = urllib.request.Request(
        daemon.http + "/v1/chat/completions", data=body, headers={"Content-Type": "application/json"})
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=30)
    assert caught.value.code == status
    error = json.load(caught.value)["error"]
    assert set(error) >= {"message", "type", "param", "code"}
    if param is not None:
        assert error["param"] is not None and error["param"].startswith(param), error


def test_models_health_and_metrics(daemon, client):
    models = client.models.list().data
    assert len(models) == 1
    assert client.models.retrieve(models[0].id).id == models[0].id
    assert json.loads(daemon.get("/health"))["status"] == "ok"
    metrics = daemon.metrics()
    names = {name.split("{")[0] for name in metrics}
    for name in ("vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:kv_cache_usage_perc",
                 "vllm:generation_tokens_total", "vllm:cache_config_info"):
        assert name in names, name
