/**
 * Keeps signals away from the threads that compute.
 *
 * Some of oneDNN's compiled matrix products for AVX-512 use the stack pointer as an ordinary
 * register. A signal handler that runs on such a thread writes its frame into the heap: the process
 * crashes, or computes with the wrong numbers. Node handles a signal on whichever thread the kernel
 * chooses, so it loses nothing if TensorFlow's threads block them: another thread takes the signal.
 *
 * The linker puts these functions in place of those of TensorFlow's C API (--wrap).
 */
#include "signals-blocked.h"
#include "tensorflow/c/eager/c_api.h"

extern "C" {

TFE_Context *__real_TFE_NewContext(const TFE_ContextOptions *, TF_Status *);
void __real_TFE_Execute(TFE_Op *, TFE_TensorHandle **, int *, TF_Status *);

/** Makes a context with signals blocked: the threads that it starts inherit this. */
TFE_Context *__wrap_TFE_NewContext(const TFE_ContextOptions *options, TF_Status *status) {
  const tfnodejs::SignalsBlocked blocked;
  return __real_TFE_NewContext(options, status);
}

void __wrap_TFE_Execute(TFE_Op *op, TFE_TensorHandle **outputs, int *count, TF_Status *status) {
  const tfnodejs::SignalsBlocked blocked;
  __real_TFE_Execute(op, outputs, count, status);
}

}  // extern "C"
