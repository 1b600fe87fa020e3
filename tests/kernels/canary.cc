// Compiled with the project's flags and disassembled by a test (C4): a*b+c must stay a
// multiplication and an addition even where the instruction set has fma. Built with -mfma.
float stet_canary(float a, float b, float c);
float stet_canary(float a, float b, float c) {
  return a * b + c;
}
