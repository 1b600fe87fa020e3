// What the objects hold: two instructions for a*b+c, no symbol that could lend code of one
// instruction set to another.
#include <gtest/gtest.h>

#include <cstdio>

#include "tests/kernels/inputs.h"

namespace stet::kernels {
namespace {

std::string output_of(const std::string& command) {
  std::string text;
  FILE* pipe = popen((command + " 2>&1").c_str(), "r");
  char buffer[4096];
  for (size_t n; pipe && (n = fread(buffer, 1, sizeof buffer, pipe)) > 0;) {
    text.append(buffer, n);
  }
  if (pipe) {
    pclose(pipe);
  }
  return text;
}

std::string disassembly_of(const std::string& object) {
  return output_of("objdump -d --no-show-raw-insn " + object);
}

bool fuses(const std::string& disassembly) {
  return disassembly.find("vfm") != std::string::npos;
}

TEST(Objects, ProductAndSumStayTwoInstructions) {
  const std::string text = disassembly_of(STET_CANARY_OBJECT);
  EXPECT_NE(text.find("vmulss"), std::string::npos) << text;
  EXPECT_NE(text.find("vaddss"), std::string::npos) << text;
  EXPECT_FALSE(fuses(text)) << text;
}

// The same source with g++'s default: the test above can fail.
TEST(Objects, CanaryFusesWithoutTheFlag) {
  const std::string text = disassembly_of(STET_FUSED_CANARY_OBJECT);
  EXPECT_TRUE(fuses(text)) << text;
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  size_t at = 0;
  while (at < text.size()) {
    const size_t end = std::min(text.find('\n', at), text.size());
    lines.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return lines;
}

// Symbols of ours or of the standard library that the linker may merge with another object's (weak,
// unique).
std::vector<std::string> mergeable(const std::string& nm) {
  std::vector<std::string> found;
  for (const std::string& line : lines_of(nm)) {
    const size_t type = line.find_first_of("VWuvw", 16);
    const bool ours =
        line.find("_ZN4stet") != std::string::npos || line.find("_ZNK4stet") != std::string::npos ||
        line.find("_ZNSt") != std::string::npos || line.find("_ZSt") != std::string::npos;
    if (type == 17 && ours) {
      found.push_back(line);
    }
  }
  return found;
}

TEST(Objects, FilesOfOneInstructionSetDefineNoMergeableSymbol) {
  int files = 0;
  for (const std::string& object :
       lines_of(output_of("find " STET_KERNEL_OBJECTS " -name '*cpu_avx*.o'"))) {
    const std::string nm = output_of("nm --defined-only " + object);
    ASSERT_NE(nm.find("stet"), std::string::npos) << nm;
    EXPECT_TRUE(mergeable(nm).empty()) << object << ": " << mergeable(nm).front();
    ++files;
  }
  EXPECT_GE(files, 7);
}

TEST(Objects, MergeableSymbolsAreRecognised) {
  EXPECT_EQ(mergeable("0000000000000000 W _ZNSt6vectorIfSaIfEE6resizeEm\n"
                      "0000000000000000 T _ZN4stet7kernels6avx5123addEPKfjPf\n"
                      "0000000000000000 u _ZN4stet1xE\n")
                .size(),
            2u);
}

}  // namespace
}  // namespace stet::kernels
