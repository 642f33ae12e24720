/**
 * The uniform draws of PyTorch's generator on the CPU, for tensors that PEFT draws from a seed and
 * does not save. The generator is MT19937 (Matsumoto & Nishimura 1998); a float32 draw is made of
 * the lower 24 bits of one of its numbers (at::uniform_real_distribution).
 */

const WORDS = 624,
  SHIFT = 397;

/** The 32-bit numbers of MT19937 with this seed. */
function* mersenneTwister(seed: number): Generator<number, never> {
  const state = new Uint32Array(WORDS);
  state[0] = seed;
  for (let i = 1; i < WORDS; i++) {
    const last = state[i - 1] ?? 0;
    state[i] = Math.imul(1812433253, last ^ (last >>> 30)) + i;
  }
  for (;;) {
    for (let i = 0; i < WORDS; i++) {
      const mixed = ((state[i] ?? 0) & 0x80000000) | ((state[(i + 1) % WORDS] ?? 0) & 0x7fffffff);
      state[i] =
        (state[(i + SHIFT) % WORDS] ?? 0) ^ (mixed >>> 1) ^ ((mixed & 1) === 0 ? 0 : 0x9908b0df);
    }
    for (let y of state) {
      y ^= y >>> 11;
      y ^= (y << 7) & 0x9d2c5680;
      y ^= (y << 15) & 0xefc60000;
      y ^= y >>> 18;
      yield y >>> 0;
    }
  }
}

/**
 * A generator after `torch.Generator().manual_seed(seed)`. Each call returns what
 * `tensor.uniform_(-bound, bound, generator=…)` fills the next tensor of `count` entries with.
 */
export function torchUniform(seed: number): (count: number, bound: number) => Float32Array {
  const numbers = mersenneTwister(seed >>> 0);
  return (count, bound) => {
    const from = Math.fround(-bound),
      width = Math.fround(Math.fround(bound) - from);
    return Float32Array.from({ length: count }, () => {
      const unit = (numbers.next().value & 0xffffff) / 2 ** 24; // exact in float32
      return Math.fround(unit * width + from); // one rounding: PyTorch's is a fused multiply-add
    });
  };
}
