// The definition once more, for hosts with FMA but without AVX-512: same code, same bits, fma in
// one instruction.
#include "kernels/dispatch/reference_table.h"
#include "kernels/dispatch/tables.h"

namespace stet::kernels {

constinit const KernelTable kAvx2Table = reference::make_table("avx2");

}  // namespace stet::kernels
