// Operations of TensorFlow's own kind that set-up adds to it, each of which replaces several by one
// pass over memory. `src/tensor/fused.ts` says what each computes and calls it.
//
// All are for processors and float32. Each kernel exists once for each instruction set below; the
// best one of the processor is chosen when the binding is loaded. They run on the thread that calls
// them, so their results do not depend on the number of threads.

#include "fused.h"

#include <mutex>

#include "tfjs_backend.h"
#include "utils.h"

namespace tfnodejs {

namespace {

/** e^{a²} erfc(a) / t as a polynomial in 1 − 2t, t = 1/(1 + a/2), the highest power first. */
constexpr int ERFCX_TERMS = 11;
constexpr float ERFCX[ERFCX_TERMS] = {
    3.0305926e-05f, 1.59866486e-05f, -0.000294548168f, -0.000408664258f,
    0.00153202761f, 0.00323543418f, -0.0107532218f, -0.0182205606f,
    0.139735922f, -0.343580365f, 0.510791361f};

/** Activations, by their numbers in src/tensor/fused.ts. */
enum ActivationKind { kGelu, kGeluTanh, kSilu, kActivations };

/** Constants of the GELU with tanh: 2√(2/π), and the factor of u³. */
constexpr float TANH_SCALE = 1.5957691216057308f, CUBIC = 0.044715f;

/** The kernels of one instruction set. fused-kernels.inc says what each computes. */
struct Kernels {
  /** By the kind of activation. */
  struct {
    void (*activate)(const float *, float *, int64_t);
    void (*activate_grad)(const float *, const float *, float *, int64_t);
    void (*gate)(const float *, const float *, int64_t, float *, int64_t, int64_t);
    void (*gate_grad)(const float *, const float *, const float *, int64_t, float *, float *,
                      int64_t, int64_t);
  } activations[kActivations];
  /** By whether the norm subtracts the mean. */
  struct {
    void (*norm)(const float *, const float *, const float *, const float *, float, float *,
                 float *, float *, int64_t, int64_t);
    void (*norm_grad)(const float *, const float *, const float *, const float *, float *, int64_t,
                      int64_t);
  } norms[2];
  void (*rotary)(const float *, const float *, const float *, bool, float *, int64_t, int64_t,
                 int64_t, int64_t);
  void (*add_bias)(const float *, const float *, const float *, float *, int64_t, int64_t);
  void (*adamw)(const float *, const float *, const float *, const float *, const float *, float *,
                float *, float *, int64_t);
  double (*cross_entropy)(const float *, int64_t, int64_t, float, float *);
};

#define KERNELS_FILE "fused-kernels.inc"
#include "instruction-sets.inc"

void *NewActivation(TF_OpKernelConstruction *context) {
  const Status status(TF_NewStatus());
  int64_t kind = 0;
  TF_OpKernelConstruction_GetAttrInt64(context, "kind", &kind, status.get());
  if (TF_GetCode(status.get()) == TF_OK && (kind < 0 || kind >= kActivations))
    TF_SetStatus(status.get(), TF_INVALID_ARGUMENT, "FusedActivation: there is no such kind");
  if (TF_GetCode(status.get()) == TF_OK) return new int64_t(kind);
  TF_OpKernelConstruction_Failure(context, status.get());
  return nullptr;
}

int64_t KindOf(const void *own) { return *static_cast<const int64_t *>(own); }

void ComputeActivation(void *own, TF_OpKernelContext *context) {
  Call call(context);
  const TF_Tensor *u = call.Take();
  // The gradient reads u again, so it is hardly ever free to be overwritten.
  float *y = call.Output(0, Call::Shape(u));
  if (call.ok()) Chosen().activations[KindOf(own)].activate(Floats(u), y, Size(u));
}

void ComputeActivationGrad(void *own, TF_OpKernelContext *context) {
  Call call(context);
  const TF_Tensor *dy = call.Take(), *u = call.Take();
  if (call.ok() && Size(dy) != Size(u)) call.Fail("FusedActivationGrad: dy and u differ in size");
  float *du = call.InPlaceOf(0, dy, 0);
  if (call.ok())
    Chosen().activations[KindOf(own)].activate_grad(Floats(dy), Floats(u), du, Size(u));
}

/**
 * A gate and what it multiplies: two tensors, or the halves of each row of one. `rows` rows of n
 * entries, `stride` apart.
 */
struct Gated {
  const TF_Tensor *gate, *up;
  int64_t stride, rows, n;
};

/** Takes gate and up: the inputs from number `from` on, two or one. */
Gated TakeGated(Call &call, TF_OpKernelContext *context, int from) {
  const bool halves = TF_NumInputs(context) == from + 1;
  Gated own = {};
  own.gate = call.Take();
  own.up = halves ? own.gate : call.Take();
  if (!call.ok()) return own;
  if (halves) {
    own.stride = Columns(own.gate), own.rows = Rows(own.gate), own.n = own.stride / 2;
    if (own.stride % 2 != 0) call.Fail("FusedGated: its rows have no halves");
  } else {
    own.stride = own.n = Size(own.gate), own.rows = 1;
    if (Size(own.up) != own.n) call.Fail("FusedGated: gate and up differ in size");
  }
  return own;
}

void ComputeGated(void *kind, TF_OpKernelContext *context) {
  Call call(context);
  const Gated own = TakeGated(call, context, 0);
  std::vector<int64_t> shape = Call::Shape(own.gate);
  const bool halves = own.gate == own.up;
  if (halves && !shape.empty()) shape.back() = own.n;
  float *y = call.Output(0, shape);
  if (call.ok())
    Chosen().activations[KindOf(kind)].gate(Floats(own.gate),
                                            Floats(own.up) + (halves ? own.n : 0), own.stride, y,
                                            own.rows, own.n);
}

void ComputeGatedGrad(void *kind, TF_OpKernelContext *context) {
  Call call(context);
  const TF_Tensor *dy = call.Take();
  const Gated own = TakeGated(call, context, 1);
  if (call.ok() && Size(dy) != own.rows * own.n) call.Fail("FusedGatedGrad: dy has another size");
  const bool halves = own.gate == own.up;
  const int64_t second = halves ? own.n : 0;
  float *dgate = call.InPlaceOf(halves ? 1 : 0, own.gate, 0),
        *dup = halves ? dgate : call.InPlaceOf(2, own.up, 1);
  if (call.ok())
    Chosen().activations[KindOf(kind)].gate_grad(Floats(dy), Floats(own.gate),
                                                 Floats(own.up) + second, own.stride, dgate,
                                                 dup + second, own.rows, own.n);
}

/** Sets `value` to a boolean attribute; to false if `status` holds an error. */
void ReadFlag(TF_OpKernelConstruction *context, const char *name, bool *value, TF_Status *status) {
  TF_Bool read = 0;
  if (TF_GetCode(status) == TF_OK)
    TF_OpKernelConstruction_GetAttrBool(context, name, &read, status);
  *value = read != 0;
}

/** The attributes of a norm and of its gradient. */
struct NormKind {
  /** Whether the norm subtracts the mean. */
  bool centred = false;
  /** Whether its scale is 1 + γ, not γ. */
  bool offset = false;
  /** Whether it adds a residual. The gradient has neither this attribute nor epsilon. */
  bool adds = false;
  float epsilon = 0;
};

void *NewNormKind(TF_OpKernelConstruction *context, bool forward) {
  const Status status(TF_NewStatus());
  auto own = std::make_unique<NormKind>();
  if (forward)
    TF_OpKernelConstruction_GetAttrFloat(context, "epsilon", &own->epsilon, status.get());
  if (forward) ReadFlag(context, "adds", &own->adds, status.get());
  ReadFlag(context, "centred", &own->centred, status.get());
  ReadFlag(context, "offset", &own->offset, status.get());
  if (TF_GetCode(status.get()) == TF_OK) return own.release();
  TF_OpKernelConstruction_Failure(context, status.get());
  return nullptr;
}

void *NewNorm(TF_OpKernelConstruction *context) { return NewNormKind(context, true); }

void *NewNormGrad(TF_OpKernelConstruction *context) { return NewNormKind(context, false); }

/** What a norm multiplies by: γ, or 1 + γ in this thread's scratch memory. */
const float *ScaleOf(const NormKind &own, const TF_Tensor *gamma) {
  const int64_t n = Size(gamma);
  if (!own.offset) return Floats(gamma);
  float *scale = Scratch(n);
  for (int64_t i = 0; i < n; i++) scale[i] = 1.0f + Floats(gamma)[i];
  return scale;
}

void ComputeNorm(void *kind, TF_OpKernelContext *context) {
  Call call(context);
  const NormKind &own = *static_cast<NormKind *>(kind);
  const bool shifts = TF_NumInputs(context) > (own.adds ? 3 : 2);
  const TF_Tensor *x = call.Take(), *residual = own.adds ? call.Take() : nullptr,
                  *gamma = call.Take(), *beta = shifts ? call.Take() : nullptr;
  if (call.ok() && ((own.adds && Size(residual) != Size(x)) || Size(gamma) != Columns(x) ||
                    (shifts && Size(beta) != Columns(x))))
    call.Fail("FusedNorm: its inputs do not have the size of x and of its rows");
  std::vector<int64_t> shape = Call::Shape(x);
  float *y = call.Output(0, shape), *normed = call.Output(1, shape);
  if (!shape.empty()) shape.back() = 1;
  float *inverse = call.Output(2, shape);
  if (call.ok())
    Chosen().norms[own.centred].norm(Floats(x), own.adds ? Floats(residual) : nullptr,
                                     ScaleOf(own, gamma), shifts ? Floats(beta) : nullptr,
                                     own.epsilon, y, normed, inverse, Rows(x), Columns(x));
}

void ComputeNormGrad(void *kind, TF_OpKernelContext *context) {
  Call call(context);
  const NormKind &own = *static_cast<NormKind *>(kind);
  const TF_Tensor *dy = call.Take(), *normed = call.Take(), *inverse = call.Take(),
                  *gamma = call.Take();
  if (call.ok() && (Size(normed) != Size(dy) || Size(inverse) != Rows(dy) ||
                    Size(gamma) != Columns(dy)))
    call.Fail("FusedNormGrad: its inputs do not have the size of dy and of its rows");
  float *dz = call.InPlaceOf(0, dy, 0);
  if (call.ok())
    Chosen().norms[own.centred].norm_grad(Floats(dy), Floats(normed), Floats(inverse),
                                          ScaleOf(own, gamma), dz, Rows(dy), Columns(dy));
}

/** The attributes of rotary position embeddings. */
struct RotaryKind {
  int64_t heads = 0;
  /** Whether to rotate backwards, as the gradient does. */
  bool back = false;
};

void *NewRotary(TF_OpKernelConstruction *context) {
  const Status status(TF_NewStatus());
  auto own = std::make_unique<RotaryKind>();
  TF_OpKernelConstruction_GetAttrInt64(context, "heads", &own->heads, status.get());
  ReadFlag(context, "back", &own->back, status.get());
  if (TF_GetCode(status.get()) == TF_OK) return own.release();
  TF_OpKernelConstruction_Failure(context, status.get());
  return nullptr;
}

void ComputeRotary(void *kind, TF_OpKernelContext *context) {
  Call call(context);
  const RotaryKind &own = *static_cast<RotaryKind *>(kind);
  const TF_Tensor *x = call.Take(), *cos = call.Take(), *sin = call.Take();
  if (!call.ok()) return;
  const int64_t d = Columns(x) / own.heads, half = Columns(cos);
  if (Columns(x) != d * own.heads || 2 * half > d || Rows(cos) != Rows(x) ||
      Size(sin) != Size(cos))
    return call.Fail("FusedRotary: its inputs do not fit together");
  float *y = call.InPlaceOf(0, x, 0);
  if (call.ok())
    Chosen().rotary(Floats(x), Floats(cos), Floats(sin), own.back, y, Rows(x), own.heads, d, half);
}

void RunAddBias(Call &call, bool both) {
  const TF_Tensor *a = call.Take(), *b = both ? call.Take() : nullptr, *bias = call.Take();
  if (call.ok() && (Size(bias) != Columns(a) || (both && Size(b) != Size(a))))
    call.Fail("FusedAddBias: its inputs do not have the size of a and of its rows");
  float *y = call.InPlaceOf(0, a, 0);
  if (call.ok())
    Chosen().add_bias(Floats(a), both ? Floats(b) : nullptr, Floats(bias), y, Rows(a), Columns(a));
}

void ComputeAddBias(void *, TF_OpKernelContext *context) {
  Call call(context);
  RunAddBias(call, false);
}

void ComputeAddBoth(void *, TF_OpKernelContext *context) {
  Call call(context);
  RunAddBias(call, true);
}

/** How many inputs each parameter has (p, g, m, v), and how many constants. */
constexpr int PARTS = 4, CONSTANTS = 8;

void ComputeAdamW(void *, TF_OpKernelContext *context) {
  Call call(context);
  const int count = (TF_NumInputs(context) - 1) / PARTS;
  std::vector<const TF_Tensor *> parts;
  for (int i = 0; i < count * PARTS; i++) parts.push_back(call.Take());
  const TF_Tensor *constants = call.Take();
  if (!call.ok()) return;
  bool fit = Size(constants) == count * CONSTANTS;
  for (int i = 0; i < count * PARTS; i++)
    fit = fit && Size(parts[i]) == Size(parts[i - i % PARTS]);
  if (!fit) return call.Fail("FusedAdamW: its inputs do not have the size of p");
  for (int k = 0; k < count; k++) {
    const TF_Tensor *const *own = parts.data() + k * PARTS;
    float *p1 = call.InPlaceOf(PARTS * k, own[0], 3 * k),
          *m1 = call.InPlaceOf(PARTS * k + 2, own[2], 3 * k + 1),
          *v1 = call.InPlaceOf(PARTS * k + 3, own[3], 3 * k + 2);
    if (!call.ok()) return;
    Chosen().adamw(Floats(own[0]), Floats(own[1]), Floats(own[2]), Floats(own[3]),
                   Floats(constants) + k * CONSTANTS, p1, m1, v1, Size(own[0]));
  }
}

void ComputeCrossEntropy(void *, TF_OpKernelContext *context) {
  Call call(context);
  const TF_Tensor *logits = call.Take(), *labels = call.Take(), *weights = call.Take();
  if (!call.ok()) return;
  const int64_t rows = Rows(logits), n = Columns(logits);
  const int32_t *own = Int32s(labels);
  bool fit = Size(labels) == rows && Size(weights) == rows;
  for (int64_t row = 0; fit && row < rows; row++) fit = own[row] >= 0 && own[row] < n;
  if (!fit) return call.Fail("FusedCrossEntropy: its inputs do not fit together");
  float *total = call.Output(0, {}), *gradient = call.Output(1, {rows, n});
  if (!call.ok()) return;
  double loss = 0;
  for (int64_t row = 0; row < rows; row++)
    loss += Chosen().cross_entropy(Floats(logits) + row * n, n, own[row], Floats(weights)[row],
                                   gradient + row * n);
  *total = static_cast<float>(loss);
}

void NoShape(TF_ShapeInferenceContext *context, TF_Status *status) {
  TF_ShapeInferenceContextSetUnknownShape(context, status);
}

std::vector<Definition> Definitions() {
  return {
      {"FusedActivation",
       {"u: float"},
       {"y: float"},
       {"kind: int"},
       ComputeActivation,
       NewActivation,
       Delete<int64_t>},
      {"FusedActivationGrad",
       {"dy: float", "u: float"},
       {"du: float"},
       {"kind: int"},
       ComputeActivationGrad,
       NewActivation,
       Delete<int64_t>},
      // `parts`: gate and up, or one tensor whose rows hold both.
      {"FusedGated",
       {"parts: N * float"},
       {"y: float"},
       {"N: int >= 1", "kind: int"},
       ComputeGated,
       NewActivation,
       Delete<int64_t>},
      {"FusedGatedGrad",
       {"dy: float", "parts: N * float"},
       {"gradients: N * float"},
       {"N: int >= 1", "kind: int"},
       ComputeGatedGrad,
       NewActivation,
       Delete<int64_t>},
      // `others`: the residual where the norm adds one, γ, and β where it has one.
      {"FusedNorm",
       {"x: float", "others: N * float"},
       {"y: float", "normed: float", "inverse: float"},
       {"N: int >= 1", "epsilon: float", "adds: bool", "centred: bool", "offset: bool"},
       ComputeNorm,
       NewNorm,
       Delete<NormKind>},
      {"FusedNormGrad",
       {"dy: float", "normed: float", "inverse: float", "gamma: float"},
       {"dz: float"},
       {"centred: bool", "offset: bool"},
       ComputeNormGrad,
       NewNormGrad,
       Delete<NormKind>},
      {"FusedRotary",
       {"x: float", "cos: float", "sin: float"},
       {"y: float"},
       {"heads: int >= 1", "back: bool"},
       ComputeRotary,
       NewRotary,
       Delete<RotaryKind>},
      {"FusedAddBias", {"a: float", "bias: float"}, {"y: float"}, {}, ComputeAddBias},
      {"FusedAddBoth", {"a: float", "b: float", "bias: float"}, {"y: float"}, {}, ComputeAddBoth},
      {"FusedAdamW",
       {"parts: N * float", "constants: float"},
       {"updated: M * float"},
       {"N: int >= 4", "M: int >= 3"},
       ComputeAdamW},
      {"FusedCrossEntropy",
       {"logits: float", "labels: int32", "weights: float"},
       {"loss: float", "gradient: float"},
       {},
       ComputeCrossEntropy},
  };
}

/** Registers an operation and its kernel. Returns TensorFlow's error; empty if there is none. */
std::string Register(const Definition &own) {
  const Status status(TF_NewStatus());
  TF_OpDefinitionBuilder *definition = TF_NewOpDefinitionBuilder(own.name);
  for (const char *input : own.inputs) TF_OpDefinitionBuilderAddInput(definition, input);
  for (const char *output : own.outputs) TF_OpDefinitionBuilderAddOutput(definition, output);
  for (const char *attribute : own.attributes) TF_OpDefinitionBuilderAddAttr(definition, attribute);
  TF_OpDefinitionBuilderSetShapeInferenceFunction(definition, NoShape);
  TF_RegisterOpDefinition(definition, status.get());
  if (TF_GetCode(status.get()) == TF_OK)
    TF_RegisterKernelBuilder(
        own.name, TF_NewKernelBuilder(own.name, "CPU", own.create, own.compute, own.destroy),
        status.get());
  return TF_GetCode(status.get()) == TF_OK ? "" : TF_Message(status.get());
}

}  // namespace

namespace {

constexpr const char *INSTRUCTION_SETS[] = {"baseline", "avx2", "avx512", "avx512_bf16"};

/** useInstructions(name): makes kernels use an instruction set; false if the processor lacks it. */
napi_value UseInstructions(napi_env env, napi_callback_info info) {
  size_t argc = 1;
  napi_value argument = nullptr, result = nullptr;
  ENSURE_NAPI_OK_RETVAL(env, napi_get_cb_info(env, info, &argc, &argument, nullptr, nullptr),
                        nullptr);
  std::string name;
  if (GetStringParam(env, argument, name) != napi_ok) return nullptr;
  bool chosen = false;
  for (int i = kBaseline; i <= kAvx512Bf16; i++)
    if (name == INSTRUCTION_SETS[i]) chosen = ChooseInstructions(static_cast<InstructionSet>(i));
  ENSURE_NAPI_OK_RETVAL(env, napi_get_boolean(env, chosen, &result), nullptr);
  return result;
}

}  // namespace

/**
 * Adds the operations to TensorFlow, once for the process. `exports.fused` says which instruction
 * set their kernels use.
 */
void DefineFusedOperations(napi_env env, napi_value exports) {
  static std::once_flag once;
  static std::string fault;
  std::call_once(once, [] {
    for (const std::vector<Definition> &definitions :
         {Definitions(), AttentionDefinitions(), ProductDefinitions()})
      for (const Definition &definition : definitions)
        if (fault.empty()) fault = Register(definition);
  });
  if (!fault.empty()) {
    NAPI_THROW_ERROR(env, fault.c_str());
    return;
  }
  napi_value fused = nullptr;
  ENSURE_NAPI_OK(env, napi_create_string_utf8(env, INSTRUCTION_SETS[Instructions()],
                                              NAPI_AUTO_LENGTH, &fused));
  ENSURE_NAPI_OK(env, napi_set_named_property(env, exports, "fused", fused));
  const napi_property_descriptor property = {"useInstructions", nullptr, UseInstructions, nullptr,
                                             nullptr, nullptr, napi_default, nullptr};
  ENSURE_NAPI_OK(env, napi_define_properties(env, exports, 1, &property));
}

}  // namespace tfnodejs
