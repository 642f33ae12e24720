// The threads that share the columns of a product, and the choice of an instruction set.

#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <thread>

#include "fused.h"
#include "signals-blocked.h"

namespace tfnodejs {

namespace {

/** How many times a helper looks for a new round before it sleeps. */
constexpr int TURNS = 1 << 14;

void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

/** Threads that share the parts of a round with the thread that calls Run. They never end. */
class Helpers {
 public:
  explicit Helpers(int64_t count) {
    // The threads inherit the mask of blocked signals.
    const SignalsBlocked blocked;
    for (int64_t i = 1; i <= count; i++) std::thread([this] { Help(); }).detach();
  }

  /** Calls `part` with 0 to `parts` − 1, each on any thread. Returns when all have returned. */
  void Run(int64_t parts, const std::function<void(int64_t)> &part) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      part_ = &part;
      parts_ = parts;
      next_.store(0);
      open_.store(true);
      round_.fetch_add(1);
    }
    wake_.notify_all();
    Work();
    // A thread that has not begun yet is not waited for: it will find nothing to do.
    open_.store(false);
    while (working_.load() > 0) Pause();
  }

 private:
  /** Takes parts of the current round until none is left. */
  void Work() {
    for (int64_t i = next_.fetch_add(1); i < parts_; i = next_.fetch_add(1)) (*part_)(i);
  }

  /** Waits for each round, and works in it unless it is over. */
  void Help() {
    for (uint64_t seen = 0;;) {
      for (int turn = 0; turn < TURNS && round_.load() == seen; turn++) Pause();
      if (round_.load() == seen) {
        std::unique_lock<std::mutex> lock(mutex_);
        wake_.wait(lock, [&] { return round_.load() != seen; });
      }
      seen = round_.load();
      working_.fetch_add(1);
      if (open_.load()) Work();
      working_.fetch_sub(1);
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  /** What a round calls. Neither changes while the round is open or a thread works in it. */
  const std::function<void(int64_t)> *part_ = nullptr;
  int64_t parts_ = 0;
  std::atomic<bool> open_{false};
  std::atomic<int64_t> next_{0}, working_{0};
  std::atomic<uint64_t> round_{0};
};

/** The best set that this processor has. */
InstructionSet Best() {
#if defined(__x86_64__)
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (avx512) return __builtin_cpu_supports("avx512bf16") ? kAvx512Bf16 : kAvx512;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return kAvx2;
#endif
  return kBaseline;
}

std::atomic<InstructionSet> &Chosen() {
  static std::atomic<InstructionSet> chosen{Best()};
  return chosen;
}

}  // namespace

InstructionSet Instructions() { return Chosen().load(std::memory_order_relaxed); }

bool ChooseInstructions(InstructionSet set) {
  if (set > Best()) return false;
  Chosen().store(set);
  return true;
}

int64_t Threads() {
  static const int64_t threads = [] {
    // TensorFlow reads the same variable when it is loaded.
    const char *text = std::getenv("TF_NUM_INTRAOP_THREADS");
    const int64_t asked = text == nullptr ? 0 : std::strtol(text, nullptr, 10);
    return asked > 0 ? asked : static_cast<int64_t>(std::thread::hardware_concurrency());
  }();
  return threads > 1 ? threads : 1;
}

void InParallel(int64_t parts, const std::function<void(int64_t)> &part) {
  static std::mutex busy;
  if (parts > 1 && busy.try_lock()) {
    const std::lock_guard<std::mutex> lock(busy, std::adopt_lock);
    // Never freed, so that no thread outlives what it uses.
    static Helpers &helpers = *new Helpers(Threads() - 1);
    return helpers.Run(parts, part);
  }
  for (int64_t i = 0; i < parts; i++) part(i);
}

}  // namespace tfnodejs
