// What the sources of the fused operations share: vectors, the call of an operation, its
// definition, and the choice of an instruction set.

#ifndef DOSIMETER_FUSED_H_
#define DOSIMETER_FUSED_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tensorflow/c/c_api.h"
// Without this, kernels.h includes a header that the wheel lacks, for a function not used here.
#define IS_SLIM_BUILD
#include "tensorflow/c/kernels.h"
#include "tensorflow/c/ops.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

// Vectors are passed between inlined functions only.
#pragma GCC diagnostic ignored "-Wpsabi"

/**
 * UNROLLED: the loop that follows is written out. It must have a constant number of turns, at most
 * 32. INDEPENDENT: none of its turns reads what another one writes, though pointers may be equal.
 */
#if defined(__clang__)
#define UNROLLED _Pragma("clang loop unroll(full)")
#define INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#else
#define UNROLLED _Pragma("GCC unroll 32")
#define INDEPENDENT _Pragma("GCC ivdep")
#endif

namespace tfnodejs {

typedef float Vector __attribute__((vector_size(64)));
typedef float Half __attribute__((vector_size(32)));
typedef float Quad __attribute__((vector_size(16)));
typedef int32_t Integers __attribute__((vector_size(64)));
typedef uint32_t Words __attribute__((vector_size(64)));
typedef int32_t FourIntegers __attribute__((vector_size(16)));

/** Four entries by their position in a (0 to 3) or b (4 to 7). */
#if defined(__clang__) || __GNUC__ >= 12
#define SHUFFLE(a, b, i, j, k, l) __builtin_shufflevector(a, b, i, j, k, l)
#else
#define SHUFFLE(a, b, i, j, k, l) __builtin_shuffle(a, b, FourIntegers{i, j, k, l})
#endif

constexpr int64_t LANES = 16;
constexpr Integers LANE = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

constexpr int64_t RoundUp(int64_t n) { return (n + LANES - 1) / LANES * LANES; }

/** The instruction sets that kernels are compiled for, each of which includes those before it. */
enum InstructionSet { kBaseline, kAvx2, kAvx512, kAvx512Bf16 };

/** The set that kernels use: the best of this processor, unless a test has chosen another. */
InstructionSet Instructions();

/** Makes kernels use a set. Returns false, and changes nothing, if this processor lacks it. */
bool ChooseInstructions(InstructionSet set);

/**
 * Calls `part` with 0 to `parts` − 1, on as many threads as TensorFlow's operations use; on the
 * calling thread alone while another call uses the others. Returns when all have returned.
 */
void InParallel(int64_t parts, const std::function<void(int64_t)> &part);

/** The number of threads that InParallel uses, with the calling one. */
int64_t Threads();

struct StatusDeleter {
  void operator()(TF_Status *status) const { TF_DeleteStatus(status); }
};

using Status = std::unique_ptr<TF_Status, StatusDeleter>;

/**
 * One call of an operation. After a failure, further inputs and outputs are null; the destructor
 * reports it to TensorFlow.
 */
class Call {
 public:
  explicit Call(TF_OpKernelContext *context) : context_(context), status_(TF_NewStatus()) {}

  ~Call() {
    for (TF_Tensor *tensor : tensors_) TF_DeleteTensor(tensor);
    if (!ok()) TF_OpKernelContext_Failure(context_, status_.get());
  }
  Call(const Call &) = delete;
  Call &operator=(const Call &) = delete;

  bool ok() const { return TF_GetCode(status_.get()) == TF_OK; }

  void Fail(const char *message) {
    if (ok()) TF_SetStatus(status_.get(), TF_INVALID_ARGUMENT, message);
  }

  /** Takes the next input, which stays valid until the call has ended. */
  const TF_Tensor *Take() {
    TF_Tensor *tensor = nullptr;
    if (ok()) TF_GetInput(context_, next_++, &tensor, status_.get());
    if (tensor != nullptr) tensors_.push_back(tensor);
    return ok() ? tensor : nullptr;
  }

