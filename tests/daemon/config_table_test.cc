// Every field of the schema: one row, a default that holds, and a refusal with the right position
// for whatever is wrong. Generated from descriptor and table, so that a new field is covered
// without a line here.
#include "src/daemon/config_table.h"

#include <gmock/gmock.h>
#include <google/protobuf/descriptor.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "src/daemon/config_assign.h"
#include "tests/daemon/testing.h"

namespace stet::daemon {
namespace {

using google::protobuf::FieldDescriptor;
using ::testing::HasSubstr;
using ::testing::StartsWith;
using testing::TempDir;

std::string with_index(std::string path) {
  const size_t at = path.find("[]");
  return at == std::string::npos ? path : path.insert(at + 1, "0");
}

// A file that sets one leaf, with the value in line 3, column 5 + name + 2.
std::string file_with(const std::string& path, const std::string& value) {
  const size_t dot = path.find('.');
  std::string group = path.substr(0, dot);
  group = group.substr(0, group.find('['));
  return "# a comment\n" + group + " {\n    " + path.substr(dot + 1) + ": " + value + "\n}\n";
}

std::vector<ConfigError> errors_for(const std::string& path, const std::string& value) {
  const TempDir dir;
  std::vector<ConfigError> errors =
      testing::load({"--config", dir.write("stetd.txtpb", file_with(path, value))}).errors;
  std::erase_if(errors,
                [](const ConfigError& error) { return error.code == ConfigErrorCode::kMissing; });
  return errors;
}

void expect_refused(const std::string& path, const std::string& value, ConfigErrorCode code) {
  const std::vector<ConfigError> errors = errors_for(path, value);
  ASSERT_EQ(errors.size(), 1u) << path << ": " << value;
  EXPECT_EQ(errors[0].code, code) << errors[0].to_string();
  EXPECT_EQ(errors[0].where.line, 3) << errors[0].to_string();
  const std::string leaf = path.substr(path.find('.') + 1);
  EXPECT_EQ(errors[0].where.column, static_cast<int>(5 + leaf.size() + 2)) << errors[0].to_string();
  EXPECT_THAT(errors[0].message, StartsWith(with_index(path) + " = "));
}

class EveryField : public ::testing::TestWithParam<std::string> {
 protected:
  const FieldRow& row() const { return *find_row(GetParam()); }
  const FieldDescriptor* leaf() const { return find_leaf(with_index(GetParam())); }
};
class EveryNumber : public EveryField {};

std::vector<std::string> number_paths() {
  std::vector<std::string> paths = config_leaf_paths();
  std::erase_if(paths, [](const std::string& path) {
    const FieldDescriptor::CppType type = find_leaf(with_index(path))->cpp_type();
    return type != FieldDescriptor::CPPTYPE_UINT32 && type != FieldDescriptor::CPPTYPE_UINT64;
  });
  return paths;
}

std::string test_name(const ::testing::TestParamInfo<std::string>& info) {
  std::string name = info.param;
  std::replace_if(
      name.begin(), name.end(), [](char c) { return !std::isalnum(static_cast<unsigned char>(c)); },
      '_');
  return name;
}

TEST_P(EveryField, HasOneRowAndADefaultThatIsItselfValid) {
  ASSERT_NE(find_row(GetParam()), nullptr);
  ASSERT_NE(leaf(), nullptr);
  EXPECT_EQ(std::count_if(field_rows().begin(), field_rows().end(),
                          [](const FieldRow& r) { return r.path == GetParam(); }),
            1);
  EXPECT_STRNE(row().doc, "");
  if (row().fallback != nullptr) {
    const auto& origins = testing::load({"--model", "x"}).config.origins;
    ASSERT_TRUE(origins.contains(with_index(GetParam())));
    EXPECT_EQ(origins.at(with_index(GetParam())).kind, Origin::Kind::kDefault);
  }
}

TEST_P(EveryField, RefusesAValueOfAnotherTypeAtItsPosition) {
  switch (leaf()->cpp_type()) {
    case FieldDescriptor::CPPTYPE_BOOL:
      expect_refused(GetParam(), "3", ConfigErrorCode::kWrongType);
      expect_refused(GetParam(), "\"true\"", ConfigErrorCode::kWrongType);
      break;
    case FieldDescriptor::CPPTYPE_STRING:
      expect_refused(GetParam(), "7", ConfigErrorCode::kWrongType);
      expect_refused(GetParam(), "name", ConfigErrorCode::kWrongType);
      expect_refused(GetParam(), R"("a\000b")", ConfigErrorCode::kWrongType);
      expect_refused(GetParam(), R"("\xff")", ConfigErrorCode::kWrongType);
      break;
    case FieldDescriptor::CPPTYPE_ENUM:
      expect_refused(GetParam(), "\"NONE\"", ConfigErrorCode::kWrongType);
      expect_refused(GetParam(), "NO_SUCH_NAME", ConfigErrorCode::kUnknownValue);
      expect_refused(GetParam(), leaf()->enum_type()->value(0)->name(),
                     ConfigErrorCode::kUnknownValue);
      break;
    default:
      expect_refused(GetParam(), "\"7\"", ConfigErrorCode::kWrongType);
      expect_refused(GetParam(), "many", ConfigErrorCode::kWrongType);
      expect_refused(GetParam(), "1.5", ConfigErrorCode::kWrongType);
  }
}

TEST_P(EveryNumber, RefusesNumbersOutsideItsRange) {
  expect_refused(GetParam(), "-1", ConfigErrorCode::kOutOfRange);
  expect_refused(GetParam(), "18446744073709551615", ConfigErrorCode::kOutOfRange);
  expect_refused(GetParam(), "99999999999999999999999", ConfigErrorCode::kOutOfRange);
  expect_refused(GetParam(), std::to_string(row().max + 1), ConfigErrorCode::kOutOfRange);
  if (row().min > 1 || (row().min == 1 && !row().zero_allowed)) {
    expect_refused(GetParam(), std::to_string(row().min - 1), ConfigErrorCode::kOutOfRange);
  }
  if (row().multiple_of > 1) {
    expect_refused(GetParam(), std::to_string(row().min + 1), ConfigErrorCode::kOutOfRange);
  }
}

// The negative control of the test above: both ends are taken.
TEST_P(EveryNumber, TakesBothEndsOfItsRange) {
  EXPECT_TRUE(errors_for(GetParam(), std::to_string(row().min)).empty());
  EXPECT_TRUE(errors_for(GetParam(), std::to_string(row().max)).empty());
  EXPECT_EQ(errors_for(GetParam(), "0").empty(), row().zero_allowed || row().min == 0);
  // No range is wider than the field that holds it.
  if (leaf()->cpp_type() == FieldDescriptor::CPPTYPE_UINT32) {
    EXPECT_LE(row().max, uint64_t{UINT32_MAX});
  }
}

TEST_P(EveryField, IsSetByFlagVariableAndFileAlike) {
  const std::string path = with_index(GetParam());
  const std::string value = row().fallback != nullptr ? row().fallback
                            : leaf()->cpp_type() == FieldDescriptor::CPPTYPE_ENUM
                                ? leaf()->enum_type()->value(1)->name()
                                : "some-text";
  const auto origin_of = [&](const CommandLine& line) {
    EXPECT_TRUE(line.config.origins.contains(path)) << path;
    return line.config.origins.contains(path) ? line.config.origins.at(path).kind
                                              : Origin::Kind::kDefault;
  };
  EXPECT_EQ(origin_of(testing::load({"--set", path + "=" + value})), Origin::Kind::kFlag);
  EXPECT_EQ(origin_of(testing::load({}, {{environment_name(path), value}})),
            Origin::Kind::kEnvironment);
  const bool is_text = leaf()->cpp_type() == FieldDescriptor::CPPTYPE_STRING;
  const TempDir dir;
  const std::string file =
      dir.write("c.txtpb", file_with(GetParam(), is_text ? "\"" + value + "\"" : value));
  const CommandLine from_file = testing::load({"--config", file});
  EXPECT_EQ(origin_of(from_file), Origin::Kind::kFile);
  EXPECT_EQ(from_file.config.origins.at(path).line, 3);
}

TEST_P(EveryField, IsNamedWhenAFlagOrVariableMissesItByOneLetter) {
  const std::string path = with_index(GetParam());
  const auto flag = testing::load({"--set", path + "x=1"}).errors;
  ASSERT_FALSE(flag.empty());
  EXPECT_EQ(flag[0].code, ConfigErrorCode::kUnknownField);
  EXPECT_THAT(flag[0].message, HasSubstr("did you mean '" + GetParam() + "'?"));
  const auto variable = testing::load({}, {{environment_name(path) + "X", "1"}}).errors;
  ASSERT_FALSE(variable.empty());
  EXPECT_EQ(variable[0].code, ConfigErrorCode::kUnknownField);
  EXPECT_THAT(variable[0].message, HasSubstr("did you mean '" + environment_name(path) + "'?"));
}

INSTANTIATE_TEST_SUITE_P(Config, EveryField, ::testing::ValuesIn(config_leaf_paths()), test_name);
INSTANTIATE_TEST_SUITE_P(Config, EveryNumber, ::testing::ValuesIn(number_paths()), test_name);

TEST(ConfigTable, HasNoRowThatTheSchemaLacks) {
  const std::vector<std::string> leaves = config_leaf_paths();
  EXPECT_EQ(field_rows().size(), leaves.size());
  for (const FieldRow& row : field_rows()) {
    EXPECT_NE(std::find(leaves.begin(), leaves.end(), row.path), leaves.end()) << row.path;
  }
}

TEST(ConfigTable, ShortFlagsNameLeavesThatExist) {
  for (const ShortFlag& flag : short_flags()) {
    EXPECT_NE(find_leaf(flag.path), nullptr) << flag.flag;
  }
}

TEST(ConfigTable, NearestNamesNothingWhenNothingIsNear) {
  const std::vector<std::string> names = {"kv.tokens", "log.level"};
  EXPECT_EQ(nearest("kv.token", names), "kv.tokens");
  EXPECT_EQ(nearest("weather", names), "");
}

}  // namespace
}  // namespace stet::daemon
