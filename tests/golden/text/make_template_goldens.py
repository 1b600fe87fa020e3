#!/usr/bin/env python3
"""Records what PyPI `jinja2`, set up as Hugging Face transformers sets it up, makes of templates.

Run: python3 tests/golden/text/make_template_goldens.py [MODEL.gguf]      (pip install jinja2; gguf numpy to check SmolLM2's template)

template_language.json  small templates: "output"; or "raised", the message of raise_exception; or "error", Jinja's class of error.
                        "refused": Jinja renders it and stet does not, with a message that contains this text.
template_chats.json     chat templates over conversations, with and without generation prompt; continued final messages
"""
import json
import sys
from datetime import datetime, timezone
from pathlib import Path

import jinja2
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

import template_conversations
import template_expressions
import template_operations
import template_statements

HERE = Path(__file__).resolve().parent
NOW = datetime(2026, 8, 1, 9, 5, 7, tzinfo=timezone.utc)
BOS, EOS = "<s>", "</s>"
# What the small templates see.
MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi <|im_end|> é"}, {"role": "assistant", "content": None}, {"role": "user", "content": "bye"}]
KWARGS = {"n": 7, "f": 2.5, "s": "text", "yes": True, "nothing": None}


class Raised(jinja2.TemplateError):
    pass


class Generation(Extension):
    """{% generation %}: the tag of transformers that marks the assistant's tokens; it prints its body."""

    tags = {"generation"}

    def parse(self, parser):
        lineno = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(lineno)

    def _body(self, caller):
        return caller()


def environment():
    """As transformers.utils.chat_template_utils._compile_jinja_template builds it."""

    def raise_exception(message):
        raise Raised(message)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = lambda format: NOW.strftime(format)
    return env


ENV = environment()


def render(source, messages, add_generation_prompt, kwargs):
    try:
        output = ENV.from_string(source).render(
            messages=messages, tools=None, documents=None, add_generation_prompt=add_generation_prompt, bos_token=BOS, eos_token=EOS, **kwargs
        )
        output.encode()  # lone surrogates are no text
        return {"output": output}
    except Raised as error:
        return {"raised": str(error.message) if error.message is not None else "None"}
    except Exception as error:  # any other: the class is recorded for the reader
        return {"error": type(error).__name__}


def language_case(group, source, refused, seen):
    if source in seen:
        return None
    seen.add(source)
    case = {"group": group, "template": source, **render(source, MESSAGES, True, KWARGS)}
    if refused is not None:
        needs_files = case.get("error") == "TypeError" and source.startswith("{% ")  # include, import: Jinja has no loader here
        assert "output" in case or needs_files, f"Jinja does not render {source!r}: {case}"
        case = {"group": group, "template": source, "refused": refused}
    return case


def language_goldens():
    cases, seen = [], set()
    for module in (template_expressions, template_operations, template_statements):
        whole = module is template_statements
        for group, sources in module.GROUPS.items():
            for one in sources:
                source, refused = one if isinstance(one, tuple) else (one, None)
                cases.append(language_case(group, source if whole else "{{ " + source + " }}", refused, seen))
    cases = [case for case in cases if case is not None]
    tables = {"filters": sorted(ENV.filters), "tests": sorted(ENV.tests), "globals": sorted(ENV.globals)}
    return {"messages": MESSAGES, "kwargs": KWARGS, "bos": BOS, "eos": EOS, "now_unix_s": int(NOW.timestamp()), **tables, "cases": cases}


def jinja_message(message):
    """What the serving API hands to a template: arguments of tool calls as an object if they are one."""
    made = {k: v for k, v in message.items() if k != "tool_calls"}
    if "tool_calls" in message:
        made["tool_calls"] = []
        for call in message["tool_calls"]:
            try:
                arguments = json.loads(call["arguments_json"])
            except ValueError:
                arguments = None
            arguments = arguments if isinstance(arguments, dict) else call["arguments_json"]
            made["tool_calls"].append({"id": call["id"], "type": "function", "function": {"name": call["name"], "arguments": arguments}})
    return made


def cut_behind_final_message(rendered, final):
    """As transformers' render_jinja_template does for continue_final_message."""
    begin = rendered.rindex(final.strip())
    if rendered[begin : begin + len(final.lstrip())] == final:
        return rendered[: begin + len(final.lstrip())]
    return rendered[: begin + len(final.strip())]


def chat_goldens():
    cases = []
    conversations = {**template_conversations.CONVERSATIONS, **{f"continued: {k}": v for k, v in template_conversations.CONTINUED.items()}}
    for template, source in template_conversations.TEMPLATES.items():
        for name, conversation in conversations.items():
            messages = [jinja_message(m) for m in conversation["messages"]]
            kwargs = json.loads(conversation.get("kwargs_json", "{}"))
            if not name.startswith("continued: "):
                for prompt in (False, True):
                    cases.append({"template": template, "conversation": name, "add_generation_prompt": prompt, **render(source, messages, prompt, kwargs)})
                continue
            made = render(source, messages, False, kwargs)
            if "output" in made:
                made["output"] = cut_behind_final_message(made["output"], messages[-1]["content"])
            cases.append({"template": template, "conversation": name, "continue_final_message": True, **made})
    return {"bos": BOS, "eos": EOS, "templates": template_conversations.TEMPLATES, "conversations": conversations, "cases": cases}


def write(name, value):
    text = json.dumps({"made_by": f"make_template_goldens.py, jinja2 {jinja2.__version__}", **value}, ensure_ascii=True, separators=(",", ":"))
    (HERE / name).write_text(text.replace('},{"group"', '},\n{"group"').replace('},{"template"', '},\n{"template"') + "\n")
    print(name, len(value["cases"]), "cases,", (HERE / name).stat().st_size, "bytes")


def check_model_template(path):
    from gguf import GGUFReader

    field = GGUFReader(path).fields["tokenizer.chat_template"]
    found = bytes(field.parts[field.data[0]]).decode()
    assert found == template_conversations.SMOLLM2, f"{path} carries another template: {found!r}"


if __name__ == "__main__":
    if len(sys.argv) > 1:
        check_model_template(sys.argv[1])
    write("template_language.json", language_goldens())
    write("template_chats.json", chat_goldens())
