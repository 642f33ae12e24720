/**
 * The one tolerance table. A test that exceeds one has found a fault: fix that, and do not change
 * the tolerance.
 */
export const tolerance = {
  /** Absolute, logits against transformers, float32. */
  logits: 1e-4,
  /** Absolute, the loss at each training step against PyTorch + PEFT, float32. */
  loss: 1e-3,
  /**
   * Relative to the largest entry of a parameter's gradient, the gradient against PyTorch, float32;
   * applies beyond 1e-6, since some gradients are zero but for rounding.
   */
  gradient: 1e-4,
  /**
   * Relative (‖a−b‖/‖b‖), kernels, spectra and what is computed from them, against PyTorch,
   * float32.
   */
  kernel: 1e-3,
  /**
   * Relative (‖a−b‖/‖b‖), what is computed from Hessian-vector products by central differences,
   * float32, against exact second derivatives in float64. Seen: 1.4e-4 on the tiny checkpoint,
   * 5.3e-4 on MiniLM; 1.8e-2 with a step ten times as long.
   */
  centralDifference: 1e-3,
  /** Absolute, the loss at each of 20 steps of the adapters of test/golden/adapters.py, float32. */
  adapterLoss: 1e-5,
  /** Relative (‖a−b‖/‖b‖), their kernels against PyTorch in double precision. */
  adapterKernel: 1e-4,
  /** Of the tiny checkpoints of every family, against transformers and PEFT in double precision. */
  family: {
    /** Absolute, logits. Seen: 3e-6. */
    logits: 1e-5,
    /** Absolute, the loss of each of 20 steps. Seen: 2e-6. */
    loss: 1e-5,
    /** Relative (‖a−b‖/‖b‖), kernels. */
    kernel: 1e-4,
  },
  /** Between the two engines, each in float32, on the tiny checkpoints of every family. */
  engines: {
    /** Absolute, the loss of each of 50 steps. */
    loss: 1e-5,
    /** Absolute, logits after them, and −log p of answers. */
    logits: 1e-4,
    /** Absolute, weights after them. */
    weights: 1e-4,
    /** Relative, the metrics of an experiment. Seen: 5e-6, 1 − the cosine of two kernels. */
    metric: 5e-5,
  },
  /**
   * Relative (‖a−b‖/‖b‖), losses and whole gradients with products in bfloat16, whose neighbours
   * are at most 2⁻⁷ apart. Where two sides sum in another order, a result now and then becomes the
   * neighbour of what it was; each of the roundings that follow widens such a difference δ to
   * √(2⁻⁸δ), up to the size of the roundings themselves. Seen: 3e-3, after 40 products in a row.
   */
  bf16: 2 ** -7,
  /** Relative, against a plain double-precision reference. */
  double: 1e-5,
  /** Relative, identities that hold to float32 rounding. */
  rounding: 1e-5,
} as const;
