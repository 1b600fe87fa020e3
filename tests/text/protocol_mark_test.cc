#include "src/text/protocol_mark.h"

#include <gtest/gtest.h>

namespace stet::text {
namespace {

TEST(ProtocolMark, WhatPublicVocabulariesUseAsTextIsNone) {
  for (const char* text :
       {"",     " ",     "  ",  "\n",   "\n\n\n", "\t\t", "<table>",    "</table>",
        "<td>", "</h6>", "<s>", "</s>", "<bbox>", "fox",  "\U0001f600", "<",
        "<>",   "</>",   "[]",  "()",   "{}",     "->",   "<=>",        "<!-->",
        "a<b>", "<b",    "]x[", "<x)",  "0",      "###",  "$$"}) {
    EXPECT_FALSE(is_protocol_mark(text)) << text;
  }
}

TEST(ProtocolMark, NamesInBracketsAre) {
  for (const char* name : {"<start_of_turn>",
                           "<end_of_turn>",
                           "<start_of_image>",
                           "<end_of_image>",
                           "[multimodal]",
                           "<image_soft_token>",
                           "<|user|>",
                           "<|im_start|>",
                           "<|0|>",
                           "[INST]",
                           "[/INST]",
                           "[TOOL_CALLS]",
                           "<<SYS>>",
                           "<think>",
                           "</think>",
                           "<tool_call>",
                           "<bos>",
                           "<eos>",
                           "<pad>",
                           " <PRE>",
                           "<SUF> ",
                           "<\uFF5CUser\uFF5C>",
                           "{{user}}",
                           "(assistant)",
                           "<Table>",
                           "<//b>",
                           "[b]",
                           "<unused7>"}) {
    EXPECT_TRUE(is_protocol_mark(name)) << name;
  }
}

}  // namespace
}  // namespace stet::text