  /**
   * An output with the shape of `like`, in the memory of the input with this index if nothing else
   * uses that any more.
   */
  float *InPlaceOf(int input, const TF_Tensor *like, int output) {
    const std::vector<int64_t> shape = Shape(like);
    if (!ok()) return nullptr;
    int forwarded = -1;
    return Data(TF_ForwardInputOrAllocateOutput(context_, &input, 1, output, shape.data(),
                                                static_cast<int>(shape.size()), &forwarded,
                                                status_.get()));
  }

  float *Output(int output, const std::vector<int64_t> &shape) {
    size_t bytes = sizeof(float);
    for (const int64_t extent : shape) bytes *= extent;
    if (!ok()) return nullptr;
    return Data(TF_AllocateOutput(context_, output, TF_FLOAT, shape.data(),
                                  static_cast<int>(shape.size()), bytes, status_.get()));
  }

  static std::vector<int64_t> Shape(const TF_Tensor *tensor) {
    std::vector<int64_t> shape;
    for (int i = 0; tensor != nullptr && i < TF_NumDims(tensor); i++)
      shape.push_back(TF_Dim(tensor, i));
    return shape;
  }

 private:
  float *Data(TF_Tensor *tensor) {
    if (tensor != nullptr) tensors_.push_back(tensor);
    return ok() && tensor != nullptr ? static_cast<float *>(TF_TensorData(tensor)) : nullptr;
  }

  TF_OpKernelContext *const context_;
  const Status status_;
  std::vector<TF_Tensor *> tensors_;
  int next_ = 0;
};

inline const float *Floats(const TF_Tensor *tensor) {
  return static_cast<const float *>(TF_TensorData(tensor));
}

inline const int32_t *Int32s(const TF_Tensor *tensor) {
  return static_cast<const int32_t *>(TF_TensorData(tensor));
}

inline int64_t Size(const TF_Tensor *tensor) { return TF_TensorElementCount(tensor); }

inline int64_t Columns(const TF_Tensor *tensor) {
  const int rank = TF_NumDims(tensor);
  return rank == 0 ? 1 : TF_Dim(tensor, rank - 1);
}

inline int64_t Rows(const TF_Tensor *tensor) {
  const int64_t columns = Columns(tensor);
  return columns == 0 ? 0 : Size(tensor) / columns;
}

/**
 * Whether `starts` says where each of adjacent parts of n rows starts, and then where the last one
 * ends: whether it ascends from 0 to n.
 */
inline bool AreStarts(const TF_Tensor *starts, int64_t n) {
  const int64_t parts = Size(starts) - 1;
  const int32_t *from = Int32s(starts);
  if (parts < 0 || from[0] != 0 || from[parts] != n) return false;
  for (int64_t i = 0; i < parts; i++)
    if (from[i + 1] < from[i]) return false;
  return true;
}

/**
 * Memory for at least this many floats of intermediate results. Each thread has its own, whose
 * content the next call may overwrite.
 */
inline float *Scratch(size_t floats) {
  thread_local std::unique_ptr<Vector[]> memory;
  thread_local size_t size = 0;
  const size_t vectors = (floats + LANES - 1) / LANES;
  if (vectors > size) {
    memory.reset();
    memory.reset(new Vector[vectors]);
    size = vectors;
  }
  return reinterpret_cast<float *>(memory.get());
}

template <class T>
void Delete(void *own) {
  delete static_cast<T *>(own);
}

/** An operation for TensorFlow: inputs, outputs and attributes in the words of its OpDefs. */
struct Definition {
  const char *name;
  std::vector<const char *> inputs, outputs, attributes;
  void (*compute)(void *, TF_OpKernelContext *);
  void *(*create)(TF_OpKernelConstruction *) = nullptr;
  void (*destroy)(void *) = nullptr;
};

/** The operations of fused-products.cc. */
std::vector<Definition> ProductDefinitions();

/** The operations of fused-attention.cc. */
std::vector<Definition> AttentionDefinitions();

}  // namespace tfnodejs

#endif  // DOSIMETER_FUSED_H_
