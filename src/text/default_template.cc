#include <algorithm>

#include "stet/text/chat_template.h"

namespace stet::text {
namespace {

constexpr std::string_view kChatMl =
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + (message['content'] or '') + "
    "'<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

// Gemma knows two roles: all but the assistant speak as the user. What the system says stands in
// front of what the user says next, as in Gemma 3's own template; nothing is refused and nothing
// gets lost, as in ChatML.
constexpr std::string_view kGemmaTurns =
    "{{ bos_token }}{% set ns = namespace(before='') %}"
    "{% for message in messages %}"
    "{% set text = message['content'] or '' %}"
    "{% if message['role'] in ['system', 'developer'] %}"
    "{% set ns.before = ns.before + text + '\\n\\n' %}"
    "{% elif message['role'] == 'assistant' %}"
    "{{ '<start_of_turn>model\\n' + text | trim + '<end_of_turn>\\n' }}"
    "{% else %}"
    "{{ '<start_of_turn>user\\n' + ns.before + text | trim + '<end_of_turn>\\n' }}"
    "{% set ns.before = '' %}"
    "{% endif %}"
    "{% endfor %}"
    "{% if ns.before | trim %}{{ '<start_of_turn>user\\n' + ns.before | trim + '<end_of_turn>\\n' "
    "}}"
    "{% endif %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}";

// The first row whose names are all control tokens of the vocabulary; the last has none.
struct TemplateRule {
  DefaultTemplate made;
  std::string_view names[2];
};
constexpr TemplateRule kTemplateRules[] = {
    {{"Gemma's turn format", kGemmaTurns}, {"<start_of_turn>", "<end_of_turn>"}},
    {{"ChatML", kChatMl}, {}},
};

}  // namespace

DefaultTemplate default_chat_template(const std::function<bool(std::string_view)>& is_control) {
  for (const TemplateRule& rule : kTemplateRules) {
    if (std::all_of(std::begin(rule.names), std::end(rule.names),
                    [&](std::string_view name) { return name.empty() || is_control(name); })) {
      return rule.made;
    }
  }
  return {};  // not reached
}

}  // namespace stet::text
