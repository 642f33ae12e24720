// Calls every fused operation with every instruction set of this processor, on shapes around those
// of vectors, tiles and blocks, and with each of its inputs cut short. Its exit status is 0 unless
// an operation refuses what it should take; a sanitizer ends it at what it finds.

#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>

#include "fused.h"

void Fetched(const void *at) {
  if (!__asan_address_is_poisoned(at)) return;
  std::fprintf(stderr, "%p, which is fetched, lies outside of what there is\n", at);
  __sanitizer_print_stack_trace();
  std::abort();
}

namespace tfnodejs {

void DefineFusedOperations(napi_env env, napi_value exports);

}  // namespace tfnodejs

namespace {

std::map<std::string, TF_KernelBuilder> kernels;

using Attributes = std::map<std::string, double>;
using Shape = std::vector<int64_t>;
using Tensors = std::vector<TF_Tensor>;

/** Numbers from −2 to 2, and between them some that formulas must survive. */
TF_Tensor Floats(const Shape &shape) {
  static const float infinity = std::numeric_limits<float>::infinity(),
                     unusual[] = {NAN, infinity, -infinity, 0, -1e7f, 1e7f, 4500, 1e-40f};
  static uint32_t state = 1;
  const TF_Tensor made(shape);
  for (int64_t i = 0; i < made.size; i++) {
    state = state * 1664525 + 1013904223;
    made.data[i] = state >> 24 == 0 ? unusual[state >> 21 & 7]
                                    : static_cast<float>(state >> 8) / (1 << 22) - 2;
  }
  return made;
}

TF_Tensor Int32s(const std::vector<int32_t> &values) {
  const TF_Tensor made({static_cast<int64_t>(values.size())});
  std::copy(values.begin(), values.end(), reinterpret_cast<int32_t *>(made.data.get()));
  return made;
}

/** A copy in memory of its own, whose last extent is one less. */
TF_Tensor Shortened(const TF_Tensor &own) {
  Shape shape = own.shape;
  if (!shape.empty() && shape.back() > 0) shape.back()--;
  const TF_Tensor made(shape);
  std::copy(own.data.get(), own.data.get() + made.size, made.data.get());
  return made;
}

/** Returns the outputs; none after a failure. */
std::map<int, TF_Tensor> Compute(const char *name, const Attributes &attributes,
                                 const Tensors &inputs, bool forwards, std::string *failure) {
  const TF_KernelBuilder &kernel = kernels.at(name);
  TF_OpKernelConstruction construction{attributes, {}};
  void *own = kernel.create == nullptr ? nullptr : kernel.create(&construction);
  TF_OpKernelContext context{inputs, forwards, {}, {}};
  if (construction.failure.code == TF_OK) kernel.compute(own, &context);
  if (own != nullptr && kernel.destroy != nullptr) kernel.destroy(own);
  *failure = construction.failure.message + context.failure.message;
  return context.outputs;
}

/** Returns the outputs of an operation that must not fail. */
std::map<int, TF_Tensor> Run(const char *name, const Attributes &attributes,
                             const Tensors &inputs) {
  std::string failure;
  for (size_t i = 0; i < inputs.size(); i++) {
    Tensors shortened = inputs;
    shortened[i] = Shortened(inputs[i]);
    Compute(name, attributes, shortened, false, &failure);
  }
  const auto outputs = Compute(name, attributes, inputs, false, &failure);
  if (failure.empty()) {
    Tensors copies;
    for (const TF_Tensor &input : inputs) {
      copies.emplace_back(input.shape);
      std::copy(input.data.get(), input.data.get() + input.size, copies.back().data.get());
    }
    Compute(name, attributes, copies, true, &failure);
  }
  if (failure.empty() && !outputs.empty()) return outputs;
  std::fprintf(stderr, "%s: %s\n", name, failure.c_str());
  std::exit(1);
}

void Elementwise() {
  for (const int64_t n : {1, 15, 16, 33, 3000})
    for (const double kind : {0, 1, 2}) {
      const Attributes of_kind = {{"kind", kind}};
      const Shape shape = {n}, halves = {3, 2 * n};
      Run("FusedActivation", of_kind, {Floats(shape)});
      Run("FusedActivationGrad", of_kind, {Floats(shape), Floats(shape)});
      Run("FusedGated", of_kind, {Floats(shape), Floats(shape)});
      Run("FusedGated", of_kind, {Floats(halves)});
      Run("FusedGatedGrad", of_kind, {Floats(shape), Floats(shape), Floats(shape)});
      Run("FusedGatedGrad", of_kind, {Floats({3, n}), Floats(halves)});
    }
}

void Rows() {
  for (const int64_t n : {1, 15, 16, 17, 50}) {
    const Shape rows = {3, n};
    for (int bits = 0; bits < 16; bits++) {
      const bool adds = bits & 1, shifts = bits & 2;
      const Attributes kind = {{"adds", adds}, {"centred", (bits & 4) != 0},
                               {"offset", (bits & 8) != 0}, {"epsilon", 1e-5}};
      Tensors inputs = {Floats(rows)};
      if (adds) inputs.push_back(Floats(rows));
      inputs.push_back(Floats({n}));
      if (shifts) inputs.push_back(Floats({n}));
      auto made = Run("FusedNorm", kind, inputs);
      Run("FusedNormGrad", kind, {Floats(rows), made.at(1), made.at(2), Floats({n})});
    }
    Run("FusedAddBias", {}, {Floats(rows), Floats({n})});
    Run("FusedAddBoth", {}, {Floats(rows), Floats(rows), Floats({n})});
    Run("FusedAdamW", {}, {Floats(rows), Floats(rows), Floats(rows), Floats(rows), Floats({n}),
                           Floats({n}), Floats({n}), Floats({n}), Floats({16})});
    for (const double back : {0, 1})
      Run("FusedRotary", {{"heads", 2}, {"back", back}},
          {Floats({3, 2 * (2 * n + 1)}), Floats({3, n}), Floats({3, n})});
    const auto last = static_cast<int32_t>(n - 1);
    Run("FusedCrossEntropy", {}, {Floats(rows), Int32s({0, last, 0}), Floats({3})});
  }
}

void Attention() {
  for (const int64_t d : {1, 16, 19})
    for (const int64_t heads : {1, 4})
      for (const double causal : {0, 1})
        for (const double window : {0, 3}) {
          const int64_t kv_heads = heads > 1 ? 2 : 1;
          const Attributes kind = {{"heads", heads}, {"kv_heads", kv_heads}, {"scale", .5},
                                   {"causal", causal}, {"window", window}};
          // Rows of one and of nine queries, and one without any.
          const Tensors tokens = {Int32s({0, 1, 1, 10}), Int32s({0, 17, 17, 26}),
                                  Int32s({16, 0, 1, 2, 3, 4, 5, 6, 7, 8})};
          Tensors inputs = {Floats({10, heads * d}), Floats({26, kv_heads * d}),
                            Floats({26, kv_heads * d})};
          inputs.insert(inputs.end(), tokens.begin(), tokens.end());
          Run("FusedAttention", kind, inputs);
          inputs.insert(inputs.begin(), Floats({10, heads * d}));
          Run("FusedAttentionGrad", kind, inputs);
        }
}

void LowRank(Attributes kind, int64_t S, int64_t n, int64_t m, int64_t r) {
  const bool packed = kind.at("packed") != 0;
  const TF_Tensor x = Floats({S, n}), w = Floats({m, n}), dy = Floats({S, m}), bias = Floats({m}),
                  a = Floats({r, n}), b = Floats({m, r});
  TF_Tensor forward = w, back = w;
  for (const bool transposed : {false, true}) {
    kind["transpose_a"] = 0;
    kind["transpose_b"] = transposed;
    TF_Tensor made = Run("FusedPack", kind, {w}).at(0);
    if (packed) (transposed ? forward : back) = made;
  }
  kind["scale"] = 1.5;
  Run("FusedLinear", kind, {x, forward, bias});
  const TF_Tensor down = Run("FusedLora", kind, {x, forward, a, b}).at(1);
  Run("FusedLoraBias", kind, {x, forward, a, b, bias});
  for (const int bits : {1, 6}) {
    kind["of_x"] = bits & 1, kind["of_a"] = bits & 2, kind["of_b"] = bits & 4;
    Run("FusedLoraGrad", kind, {dy, x, back, a, b, down});
  }
}

void Products(bool bf16) {
  const int64_t sizes[][3] = {{1, 1, 1},    {3, 15, 17},  {14, 385, 33}, {29, 16, 100},
                              {257, 33, 8}, {5, 512, 16}, {15, 800, 31}};
  for (const auto &[rows, n, columns] : sizes) {
    for (int bits = 0; bits < 4; bits++) {
      const bool of_a = bits & 1, of_b = bits & 2;
      Run("FusedProduct", {{"transpose_a", of_a}, {"transpose_b", of_b}, {"bf16", bf16}},
          {Floats(of_a ? Shape{n, rows} : Shape{rows, n}),
           Floats(of_b ? Shape{columns, n} : Shape{n, columns})});
    }
    for (const double packed : {0, 1})
      LowRank({{"bf16", bf16}, {"packed", packed}}, rows, n, columns, rows % 2 == 0 ? 9 : 3);
  }
  // Enough to be shared among threads: the columns, and the rows of few columns.
  Run("FusedProduct", {{"transpose_a", 0}, {"transpose_b", 1}, {"bf16", bf16}},
      {Floats({31, 400}), Floats({200, 400})});
  Run("FusedProduct", {{"transpose_a", 0}, {"transpose_b", 0}, {"bf16", bf16}},
      {Floats({521, 400}), Floats({400, 17})});
}

void Gradients() {
  Run("FusedRowGradients", {},
      {Floats({7, 33}), Floats({7, 17}), Int32s({0, 1, 2, 6, 3, 5, 4}), Int32s({0, 3, 3, 7})});
  // Several blocks of rows and of summands, in one tensor and in two.
  for (const int64_t N : {1, 13, 33, 257, 300})
    for (const int64_t n : {1, 17, 400}) {
      Run("FusedGram", {}, {Floats({N, n})});
      Run("FusedGram", {}, {Floats({N / 2, n}), Floats({N - N / 2, n})});
    }
}

}  // namespace

void TF_RegisterKernelBuilder(const char *name, const TF_KernelBuilder &kernel, TF_Status *) {
  kernels[name] = kernel;
}

int main() {
  using namespace tfnodejs;
  DefineFusedOperations(nullptr, nullptr);
  for (int set = kBaseline; set <= kAvx512Bf16; set++) {
    if (!ChooseInstructions(static_cast<InstructionSet>(set))) continue;
    Elementwise();
    Rows();
    Attention();
    Products(set == kAvx512Bf16);
    Gradients();
  }
}
