// The tokenizer of a model file as the text tests of real files need it.
#pragma once

#include "stet/formats/tensor_index.h"
#include "stet/text/tokenizer.h"

namespace stet::text {

// Aborts the test binary if a table is missing; ids that the file does not name are none.
TokenizerSpec model_spec(const formats::TensorIndex& index);

}  // namespace stet::text
