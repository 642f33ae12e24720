// Matrix products, linear layers with and without a low-rank term, and the gradients of rows with
// their inner products. `src/tensor/products.ts` says what each operation computes and calls it.
//
// A factor is copied panel by panel into the order in which it is read, and with `bf16` rounded to
// bfloat16 on the way, unless it is a weight that FusedPack has put into that order already.
// Threads share the columns of a result, or where these are few its rows, so that its bits do not
// depend on their number.

#include <cstring>
#include <type_traits>
#include <utility>

#include "fused.h"

namespace tfnodejs {

namespace {

/** How many rows of a left factor, and how many summands, form a block: 400 kB at most. */
constexpr int64_t BLOCK_ROWS = 256, BLOCK_DEPTH = 384;
/** The most summands of a second product that is added while the first one is in registers. */
constexpr int64_t SHALLOW = 32;
/** The floats that one thread needs for its copies of the factors. */
constexpr int64_t COPIES = (BLOCK_ROWS + 2 * LANES) * (BLOCK_DEPTH + LANES) +
                           BLOCK_DEPTH * 2 * LANES + BLOCK_ROWS * (SHALLOW + LANES) +
                           SHALLOW * 2 * LANES;
/** The most columns, and the fewest summands, of a product that is computed as dot products. */
constexpr int64_t NARROW = 16, DEEP = 64;
/** The most columns for which tiles waste more of their vectors than they save. */
constexpr int64_t NARROWEST = 8;
/** The most floats of a right factor that stays in the first cache while it is read again. */
constexpr int64_t CLOSE = 8192;
/** The number of multiplications from which on it pays to wake another thread. */
constexpr int64_t WORTH_SHARING = 1 << 21;

constexpr int64_t Least(int64_t a, int64_t b) { return a < b ? a : b; }

/** One product of a sum: A·B, each of which may lie transposed in memory. */
struct Product {
  /** (rows, n), or (n, rows) where it is transposed; its rows in memory are a_row apart. */
  const float *a;
  int64_t a_row;
  bool a_transposed;
  /** (n, columns), or (columns, n) where it is transposed. */
  const float *b;
  int64_t b_row;
  bool b_transposed;
  int64_t n;
  /** Whether b is a packed factor, as `pack` or `pack_bf16` writes it. */
  bool b_packed = false;
};

/** Computes the columns from `from` to `end` of a sum of `count` products (MultiplyColumns). */
using Multiply = void (*)(const Product *products, int64_t count, int64_t rows, int64_t from,
                          int64_t end, const float *bias, float *c, int64_t c_row, float *scratch);

/** Computes the dot products of the rows of two matrices (Dots). */
using DotProducts = void (*)(const float *a, int64_t a_row, const float *b, int64_t b_row,
                             int64_t rows, int64_t columns, int64_t n, float *c);

/** The kernels of one instruction set (product-kernels.inc); null for those that it lacks. */
struct Kernels {
  int64_t panel;
  Multiply float32, bf16;
  void (*pack)(const Product &own, int64_t columns, float *to, int64_t to_row);
  void (*pack_bf16)(const Product &own, int64_t columns, float *to, int64_t to_row);
  DotProducts dots, dots_bf16;
  void (*gram)(const float *const *rows, int64_t n, int64_t from, int64_t end, float *c,
               int64_t c_row, float *scratch);
};

#define KERNELS_FILE "product-kernels.inc"
#include "instruction-sets.inc"

/** Whether a product with this number of columns is computed faster as dot products. */
bool IsNarrow(const Product &own, int64_t columns, bool bf16) {
  const Kernels &kernels = Chosen();
  if (own.a_transposed || own.b_packed || columns > NARROW || own.n < DEEP) return false;
  if ((bf16 ? kernels.dots_bf16 : kernels.dots) == nullptr) return false;
  if (columns <= NARROWEST) return true;
  // Tiles read a right factor as it lies only in float32, and where it is not transposed.
  const bool close = columns * own.n <= CLOSE;
  return bf16 ? close || own.b_transposed : close && own.b_transposed;
}

/** Writes the transpose of `rows` rows of `columns` entries, from_row apart. */
void Transpose(const float *from, int64_t from_row, int64_t rows, int64_t columns, float *to) {
  for (int64_t i = 0; i < rows; i++)
    for (int64_t j = 0; j < columns; j++) to[j * rows + i] = from[i * from_row + j];
}

/**
 * Calls `take` with the first row and the end of each part of `rows` rows; several parts run at a
 * time where it pays for this number of multiplications.
 */
template <class Take>
void ShareRows(int64_t rows, int64_t multiplications, const Take &take) {
  const int64_t parts = multiplications < WORTH_SHARING ? 1 : Least(Threads(), rows);
  InParallel(parts,
             [&](int64_t part) { take(part * rows / parts, (part + 1) * rows / parts); });
}

/** c = A·B where it is narrow: (rows, columns). */
void MultiplyNarrow(const Product &own, int64_t rows, int64_t columns, bool bf16, float *c) {
  const DotProducts dots = bf16 ? Chosen().dots_bf16 : Chosen().dots;
  const float *b = own.b;
  int64_t b_row = own.b_row;
  std::vector<float> transposed;
  if (!own.b_transposed) {
    transposed.resize(own.n * columns);
    Transpose(b, b_row, own.n, columns, transposed.data());
    b = transposed.data();
    b_row = own.n;
  }
  ShareRows(rows, rows * columns * own.n, [&](int64_t from, int64_t end) {
    dots(own.a + from * own.a_row, own.a_row, b, b_row, end - from, columns, own.n,
         c + from * columns);
  });
}

/** c = Σ A·B + bias, c: (rows, columns). The bias, (columns), may be null. */
void Sum(const std::vector<Product> &products, int64_t rows, int64_t columns, const float *bias,
         bool bf16, float *c) {
  int64_t depth = 0;
  for (const Product &product : products) depth += product.n;
  if (depth == 0)
    for (int64_t i = 0; i < rows * columns; i++) c[i] = bias == nullptr ? 0 : bias[i % columns];
  if (depth == 0 || rows == 0 || columns == 0) return;
  if (products.size() == 1 && bias == nullptr && IsNarrow(products[0], columns, bf16))
    return MultiplyNarrow(products[0], rows, columns, bf16, c);
  const Kernels &kernels = Chosen();
  const Multiply multiply = bf16 ? kernels.bf16 : kernels.float32;
  const int64_t panels = (columns + kernels.panel - 1) / kernels.panel,
                count = static_cast<int64_t>(products.size());
  if (panels < Threads())
    return ShareRows(rows, rows * columns * depth, [&](int64_t from, int64_t end) {
      std::vector<Product> part = products;
      for (Product &product : part)
        product.a += from * (product.a_transposed ? 1 : product.a_row);
      multiply(part.data(), count, end - from, 0, columns, bias, c + from * columns, columns,
               Scratch(COPIES));
    });
  const int64_t parts = rows * columns * depth < WORTH_SHARING ? 1 : Least(Threads(), panels);
  InParallel(parts, [&](int64_t part) {
    const int64_t from = part * panels / parts * kernels.panel,
                  end = (part + 1) * panels / parts * kernels.panel;
    multiply(products.data(), count, rows, from, end < columns ? end : columns, bias, c, columns,
             Scratch(COPIES));
  });
}

/** The attributes of products and layers; those that an operation lacks keep their defaults. */
struct ProductAttributes {
  TF_Bool transpose_a = 0, transpose_b = 0, bf16 = 0;
  /** Whether the weight is packed, as FusedPack returns it. */
  TF_Bool packed = 0;
  float scale = 1;
  TF_Bool of_x = 0, of_a = 0, of_b = 0;
};

/** Reads the attributes of the operation, each of which has the name of its field. */
template <bool transposes, bool packs, bool scales, bool differentiates>
void *NewProduct(TF_OpKernelConstruction *context) {
  const Status status(TF_NewStatus());
  auto own = std::make_unique<ProductAttributes>();
  const auto read = [&](const char *name, TF_Bool *to) {
    if (TF_GetCode(status.get()) == TF_OK)
      TF_OpKernelConstruction_GetAttrBool(context, name, to, status.get());
  };
  read("bf16", &own->bf16);
  if (transposes) {
    read("transpose_a", &own->transpose_a);
    read("transpose_b", &own->transpose_b);
  }
  if (packs) read("packed", &own->packed);
  if (differentiates) {
    read("of_x", &own->of_x);
    read("of_a", &own->of_a);
    read("of_b", &own->of_b);
  }
  if (scales && TF_GetCode(status.get()) == TF_OK)
    TF_OpKernelConstruction_GetAttrFloat(context, "scale", &own->scale, status.get());
  if (TF_GetCode(status.get()) == TF_OK && own->bf16 && Instructions() < kAvx512Bf16)
    TF_SetStatus(status.get(), TF_UNIMPLEMENTED,
                 "this processor has no instruction for products of bfloat16");
  if (TF_GetCode(status.get()) == TF_OK) return own.release();
  TF_OpKernelConstruction_Failure(context, status.get());
  return nullptr;
}

void ComputeProduct(void *attributes, TF_OpKernelContext *context) {
  const ProductAttributes &own = *static_cast<ProductAttributes *>(attributes);
  Call call(context);
  const TF_Tensor *a = call.Take(), *b = call.Take();
  if (!call.ok()) return;
  if (TF_NumDims(a) != 2 || TF_NumDims(b) != 2) return call.Fail("FusedProduct: not two matrices");
  const int64_t rows = own.transpose_a ? Columns(a) : TF_Dim(a, 0),
                n = own.transpose_a ? TF_Dim(a, 0) : Columns(a),
                columns = own.transpose_b ? TF_Dim(b, 0) : Columns(b);
  if (n != (own.transpose_b ? Columns(b) : TF_Dim(b, 0)))
    return call.Fail("FusedProduct: the matrices do not fit together");
  float *c = call.Output(0, {rows, columns});
  if (call.ok())
    Sum({{Floats(a), Columns(a), own.transpose_a != 0, Floats(b), Columns(b), own.transpose_b != 0,
          n}},
        rows, columns, nullptr, own.bf16 != 0, c);
}

/** The number of columns of the packed form of a factor with `columns` columns. */
int64_t PackedColumns(int64_t columns) {
  const int64_t panel = Chosen().panel;
  return (columns + panel - 1) / panel * panel;
}

/** The number of rows of a packed factor of `depth` summands; with bf16, an entry holds two. */
int64_t PackedRows(int64_t depth, bool bf16) { return bf16 ? (depth + 1) / 2 : depth; }

/**
 * Whether w has the shape of a weight, (m, n), or if it is packed, that of its packed form: for
 * n summands and m columns where it is read `transposed`, else for m summands and n columns.
 */
bool IsWeight(const ProductAttributes &own, const TF_Tensor *w, int64_t m, int64_t n,
              bool transposed) {
  if (!own.packed) return Rows(w) == m && Columns(w) == n;
  return Rows(w) == PackedRows(transposed ? n : m, own.bf16 != 0) &&
         Columns(w) == PackedColumns(transposed ? m : n);
}

/** x·wᵀ, as a part of a sum. */
Product OfWeight(const TF_Tensor *x, const TF_Tensor *w, bool packed = false) {
  return {Floats(x), Columns(x), false, Floats(w), Columns(w), true, Columns(x), packed};
}

void ComputePack(void *attributes, TF_OpKernelContext *context) {
  const ProductAttributes &own = *static_cast<ProductAttributes *>(attributes);
  const bool transposed = own.transpose_b != 0, bf16 = own.bf16 != 0;
  Call call(context);
  const TF_Tensor *w = call.Take();
  if (!call.ok()) return;
  const int64_t depth = transposed ? Columns(w) : Rows(w),
                columns = transposed ? Rows(w) : Columns(w), to_row = PackedColumns(columns);
  float *packed = call.Output(0, {PackedRows(depth, bf16), to_row});
  if (!call.ok()) return;
  const Product right = {nullptr, 0, false, Floats(w), Columns(w), transposed, depth};
  (bf16 ? Chosen().pack_bf16 : Chosen().pack)(right, columns, packed, to_row);
}

void ComputeLinear(void *attributes, TF_OpKernelContext *context) {
  const ProductAttributes &own = *static_cast<ProductAttributes *>(attributes);
  Call call(context);
  const TF_Tensor *x = call.Take(), *w = call.Take(), *bias = call.Take();
  if (!call.ok()) return;
  const int64_t m = Size(bias);
  if (!IsWeight(own, w, m, Columns(x), true))
    return call.Fail("FusedLinear: its inputs do not fit together");
  float *y = call.Output(0, {Rows(x), m});
  if (call.ok())
    Sum({OfWeight(x, w, own.packed != 0)}, Rows(x), m, Floats(bias), own.bf16 != 0, y);
}

void Scale(float *x, int64_t n, float by) {
  for (int64_t i = 0; by != 1 && i < n; i++) x[i] *= by;
}

/** The factors of a low-rank term scale·B·A: A, (r, n), and B, (m, r). */
struct Factors {
  const float *a, *b;
  int64_t r;
  float scale;
};

/** The input x, (S, n), and frozen weight w, (m, n) or packed, of a LoRA layer. */
struct Layer {
  const float *x, *w;
  int64_t S, n, m, w_row;
  bool packed, bf16;
};

/** The layer of these tensors. w: (m, n), unless it is packed. */
Layer LayerOf(const ProductAttributes &own, const TF_Tensor *x, const TF_Tensor *w, int64_t m) {
  return {Floats(x),  Floats(w),       Rows(x),        Columns(x), m,
          Columns(w), own.packed != 0, own.bf16 != 0};
}

/** y = x·wᵀ + down·Bᵀ + bias, down = scale·x·Aᵀ: (S, m) and (S, r). The bias may be null. */
void RunLora(const Layer &own, const Factors &low, const float *bias, float *y, float *down) {
  const auto [a, b, r, scale] = low;
  const int64_t n = own.n;
  Sum({{own.x, n, false, a, n, true, n}}, own.S, r, nullptr, own.bf16, down);
  Scale(down, own.S * r, scale);
  Sum({{own.x, n, false, own.w, own.w_row, true, n, own.packed}, {down, r, false, b, r, true, r}},
      own.S, own.m, bias, own.bf16, y);
}

/** The gradients of RunLora; one that is null is not computed. */
void RunLoraGrad(const Layer &own, const Factors &low, const float *dy, const float *down,
                 float *dx, float *da, float *db) {
  const auto [a, b, r, scale] = low;
  const int64_t S = own.S, n = own.n, m = own.m;
  std::vector<float> u(dx != nullptr || da != nullptr ? S * r : 0);
  if (!u.empty()) {
    Sum({{dy, m, false, b, r, false, m}}, S, r, nullptr, own.bf16, u.data());
    Scale(u.data(), S * r, scale);
  }
  if (dx != nullptr)
    Sum({{dy, m, false, own.w, own.w_row, false, m, own.packed},
         {u.data(), r, false, a, n, false, r}},
        S, n, nullptr, own.bf16, dx);
  if (da != nullptr) Sum({{u.data(), r, true, own.x, n, false, S}}, r, n, nullptr, own.bf16, da);
  if (db != nullptr && r > NARROWEST) {
    Sum({{dy, m, true, down, r, false, S}}, m, r, nullptr, own.bf16, db);
  } else if (db != nullptr) {
    // Its transpose has few rows, so that hardly a column of a panel is wasted.
    std::vector<float> transposed(r * m);
    Sum({{down, r, true, dy, m, false, S}}, r, m, nullptr, own.bf16, transposed.data());
    Transpose(transposed.data(), m, r, m, db);
  }
}

void ComputeLoraOf(const ProductAttributes &own, Call &call, bool biased) {
  const TF_Tensor *x = call.Take(), *w = call.Take(), *a = call.Take(), *b = call.Take(),
                  *bias = biased ? call.Take() : nullptr;
  if (!call.ok()) return;
  const int64_t S = Rows(x), n = Columns(x), m = Rows(b), r = Rows(a);
  if (!IsWeight(own, w, m, n, true) || Columns(a) != n || Columns(b) != r ||
      (biased && Size(bias) != m))
    return call.Fail("FusedLora: its inputs do not fit together");
  float *y = call.Output(0, {S, m}), *down = call.Output(1, {S, r});
  if (!call.ok()) return;
  RunLora(LayerOf(own, x, w, m), {Floats(a), Floats(b), r, own.scale},
          biased ? Floats(bias) : nullptr, y, down);
}

void ComputeLora(void *attributes, TF_OpKernelContext *context) {
  Call call(context);
  ComputeLoraOf(*static_cast<ProductAttributes *>(attributes), call, false);
}

void ComputeLoraBias(void *attributes, TF_OpKernelContext *context) {
  Call call(context);
  ComputeLoraOf(*static_cast<ProductAttributes *>(attributes), call, true);
}

/** Makes an output of (rows, columns); if it is not wanted, makes one of (0) and returns null. */
float *Wanted(Call &call, int output, TF_Bool wanted, int64_t rows, int64_t columns) {
  if (wanted) return call.Output(output, {rows, columns});
  call.Output(output, {0});
  return nullptr;
}

void ComputeLoraGrad(void *attributes, TF_OpKernelContext *context) {
  const ProductAttributes &own = *static_cast<ProductAttributes *>(attributes);
  Call call(context);
  const TF_Tensor *dy = call.Take(), *x = call.Take(), *w = call.Take(), *a = call.Take(),
                  *b = call.Take(), *down = call.Take();
  if (!call.ok()) return;
  const int64_t S = Rows(dy), n = Columns(x), m = Columns(dy), r = Rows(a);
  if (!IsWeight(own, w, m, n, false) || Rows(x) != S || Columns(a) != n || Rows(b) != m ||
      Columns(b) != r || Rows(down) != S || Columns(down) != r)
    return call.Fail("FusedLoraGrad: its inputs do not fit together");
  float *dx = Wanted(call, 0, own.of_x, S, n), *da = Wanted(call, 1, own.of_a, r, n),
        *db = Wanted(call, 2, own.of_b, m, r);
  if (!call.ok()) return;
  RunLoraGrad(LayerOf(own, x, w, m), {Floats(a), Floats(b), r, own.scale}, Floats(dy),
              Floats(down), dx, da, db);
}

/** The `count` ≥ 1 rows of `matrix` that `order` lists; in `copies` unless they are adjacent. */
const float *Gathered(const TF_Tensor *matrix, const int32_t *order, int64_t count,
                      std::vector<float> *copies) {
  const int64_t width = Columns(matrix);
  bool adjacent = true;
  for (int64_t i = 1; i < count; i++) adjacent = adjacent && order[i] == order[i - 1] + 1;
  if (adjacent) return Floats(matrix) + order[0] * width;
  copies->resize(count * width);
  for (int64_t i = 0; i < count; i++)
    std::memcpy(copies->data() + i * width, Floats(matrix) + order[i] * width,
                width * sizeof(float));
  return copies->data();
}

void ComputeRowGradients(void *, TF_OpKernelContext *context) {
  Call call(context);
  const TF_Tensor *a = call.Take(), *b = call.Take(), *order = call.Take(), *starts = call.Take();
  if (!call.ok()) return;
  const int64_t S = Rows(a), p = Columns(a), q = Columns(b), R = Size(starts) - 1;
  const int32_t *tokens = Int32s(order), *at = Int32s(starts);
  bool fits = Rows(b) == S && Size(order) == S && AreStarts(starts, S);
  for (int64_t t = 0; fits && t < S; t++) fits = tokens[t] >= 0 && tokens[t] < S;
  if (!fits) return call.Fail("FusedRowGradients: its inputs do not fit together");
  float *gradients = call.Output(0, {R, p * q});
  if (!call.ok()) return;
  // The rows are divided among the threads.
  const int64_t parts = S * p * q < WORTH_SHARING ? 1 : Least(Threads(), R);
  InParallel(parts, [&](int64_t part) {
    std::vector<float> of_a, of_b;
    for (int64_t r = part * R / parts; r < (part + 1) * R / parts; r++) {
      const int64_t T = at[r + 1] - at[r];
      float *own = gradients + r * p * q;
      if (T == 0) {
        std::memset(own, 0, p * q * sizeof(float));
        continue;
      }
      const Product product = {Gathered(a, tokens + at[r], T, &of_a), p, true,
                               Gathered(b, tokens + at[r], T, &of_b), q, false, T};
      Chosen().float32(&product, 1, p, 0, q, nullptr, own, q, Scratch(COPIES));
    }
  });
}

void ComputeGram(void *, TF_OpKernelContext *context) {
  Call call(context);
  std::vector<const float *> rows;
  int64_t n = -1;
  for (int i = 0; i < TF_NumInputs(context); i++) {
    const TF_Tensor *part = call.Take();
    if (!call.ok()) return;
    if (n >= 0 && Columns(part) != n) return call.Fail("FusedGram: its inputs differ in width");
    n = Columns(part);
    for (int64_t r = 0; r < Rows(part); r++) rows.push_back(Floats(part) + r * n);
  }
  const int64_t N = static_cast<int64_t>(rows.size());
  float *gram = call.Output(0, {N, N});
  if (!call.ok() || N == 0) return;
  if (n <= 0) {
    std::memset(gram, 0, N * N * sizeof(float));
    return;
  }
  // The last rows are the longest ones, so they are not left to one thread at the end.
  const int64_t parts = Threads() == 1 ? 1 : (N + BLOCK_ROWS - 1) / BLOCK_ROWS,
                height = (N + parts - 1) / parts;
  InParallel(parts, [&](int64_t part) {
    const int64_t from = (parts - 1 - part) * height;
    if (from < N)
      Chosen().gram(rows.data(), n, from, Least(from + height, N), gram, N, Scratch(COPIES));
  });
}

}  // namespace

std::vector<Definition> ProductDefinitions() {
  const auto destroy = Delete<ProductAttributes>;
  return {
      {"FusedProduct",
       {"a: float", "b: float"},
       {"c: float"},
       {"transpose_a: bool", "transpose_b: bool", "bf16: bool"},
       ComputeProduct,
       NewProduct<true, false, false, false>,
       destroy},
      {"FusedLinear",
       {"x: float", "w: float", "bias: float"},
       {"y: float"},
       {"bf16: bool", "frozen: bool", "packed: bool"},
       ComputeLinear,
       NewProduct<false, true, false, false>,
       destroy},
      {"FusedLora",
       {"x: float", "w: float", "a: float", "b: float"},
       {"y: float", "down: float"},
       {"scale: float", "bf16: bool", "frozen: bool", "packed: bool"},
       ComputeLora,
       NewProduct<false, true, true, false>,
       destroy},
      {"FusedLoraBias",
       {"x: float", "w: float", "a: float", "b: float", "bias: float"},
       {"y: float", "down: float"},
       {"scale: float", "bf16: bool", "frozen: bool", "packed: bool"},
       ComputeLoraBias,
       NewProduct<false, true, true, false>,
       destroy},
      {"FusedLoraGrad",
       {"dy: float", "x: float", "w: float", "a: float", "b: float", "down: float"},
       {"dx: float", "da: float", "db: float"},
       {"scale: float", "of_x: bool", "of_a: bool", "of_b: bool", "bf16: bool",
        "frozen: bool", "packed: bool"},
       ComputeLoraGrad,
       NewProduct<false, true, true, true>,
       destroy},
      {"FusedPack",
       {"w: float"},
       {"packed: float"},
       {"transpose_a: bool", "transpose_b: bool", "bf16: bool"},
       ComputePack,
       NewProduct<true, false, false, false>,
       destroy},
      {"FusedRowGradients",
       {"a: float", "b: float", "order: int32", "starts: int32"},
       {"gradients: float"},
       {},
       ComputeRowGradients},
      {"FusedGram", {"parts: N * float"}, {"gram: float"}, {"N: int >= 1"}, ComputeGram},
  };
}

}  // namespace tfnodejs
