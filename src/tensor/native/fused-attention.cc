// Attention over the rows of a batch, whose tokens follow one another, and its gradient.
// `src/tensor/fused.ts` says what each operation computes and calls it.

#include "fused.h"

namespace tfnodejs {

namespace {

/** How many queries of a head form a block; a kernel computes TOGETHER of them at a time. */
constexpr int64_t BLOCK = 8;

/** An attention over the rows of a batch, whose tokens follow one another. */
struct AttentionShape {
  int64_t batch;
  int64_t heads;
  int64_t kv_heads;
  /** The number of features of a head. */
  int64_t width;
  float scale;
  bool causal;
  /** A query sees keys less than this many positions away; 0 for any distance. */
  int64_t window;
  /** Where the queries and the keys of each row start, then where the last ones end. (B + 1) */
  const int32_t *queries;
  const int32_t *keys;
  /** The position of each query among its row's keys. */
  const int32_t *places;
};

/** The kernels of one instruction set. attention-kernels.inc says what each computes. */
struct Kernels {
  void (*attend)(const AttentionShape &, const float *, const float *, const float *, float *,
                 float *);
  void (*attend_grad)(const AttentionShape &, const float *, const float *, const float *,
                      const float *, float *, float *, float *, float *);
};

#define KERNELS_FILE "attention-kernels.inc"
#include "instruction-sets.inc"

/** The attributes of an operation of attention. */
struct Attention {
  int64_t heads;
  int64_t kv_heads;
  float scale;
  TF_Bool causal;
  int64_t window;
};

void *NewAttention(TF_OpKernelConstruction *context) {
  const Status status(TF_NewStatus());
  auto own = std::make_unique<Attention>();
  const auto ok = [&] { return TF_GetCode(status.get()) == TF_OK; };
  TF_OpKernelConstruction_GetAttrInt64(context, "heads", &own->heads, status.get());
  if (ok()) TF_OpKernelConstruction_GetAttrInt64(context, "kv_heads", &own->kv_heads, status.get());
  if (ok()) TF_OpKernelConstruction_GetAttrFloat(context, "scale", &own->scale, status.get());
  if (ok()) TF_OpKernelConstruction_GetAttrBool(context, "causal", &own->causal, status.get());
  if (ok()) TF_OpKernelConstruction_GetAttrInt64(context, "window", &own->window, status.get());
  if (ok() && (own->heads < 1 || own->kv_heads < 1 || own->heads % own->kv_heads != 0))
    TF_SetStatus(status.get(), TF_INVALID_ARGUMENT,
                 "FusedAttention: heads is not a multiple of kv_heads");
  if (ok()) return own.release();
  TF_OpKernelConstruction_Failure(context, status.get());
  return nullptr;
}

/**
 * Takes the inputs that say where the tokens stand, and returns the shape. Sets `longest` to the
 * most keys or queries of a row. Fails the call if the inputs do not fit together.
 */
AttentionShape ShapeOf(const Attention &own, Call &call, const TF_Tensor *q, const TF_Tensor *k,
                       const TF_Tensor *v, int64_t *longest) {
  AttentionShape s = {};
  const TF_Tensor *queries = call.Take(), *keys = call.Take(), *places = call.Take();
  if (!call.ok()) return s;
  s.batch = Size(queries) - 1;
  s.heads = own.heads;
  s.kv_heads = own.kv_heads;
  s.width = Columns(q) / own.heads;
  s.scale = own.scale;
  s.causal = own.causal != 0;
  s.window = own.window;
  s.queries = Int32s(queries);
  s.keys = Int32s(keys);
  s.places = Int32s(places);
  if (Columns(q) != s.width * s.heads || Columns(k) != s.width * s.kv_heads ||
      Size(k) != Size(v) || Columns(v) != Columns(k) || Size(keys) != Size(queries) ||
      Size(places) != Rows(q) || !AreStarts(queries, Rows(q)) || !AreStarts(keys, Rows(k))) {
    call.Fail("FusedAttention: its inputs do not fit together");
    return s;
  }
  for (int64_t row = 0; row < s.batch; row++) {
    const int64_t n = s.keys[row + 1] - s.keys[row], t = s.queries[row + 1] - s.queries[row];
    if (n > *longest) *longest = n;
    if (t > *longest) *longest = t;
    for (int64_t i = s.queries[row]; i < s.queries[row + 1]; i++)
      if (s.places[i] < 0 || s.places[i] >= n) call.Fail("FusedAttention: a query has no key");
  }
  return s;
}

void ComputeAttention(void *own, TF_OpKernelContext *context) {
  Call call(context);
  const TF_Tensor *q = call.Take(), *k = call.Take(), *v = call.Take();
  int64_t longest = 0;
  const AttentionShape s =
      ShapeOf(*static_cast<Attention *>(own), call, q, k, v, &longest);
  float *mixed = call.Output(0, Call::Shape(q));
  if (!call.ok()) return;
  const int64_t wide = RoundUp(longest), width = RoundUp(s.width);
  float *scratch = Scratch(2 * wide * width + BLOCK * (wide + width));
  Chosen().attend(s, Floats(q), Floats(k), Floats(v), mixed, scratch);
}

void ComputeAttentionGrad(void *own, TF_OpKernelContext *context) {
  Call call(context);
  const TF_Tensor *dy = call.Take(), *q = call.Take(), *k = call.Take(), *v = call.Take();
  int64_t longest = 0;
  const AttentionShape s =
      ShapeOf(*static_cast<Attention *>(own), call, q, k, v, &longest);
  if (call.ok() && Size(dy) != Size(q)) call.Fail("FusedAttentionGrad: dy and q differ in size");
  float *dq = call.Output(0, Call::Shape(q)), *dk = call.Output(1, Call::Shape(k)),
        *dv = call.Output(2, Call::Shape(v));
  if (!call.ok()) return;
  const int64_t wide = RoundUp(longest), width = RoundUp(s.width);
  float *scratch = Scratch(7 * wide * width + BLOCK * (2 * wide + width));
  Chosen().attend_grad(s, Floats(dy), Floats(q), Floats(k), Floats(v), dq, dk, dv, scratch);
}

}  // namespace

std::vector<Definition> AttentionDefinitions() {
  const std::vector<const char *> attributes = {"heads: int", "kv_heads: int", "scale: float",
                                                "causal: bool", "window: int"};
  return {
      {"FusedAttention",
       {"q: float", "k: float", "v: float", "queries: int32", "keys: int32", "places: int32"},
       {"mixed: float"},
       attributes,
       ComputeAttention,
       NewAttention,
       Delete<Attention>},
      {"FusedAttentionGrad",
       {"dy: float", "q: float", "k: float", "v: float", "queries: int32", "keys: int32",
        "places: int32"},
       {"dq: float", "dk: float", "dv: float"},
       attributes,
       ComputeAttentionGrad,
       NewAttention,
       Delete<Attention>},
  };
}

}  // namespace tfnodejs
