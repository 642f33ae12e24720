#ifndef DOSIMETER_SIGNALS_BLOCKED_H_
#define DOSIMETER_SIGNALS_BLOCKED_H_

#include <pthread.h>
#include <signal.h>

namespace tfnodejs {

/** While an object exists, its thread blocks all signals except those of faults in the thread. */
class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t signals;
    sigfillset(&signals);
    const int faults[] = {SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGSYS, SIGTRAP};
    for (int fault : faults)
      sigdelset(&signals, fault);
    pthread_sigmask(SIG_BLOCK, &signals, &before_);
  }
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalsBlocked(const SignalsBlocked &) = delete;
  SignalsBlocked &operator=(const SignalsBlocked &) = delete;

 private:
  sigset_t before_;
};

}  // namespace tfnodejs

#endif  // DOSIMETER_SIGNALS_BLOCKED_H_
