// What set-up adds to the binding of tfjs-node: a function of TensorFlow made of recorded
// operations. It is run as an operation with the function's name, through executeOp.
//
//   addFunction(name, operations, outputs)
//     operations: in an order in which each comes after those whose outputs it reads. Each is
//       { op: string, attrs: { name, type, value }[], inputs: number[], lists: number[] }
//       or, for a value that is part of the function, { op: 'Const', dtype, shape, values }.
//       `inputs` holds two numbers for each input: the operation and which of its outputs.
//       `lists` holds, for each input of the operation's definition, -1 for a single tensor, else
//       the number of tensors in the list. An operation 'Placeholder' is an argument of the
//       function; arguments are in the order of their placeholders.
//     outputs: two numbers for each output, as in `inputs`.
//   removeFunction(name)

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "tensorflow/c/c_api.h"
#include "tensorflow/c/eager/c_api.h"
#include "tf_auto_status.h"
#include "tf_auto_tensor.h"
#include "tfjs_backend.h"
#include "utils.h"

namespace tfnodejs {

namespace {

struct GraphDeleter {
  void operator()(TF_Graph *graph) const { TF_DeleteGraph(graph); }
};

struct FunctionDeleter {
  void operator()(TF_Function *function) const { TF_DeleteFunction(function); }
};

// The getters below return 0, null or what they have read where Node-API fails, with an exception
// pending in JavaScript.
napi_value Property(napi_env env, napi_value object, const char *name) {
  napi_value value = nullptr;
  ENSURE_NAPI_OK_RETVAL(env, napi_get_named_property(env, object, name, &value), nullptr);
  return value;
}

uint32_t Length(napi_env env, napi_value array) {
  uint32_t length = 0;
  ENSURE_NAPI_OK_RETVAL(env, napi_get_array_length(env, array, &length), 0);
  return length;
}

napi_value Element(napi_env env, napi_value array, uint32_t i) {
  napi_value value = nullptr;
  ENSURE_NAPI_OK_RETVAL(env, napi_get_element(env, array, i, &value), nullptr);
  return value;
}

std::vector<int64_t> Integers(napi_env env, napi_value array) {
  std::vector<int64_t> out(Length(env, array));
  for (uint32_t i = 0; i < out.size(); i++)
    ENSURE_NAPI_OK_RETVAL(env, napi_get_value_int64(env, Element(env, array, i), &out[i]), out);
  return out;
}

int32_t Integer(napi_env env, napi_value value) {
  int32_t out = 0;
  ENSURE_NAPI_OK_RETVAL(env, napi_get_value_int32(env, value, &out), 0);
  return out;
}

// The outputs that an array names by two numbers each (as `inputs` above), of the operations made.
std::vector<TF_Output> Outputs(napi_env env, napi_value array,
                               const std::vector<TF_Operation *> &made) {
  std::vector<TF_Output> out;
  const std::vector<int64_t> numbers = Integers(env, array);
  for (size_t i = 0; i + 1 < numbers.size(); i += 2) {
    if (numbers[i] < 0 || static_cast<size_t>(numbers[i]) >= made.size()) {
      NAPI_THROW_ERROR(env, "An operation of a function reads one that comes after it");
      return out;
    }
    out.push_back({made[numbers[i]], static_cast<int>(numbers[i + 1])});
  }
  return out;
}

double Number(napi_env env, napi_value value) {
  double out = 0;
  ENSURE_NAPI_OK_RETVAL(env, napi_get_value_double(env, value, &out), 0);
  return out;
}

bool Boolean(napi_env env, napi_value value) {
  bool out = false;
  ENSURE_NAPI_OK_RETVAL(env, napi_get_value_bool(env, value, &out), false);
  return out;
}

// Sets an attribute { name, type, value } of an operation. A list is set for an array.
void SetAttr(napi_env env, TF_OperationDescription *description, napi_value attr) {
  std::string name;
  if (GetStringParam(env, Property(env, attr, "name"), name) != napi_ok) return;
  const int32_t type = Integer(env, Property(env, attr, "type"));
  const napi_value value = Property(env, attr, "value");
  bool is_array = false;
  ENSURE_NAPI_OK(env, napi_is_array(env, value, &is_array));
  const uint32_t length = is_array ? Length(env, value) : 0;
  switch (type) {
    case TF_ATTR_STRING: {
      std::string text;
      if (GetStringParam(env, value, text) != napi_ok) return;
      TF_SetAttrString(description, name.c_str(), text.data(), text.size());
      return;
    }
    case TF_ATTR_INT:
      if (is_array) {
        const std::vector<int64_t> list = Integers(env, value);
        TF_SetAttrIntList(description, name.c_str(), list.data(), static_cast<int>(length));
      } else {
        int64_t number = 0;
        ENSURE_NAPI_OK(env, napi_get_value_int64(env, value, &number));
        TF_SetAttrInt(description, name.c_str(), number);
      }
      return;
    case TF_ATTR_FLOAT:
      if (is_array) {
        std::vector<float> list(length);
        for (uint32_t i = 0; i < length; i++)
          list[i] = static_cast<float>(Number(env, Element(env, value, i)));
        TF_SetAttrFloatList(description, name.c_str(), list.data(), static_cast<int>(length));
      } else {
        TF_SetAttrFloat(description, name.c_str(), static_cast<float>(Number(env, value)));
      }
      return;
    case TF_ATTR_BOOL:
      if (is_array) {
        std::vector<unsigned char> list(length);
        for (uint32_t i = 0; i < length; i++)
          list[i] = Boolean(env, Element(env, value, i)) ? 1 : 0;
        TF_SetAttrBoolList(description, name.c_str(), list.data(), static_cast<int>(length));
      } else {
        TF_SetAttrBool(description, name.c_str(), Boolean(env, value) ? 1 : 0);
      }
      return;
    case TF_ATTR_TYPE:
      TF_SetAttrType(description, name.c_str(), static_cast<TF_DataType>(Integer(env, value)));
      return;
    case TF_ATTR_SHAPE: {
      const std::vector<int64_t> shape = Integers(env, value);
      TF_SetAttrShape(description, name.c_str(), shape.data(), static_cast<int>(shape.size()));
      return;
    }
    default:
      REPORT_UNKNOWN_TF_ATTR_TYPE(env, static_cast<TF_AttrType>(type));
  }
}

// Sets the value of a 'Const': a copy of a typed array with four bytes an entry, or one for bool.
void SetValue(napi_env env, TF_OperationDescription *description, napi_value operation) {
  const TF_DataType dtype =
      static_cast<TF_DataType>(Integer(env, Property(env, operation, "dtype")));
  const std::vector<int64_t> shape = Integers(env, Property(env, operation, "shape"));
  napi_typedarray_type type;
  size_t length = 0;
  void *data = nullptr;
  ENSURE_NAPI_OK(env, napi_get_typedarray_info(env, Property(env, operation, "values"), &type,
                                               &length, &data, nullptr, nullptr));
  size_t bytes = TF_DataTypeSize(dtype);
  for (const int64_t extent : shape) bytes *= extent;
  if (bytes != length * (type == napi_uint8_array ? 1 : 4)) {
    NAPI_THROW_ERROR(env, "The values of a constant do not have the size of its shape");
    return;
  }
  TF_AutoTensor tensor(
      TF_AllocateTensor(dtype, shape.data(), static_cast<int>(shape.size()), bytes));
  if (bytes > 0) memcpy(TF_TensorData(tensor.tensor), data, bytes);
  TF_AutoStatus status;
  TF_SetAttrType(description, "dtype", dtype);
  TF_SetAttrTensor(description, "value", tensor.tensor, status.status);
  ENSURE_TF_OK(env, status);
}

// Adds an operation to the graph and returns it; null, with an exception pending, if it is refused.
TF_Operation *AddOperation(napi_env env, TF_Graph *graph, const std::string &name,
                           napi_value operation, const std::vector<TF_Operation *> &made) {
  std::string op;
  if (GetStringParam(env, Property(env, operation, "op"), op) != napi_ok) return nullptr;
  TF_OperationDescription *description = TF_NewOperation(graph, op.c_str(), name.c_str());
  if (op == "Const") {
    SetValue(env, description, operation);
  } else {
    const std::vector<TF_Output> inputs = Outputs(env, Property(env, operation, "inputs"), made);
    size_t next = 0;
    for (const int64_t length : Integers(env, Property(env, operation, "lists"))) {
      const size_t taken = length < 0 ? 1 : length;
      if (next + taken > inputs.size()) break;
      if (length < 0) {
        TF_AddInput(description, inputs[next]);
      } else {
        TF_AddInputList(description, inputs.data() + next, static_cast<int>(taken));
      }
      next += taken;
    }
    const napi_value attrs = Property(env, operation, "attrs");
    for (uint32_t i = 0, n = Length(env, attrs); i < n; i++)
      SetAttr(env, description, Element(env, attrs, i));
  }
  // This also frees the description, which must happen even if an exception is pending.
  TF_AutoStatus status;
  TF_Operation *result = TF_FinishOperation(description, status.status);
  if (IsExceptionPending(env)) return nullptr;
  ENSURE_TF_OK_RETVAL(env, status, nullptr);
  return result;
}

}  // namespace

napi_value TFJSBackend::AddFunction(napi_env env, napi_value name_value, napi_value operations,
                                    napi_value outputs_value) {
  std::string name;
  if (GetStringParam(env, name_value, name) != napi_ok) return nullptr;
  std::unique_ptr<TF_Graph, GraphDeleter> graph(TF_NewGraph());
  std::vector<TF_Operation *> made;
  std::vector<TF_Output> arguments;
  for (uint32_t i = 0, n = Length(env, operations); i < n; i++) {
    // Handles of the values of one operation are freed before the next.
    napi_handle_scope scope;
    ENSURE_NAPI_OK_RETVAL(env, napi_open_handle_scope(env, &scope), nullptr);
    const std::string own = "op" + std::to_string(i);
    TF_Operation *operation =
        AddOperation(env, graph.get(), own, Element(env, operations, i), made);
    napi_close_handle_scope(env, scope);
    if (operation == nullptr) return nullptr;
    if (strcmp(TF_OperationOpType(operation), "Placeholder") == 0)
      arguments.push_back({operation, 0});
    made.push_back(operation);
  }
  const std::vector<TF_Output> outputs = Outputs(env, outputs_value, made);
  if (IsExceptionPending(env)) return nullptr;
  TF_AutoStatus status;
  std::unique_ptr<TF_Function, FunctionDeleter> function(TF_GraphToFunction(
      graph.get(), name.c_str(), 0, -1, nullptr, static_cast<int>(arguments.size()),
      arguments.data(), static_cast<int>(outputs.size()), outputs.data(), nullptr, nullptr, nullptr,
      status.status));
  ENSURE_TF_OK_RETVAL(env, status, nullptr);
  TFE_ContextAddFunction(tfe_context_, function.get(), status.status);
  ENSURE_TF_OK_RETVAL(env, status, nullptr);
  return nullptr;
}

napi_value TFJSBackend::RemoveFunction(napi_env env, napi_value name_value) {
  std::string name;
  if (GetStringParam(env, name_value, name) != napi_ok) return nullptr;
  TF_AutoStatus status;
  TFE_ContextRemoveFunction(tfe_context_, name.c_str(), status.status);
  ENSURE_TF_OK_RETVAL(env, status, nullptr);
  return nullptr;
}

namespace {

// A method of the binding with `count` arguments, as Node-API calls it.
template <size_t count, napi_value (*call)(TFJSBackend *, napi_env, napi_value *)>
napi_value Method(napi_env env, napi_callback_info info) {
  size_t argc = count;
  napi_value args[count];
  ENSURE_NAPI_OK_RETVAL(env, napi_get_cb_info(env, info, &argc, args, nullptr, nullptr), nullptr);
  TFJSBackend *backend = nullptr;
  ENSURE_NAPI_OK_RETVAL(
      env, napi_get_instance_data(env, reinterpret_cast<void **>(&backend)), nullptr);
  if (argc < count || backend == nullptr) {
    NAPI_THROW_ERROR(env, "Invalid number of arguments");
    return nullptr;
  }
  return call(backend, env, args);
}

napi_value Add(TFJSBackend *backend, napi_env env, napi_value *args) {
  return backend->AddFunction(env, args[0], args[1], args[2]);
}

napi_value Remove(TFJSBackend *backend, napi_env env, napi_value *args) {
  return backend->RemoveFunction(env, args[0]);
}

}  // namespace

void DefineGraphFunctions(napi_env env, napi_value exports) {
  const napi_property_descriptor properties[] = {
      {"addFunction", nullptr, Method<3, Add>, nullptr, nullptr, nullptr, napi_default, nullptr},
      {"removeFunction", nullptr, Method<1, Remove>, nullptr, nullptr, nullptr, napi_default,
       nullptr},
  };
  ENSURE_NAPI_OK(env, napi_define_properties(env, exports, ARRAY_SIZE(properties), properties));
}

}  // namespace tfnodejs
