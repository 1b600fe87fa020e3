// The definition of every operation, for any x86-64-v2 host.
#include "kernels/dispatch/reference_table.h"
#include "kernels/dispatch/tables.h"

namespace stet::kernels {

constinit const KernelTable kScalarTable = reference::make_table("scalar");

}  // namespace stet::kernels
