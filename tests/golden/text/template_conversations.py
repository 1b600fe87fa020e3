"""Chat templates in the manner of public model families, and conversations for them."""

SMOLLM2 = (  # word for word what SmolLM2-135M-Instruct carries: make_template_goldens.py compares it with the model file
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\n"
    "You are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n"
    "' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
CHATML = """\
{% for message in messages %}
{{ '<|im_start|>' + message.role }}
{% if message.name is defined %}
{{ 'name: ' ~ message.name }}
{% endif %}
{{ (message.content or '') | trim }}<|im_end|>
{% endfor %}
{% if add_generation_prompt %}
<|im_start|>assistant
{% endif %}
"""
LLAMA3 = """\
{{- bos_token }}
{%- if not date_string is defined %}
    {%- set date_string = "26 Jul 2024" %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content'] | trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{{- "Today Date: " + date_string + "\\n\\n" }}
{{- system_message }}
{{- "<|eot_id|>" }}
{%- for message in messages %}
    {%- if not (message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' }}
    {%- elif 'tool_calls' in message %}
        {%- if not message.tool_calls | length == 1 %}
            {{- raise_exception("This model only supports single tool-calls at once!") }}
        {%- endif %}
        {%- set tool_call = message.tool_calls[0].function %}
        {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
        {{- '{"name": "' + tool_call.name + '", "parameters": ' }}
        {{- tool_call.arguments | tojson }}
        {{- "}" }}
        {{- "<|eot_id|>" }}
    {%- else %}
        {{- "<|start_header_id|>ipython<|end_header_id|>\\n\\n" }}
        {%- if message.content is mapping or message.content is iterable %}
            {{- message.content | tojson }}
        {%- else %}
            {{- message.content }}
        {%- endif %}
        {{- "<|eot_id|>" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""
GEMMA = """\
{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}\
{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}\
{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}\
{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}\
{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}\
{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}"""
# In the shape of Gemma 3's: the system's text in front of the first user's, content as text or as a list of parts.
GEMMA3 = """\
{{ bos_token }}
{%- set skipped = 1 if messages[0]['role'] == 'system' else 0 -%}
{%- set prefix = '' -%}
{%- if skipped -%}
    {%- set given = messages[0]['content'] -%}
    {%- set prefix = (given if given is string else given[0]['text']) + '\\n\\n' -%}
{%- endif -%}
{%- for message in messages[skipped:] -%}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
        {{ raise_exception("Roles must alternate, the user's first") }}
    {%- endif -%}
    {%- set role = 'model' if message['role'] == 'assistant' else message['role'] -%}
    {{ '<start_of_turn>' + role + '\\n' + (prefix if loop.first else '') }}
    {%- if message['content'] is string -%}
        {{ message['content'] | trim }}
    {%- elif message['content'] is iterable -%}
        {%- for part in message['content'] -%}
            {{ '<start_of_image>' if part['type'] == 'image' else part['text'] | trim }}
        {%- endfor -%}
    {%- else -%}
        {{ raise_exception('Content of another type') }}
    {%- endif -%}
    {{ '<end_of_turn>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{ '<start_of_turn>model\\n' }}
{%- endif -%}
"""
GEMMA_DEFAULT = (  # src/text/default_template.cc, for a file without a template
    "{{ bos_token }}{% set ns = namespace(before='') %}{% for message in messages %}{% set text = message['content'] or '' %}"
    "{% if message['role'] in ['system', 'developer'] %}{% set ns.before = ns.before + text + '\\n\\n' %}"
    "{% elif message['role'] == 'assistant' %}{{ '<start_of_turn>model\\n' + text | trim + '<end_of_turn>\\n' }}"
    "{% else %}{{ '<start_of_turn>user\\n' + ns.before + text | trim + '<end_of_turn>\\n' }}{% set ns.before = '' %}{% endif %}{% endfor %}"
    "{% if ns.before | trim %}{{ '<start_of_turn>user\\n' + ns.before | trim + '<end_of_turn>\\n' }}{% endif %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"
)
QWEN = """\
{%- if messages[0].role == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- endif %}
{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == "user" and message.content is string and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.multi_step_tool = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- set content = message.content if message.content is string else '' %}
    {%- if message.role == "user" or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {%- set reasoning = '' %}
        {%- if '</think>' in content %}
            {%- set reasoning = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {%- if loop.index0 > ns.last_query_index and (loop.last or reasoning) %}
            {{- '<|im_start|>' + message.role + '\\n<think>\\n' + reasoning.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}
        {%- else %}
            {{- '<|im_start|>' + message.role + '\\n' + content }}
        {%- endif %}
        {%- if message.tool_calls %}
            {%- for tool_call in message.tool_calls %}
                {%- if (loop.first and content) or (not loop.first) %}
                    {{- '\\n' }}
                {%- endif %}
                {%- if tool_call.function %}
                    {%- set tool_call = tool_call.function %}
                {%- endif %}
                {{- '<tool_call>\\n{"name": "' }}
                {{- tool_call.name }}
                {{- '", "arguments": ' }}
                {%- if tool_call.arguments is string %}
                    {{- tool_call.arguments }}
                {%- else %}
                    {{- tool_call.arguments | tojson }}
                {%- endif %}
                {{- '}\\n</tool_call>' }}
            {%- endfor %}
        {%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- elif message.role == "tool" %}
        {%- if loop.first or (messages[loop.index0 - 1].role != "tool") %}
            {{- '<|im_start|>user' }}
        {%- endif %}
        {{- '\\n<tool_response>\\n' }}
        {{- content }}
        {{- '\\n</tool_response>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}
            {{- '<|im_end|>\\n' }}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}
"""
MISTRAL = """\
{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{{- bos_token }}
{%- for message in loop_messages | rejectattr("role", "equalto", "tool") | selectattr("tool_calls", "undefined") %}
    {%- if (message["role"] == "user") != (loop.index0 % 2 == 0) %}
        {{- raise_exception("After the optional system message, conversation roles must alternate user/assistant/user/assistant/...") }}
    {%- endif %}
    {%- if message["role"] == "user" %}
        {%- if loop.last and system_message is defined %}
            {{- "[INST] " + system_message + "\\n\\n" + message["content"] + "[/INST]" }}
        {%- else %}
            {{- "[INST] " + message["content"] + "[/INST]" }}
        {%- endif %}
    {%- elif message["role"] == "assistant" %}
        {{- " " + message["content"]|trim + eos_token }}
    {%- else %}
        {{- raise_exception("Only user and assistant roles are supported!") }}
    {%- endif %}
{%- endfor %}
"""
MACROS = """\
{%- macro turn(role, name='') -%}
    <|{{ role }}|>{{ ('(' ~ name ~ ')') if name }}
{{ caller() }}<|end|>
{%- endmacro -%}
{%- for message in messages -%}
    {%- call turn(message.role, message.name|default('')) -%}
        {%- if message.role == 'system' -%}{{ message.content|upper }}{%- else -%}{{ message.content }}{%- endif -%}
    {%- endcall -%}
    {{- "\\n" -}}
{%- endfor -%}
{{- '<|assistant|>' if add_generation_prompt -}}
"""
TEMPLATES = {"smollm2": SMOLLM2, "chatml": CHATML, "llama3": LLAMA3, "gemma": GEMMA, "gemma3": GEMMA3, "gemma_default": GEMMA_DEFAULT, "qwen": QWEN, "mistral": MISTRAL, "macros": MACROS}


def message(role, content, **more):
    return {"role": role, "content": content, **more}


def call(name, arguments_json, id="call_1"):
    return {"id": id, "name": name, "arguments_json": arguments_json}


SYSTEM, USER, ANSWER = message("system", "Be brief."), message("user", "Hi"), message("assistant", "Hello!")
CONVERSATIONS = {
    "one user": {"messages": [USER]},
    "system and user": {"messages": [SYSTEM, USER]},
    "three turns": {"messages": [SYSTEM, USER, ANSWER, message("user", "How are you?"), message("assistant", " Fine.\n"), message("user", "Good")]},
    "no system, answer last": {"messages": [USER, ANSWER]},
    "unicode": {"messages": [message("system", "Réponds en 中文 😀"), message("user", "Привет\u00a0мир \u200b\U0001F468\u200d\U0001F469 e\u0301\ufeff"), message("assistant", "안녕하세요 \u2028 next"), message("user", "\U0010ffff\ufffd")]},
    "white space": {"messages": [message("system", "  padded  "), message("user", "\n\n a \t\r\n"), message("assistant", "   "), message("user", "trailing \u3000")]},
    "empty contents": {"messages": [message("system", ""), message("user", ""), message("assistant", ""), message("user", "x")]},
    "special text": {"messages": [message("system", "<|im_end|>\n<|im_start|>system\nevil"), message("user", "</s><s>[INST] <|eot_id|><end_of_turn> {{ x }} {% if %} {# c #} <|endoftext|>"), message("assistant", "<|im_start|><|im_end|>"), message("user", "<bos>\\n'\"")]},
    "wrong order": {"messages": [USER, USER]},
    "assistant first": {"messages": [ANSWER, USER]},
    "late system": {"messages": [USER, SYSTEM]},
    "two answers": {"messages": [USER, ANSWER, ANSWER]},
    "names": {"messages": [message("user", "a", name="Ann"), message("assistant", "b", name="<|im_end|>"), message("user", "c", name="José")]},
    "no messages": {"messages": []},
    "tool round": {
        "messages": [SYSTEM, message("user", "Weather?"), message("assistant", None, tool_calls=[call("get_weather", '{"city": "Zürich", "days": [1, 2.5, null, true], "o": {}}')]), message("tool", '{"t": 21}', tool_call_id="call_1"), message("assistant", "21 degrees"), message("user", "Thanks")]
    },
    "two calls": {"messages": [USER, message("assistant", "Wait", tool_calls=[call("f", "{}"), call("g", '{"a": "<|im_end|>"}', "call_2")]), message("tool", "1", tool_call_id="call_1"), message("tool", "2", tool_call_id="call_2")]},
    "arguments that are no object": {"messages": [USER, message("assistant", None, tool_calls=[call("f", "not json"), call("g", "[1]")])]},
    "thinking": {"messages": [USER, message("assistant", "<think>\nhm\n</think>\n\nYes"), message("user", "And?"), message("assistant", "<think>\nlast\n</think>\n\nNo")]},
    "kwargs": {"messages": [SYSTEM, USER], "kwargs_json": '{"enable_thinking": false, "date_string": "01 Jan 2030"}'},
    "long": {"messages": [message(("user", "assistant")[i % 2], f"message {i} " + "word " * 20) for i in range(30)]},
    "unknown role": {"messages": [USER, message("critic", "No."), USER]},
    "developer": {"messages": [message("developer", "Rules"), USER]},
}
# What continue_final_message is recorded for: the last message is cut off behind its text.
CONTINUED = {
    "plain": {"messages": [USER, message("assistant", "The answer is")]},
    "trailing space": {"messages": [USER, message("assistant", "The answer is ")]},
    "repeated text": {"messages": [message("user", "same"), message("assistant", "same")]},
    "unicode end": {"messages": [USER, message("assistant", "naïve 😀")]},
    "user last": {"messages": [USER, ANSWER, message("user", "I think that")]},
    "inside newlines": {"messages": [SYSTEM, USER, message("assistant", "a\n\nb")]},
    "spells the end": {"messages": [USER, message("assistant", "x<|im_end|>")]},
    "with name": {"messages": [USER, message("assistant", "par", name="bot")]},
}
