"""Bad values of HTTP fields that a type and a range alone do not give: (value as JSON text, the field named, its reason)."""


def user(members):
    return '[{"role":"user",%s}]' % members


def part(members):
    return user('"content":[{"type":"text",%s}]' % members)


def assistant(tool_call):
    return '[{"role":"assistant","tool_calls":[%s]}]' % tool_call


MESSAGES = [
    ("[]", "messages", "out_of_range"),
    ("[" + ",".join(['{"role":"user","content":"x"}'] * 1025) + "]", "messages", "out_of_range"),
    (user('"content":"' + "x " * 3000 + '"'), "messages", "context_length"),
    ("[{}]", "messages[0].role", "malformed"),
    ('[{"role":1,"content":"x"}]', "messages[0].role", "malformed"),
    ('[{"role":"king","content":"x"}]', "messages[0].role", "out_of_range"),
    (user('"content":"x","role":"user"'), "messages[0].role", "malformed"),
    ('[{"role":"user"}]', "messages[0].content", "malformed"),
    (user('"content":null'), "messages[0].content", "malformed"),
    (user('"content":1'), "messages[0].content", "malformed"),
    (user('"content":{}'), "messages[0].content", "malformed"),
    (user('"content":[1]'), "messages[0].content[0]", "malformed"),
    (user('"content":[{"type":"text"}]'), "messages[0].content[0].text", "malformed"),
    (user('"content":[{"type":"image_url","image_url":{}}]'), "messages[0].content[0].type", "unsupported"),
    (part('"text":1'), "messages[0].content[0].text", "malformed"),
    (part('"text":"x","y":1'), "messages[0].content[0].y", "unknown_field"),
    (user('"content":"x","colour":1'), "messages[0].colour", "unknown_field"),
    (user('"content":"x","name":1'), "messages[0].name", "malformed"),
    (user('"content":"x","tool_call_id":"a"'), "messages[0].tool_call_id", "malformed"),
    (user('"content":"x","tool_calls":[{"function":{"name":"f"}}]'), "messages[0].tool_calls", "malformed"),
    (assistant("{}"), "messages[0].tool_calls[0].function", "malformed"),
    (assistant('{"type":"x"}'), "messages[0].tool_calls[0].type", "unsupported"),
    (assistant('{"function":{"name":"f","arguments":"{"}}'), "messages[0].tool_calls[0]", "malformed"),
]
PROMPT = [
    ("[]", "prompt", "out_of_range"),
    ('""', "prompt", "out_of_range"),
    ("[[]]", "prompt", "out_of_range"),
    ('["a","b"]', "prompt", "unsupported"),
    ("[[1],[2]]", "prompt", "unsupported"),
    ('"' + "x " * 3000 + '"', "prompt", "context_length"),
    ("[" + "1," * 4000 + "1]", "prompt", "context_length"),
]
LOGIT_BIAS = [
    ('{"abc":1}', "logit_bias.abc", "malformed"),
    ('{"-1":1}', "logit_bias.-1", "malformed"),
    ('{"1.0":1}', "logit_bias", "malformed"),
    ('{"":1}', "logit_bias", "malformed"),
    ('{"01":1}', "logit_bias.01", "malformed"),
    ('{"4294967296":1}', "logit_bias", "malformed"),
    ('{"5":"1"}', "logit_bias.5", "malformed"),
    ('{"5":null}', "logit_bias.5", "malformed"),
    ('{"5":1,"5":1}', "logit_bias.5", "malformed"),
    ('{"5":1e39}', "logit_bias.5", "out_of_range"),
]
REQUEST_ID = [(f'"{text}"', "request_id", "out_of_range") for text in ("", "a b", "a/b", "\\u0000", "é", "a\\r\\nb")]
STRUCTURE = {
    "messages": MESSAGES,
    "prompt": PROMPT,
    "logit_bias": LOGIT_BIAS,
    "request_id": REQUEST_ID,
    "model": [(f'"{text}"', "model", "model") for text in ("no-such-model", "\\u0000", "x" * 5000)],
    "stream_options": [
        ('{"include_usage":1}', "stream_options.include_usage", "malformed"),
        ('{"include_usage":true,"include_usage":true}', "stream_options.include_usage", "malformed"),
        ('{"x":true}', "stream_options.x", "unknown_field"),
    ],
    "response_format": [
        ("{}", "response_format.type", "malformed"),
        ('{"type":1}', "response_format.type", "malformed"),
        ('{"type":"text","x":1}', "response_format.x", "unknown_field"),
    ],
    "chat_template_kwargs": [
        ('{"a":[]}', "chat_template_kwargs.a", "malformed"),
        ('{"a":1,"a":1}', "chat_template_kwargs.a", "malformed"),
        ('{"no_such_variable":1}', "chat_template_kwargs.no_such_variable", "unsupported"),
        ('{"messages":"x"}', "chat_template_kwargs.messages", "unsupported"),
    ],
}
