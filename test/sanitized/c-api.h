// As much of TensorFlow's C API and of Node's as the fused operations call, for programs without
// either. Each tensor has a block of memory of exactly its size, which a sanitizer watches.

#ifndef DOSIMETER_C_API_H_
#define DOSIMETER_C_API_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

/** Ends the program unless `at` may be read: what lies elsewhere is fetched in vain. */
void Fetched(const void *at);
#define __builtin_prefetch(at, ...) Fetched(at)

using TF_Bool = unsigned char;
enum TF_Code { TF_OK, TF_INVALID_ARGUMENT, TF_UNIMPLEMENTED };
enum TF_DataType { TF_FLOAT };

struct TF_Status {
  TF_Code code = TF_OK;
  std::string message;
};

inline TF_Status *TF_NewStatus() { return new TF_Status; }
inline void TF_DeleteStatus(TF_Status *status) { delete status; }
inline TF_Code TF_GetCode(const TF_Status *status) { return status->code; }
inline const char *TF_Message(const TF_Status *status) { return status->message.c_str(); }
inline void TF_SetStatus(TF_Status *status, TF_Code code, const char *message) {
  *status = {code, message};
}

/** A tensor of floats or of int32, which both have four bytes. */
struct TF_Tensor {
  explicit TF_Tensor(std::vector<int64_t> extents) : shape(std::move(extents)) {
    for (const int64_t extent : shape) size *= extent;
    data.reset(new float[size]());
  }

  std::vector<int64_t> shape;
  int64_t size = 1;
  std::shared_ptr<float[]> data;
};

inline void TF_DeleteTensor(TF_Tensor *tensor) { delete tensor; }
inline int TF_NumDims(const TF_Tensor *tensor) { return static_cast<int>(tensor->shape.size()); }
inline int64_t TF_Dim(const TF_Tensor *tensor, int i) { return tensor->shape[i]; }
inline int64_t TF_TensorElementCount(const TF_Tensor *tensor) { return tensor->size; }
inline void *TF_TensorData(const TF_Tensor *tensor) { return tensor->data.get(); }

struct TF_OpKernelConstruction {
  std::map<std::string, double> attributes;
  TF_Status failure;
};

struct TF_OpKernelContext {
  std::vector<TF_Tensor> inputs;
  /** Whether outputs take the memory of inputs where an operation offers that. */
  bool forwards;
  std::map<int, TF_Tensor> outputs;
  TF_Status failure;
};

template <class T>
void ReadAttribute(TF_OpKernelConstruction *own, const char *name, T *value, TF_Status *status) {
  const auto found = own->attributes.find(name);
  if (found == own->attributes.end()) TF_SetStatus(status, TF_INVALID_ARGUMENT, name);
  else *value = static_cast<T>(found->second);
}

inline void TF_OpKernelConstruction_GetAttrInt64(TF_OpKernelConstruction *own, const char *name,
                                                 int64_t *value, TF_Status *status) {
  ReadAttribute(own, name, value, status);
}
inline void TF_OpKernelConstruction_GetAttrFloat(TF_OpKernelConstruction *own, const char *name,
                                                 float *value, TF_Status *status) {
  ReadAttribute(own, name, value, status);
}
inline void TF_OpKernelConstruction_GetAttrBool(TF_OpKernelConstruction *own, const char *name,
                                                TF_Bool *value, TF_Status *status) {
  ReadAttribute(own, name, value, status);
}
inline void TF_OpKernelConstruction_Failure(TF_OpKernelConstruction *own, TF_Status *status) {
  own->failure = *status;
}

inline int TF_NumInputs(TF_OpKernelContext *own) { return static_cast<int>(own->inputs.size()); }
inline void TF_GetInput(TF_OpKernelContext *own, int i, TF_Tensor **tensor, TF_Status *status) {
  if (i < TF_NumInputs(own)) *tensor = new TF_Tensor(own->inputs[i]);
  else TF_SetStatus(status, TF_INVALID_ARGUMENT, "an input is missing");
}
inline TF_Tensor *TF_AllocateOutput(TF_OpKernelContext *own, int i, TF_DataType,
                                    const int64_t *shape, int rank, size_t, TF_Status *) {
  const TF_Tensor made({shape, shape + rank});
  return new TF_Tensor(own->outputs.insert_or_assign(i, made).first->second);
}
inline TF_Tensor *TF_ForwardInputOrAllocateOutput(TF_OpKernelContext *own, const int *from, int,
                                                  int i, const int64_t *shape, int rank, int *,
                                                  TF_Status *status) {
  TF_Tensor *made = TF_AllocateOutput(own, i, TF_FLOAT, shape, rank, 0, status);
  if (own->forwards) own->outputs.at(i).data = made->data = own->inputs[*from].data;
  return made;
}
inline void TF_OpKernelContext_Failure(TF_OpKernelContext *own, TF_Status *status) {
  own->failure = *status;
}

/** What is registered of an operation. */
struct TF_KernelBuilder {
  void *(*create)(TF_OpKernelConstruction *);
  void (*compute)(void *, TF_OpKernelContext *);
  void (*destroy)(void *);
};
struct TF_OpDefinitionBuilder;
struct TF_ShapeInferenceContext;
using ShapeFunction = void (*)(TF_ShapeInferenceContext *, TF_Status *);

inline TF_OpDefinitionBuilder *TF_NewOpDefinitionBuilder(const char *) { return nullptr; }
inline void TF_OpDefinitionBuilderAddInput(TF_OpDefinitionBuilder *, const char *) {}
inline void TF_OpDefinitionBuilderAddOutput(TF_OpDefinitionBuilder *, const char *) {}
inline void TF_OpDefinitionBuilderAddAttr(TF_OpDefinitionBuilder *, const char *) {}
inline void TF_OpDefinitionBuilderSetShapeInferenceFunction(TF_OpDefinitionBuilder *,
                                                            ShapeFunction) {}
inline void TF_ShapeInferenceContextSetUnknownShape(TF_ShapeInferenceContext *, TF_Status *) {}
inline void TF_RegisterOpDefinition(TF_OpDefinitionBuilder *, TF_Status *) {}
inline TF_KernelBuilder TF_NewKernelBuilder(const char *, const char *,
                                            decltype(TF_KernelBuilder::create) create,
                                            decltype(TF_KernelBuilder::compute) compute,
                                            decltype(TF_KernelBuilder::destroy) destroy) {
  return {create, compute, destroy};
}
void TF_RegisterKernelBuilder(const char *name, const TF_KernelBuilder &kernel, TF_Status *);

enum napi_status { napi_ok };
enum napi_property_attributes { napi_default };
using napi_env = void *;
using napi_value = void *;
using napi_callback_info = void *;
using napi_callback = napi_value (*)(napi_env, napi_callback_info);
struct napi_property_descriptor {
  const char *name;
  napi_value own_name;
  napi_callback method, getter, setter;
  napi_value value;
  napi_property_attributes attributes;
  void *data;
};
#define NAPI_AUTO_LENGTH SIZE_MAX
#define NAPI_THROW_ERROR(env, message)
#define ENSURE_NAPI_OK(env, call) (call)
#define ENSURE_NAPI_OK_RETVAL(env, call, result) (call)
template <class... Arguments>
napi_status Ignored(const Arguments &...) {
  return napi_ok;
}
#define napi_get_cb_info Ignored
#define napi_get_boolean Ignored
#define napi_create_string_utf8 Ignored
#define napi_set_named_property Ignored
#define napi_define_properties Ignored
#define GetStringParam Ignored

#endif  // DOSIMETER_C_API_H_
