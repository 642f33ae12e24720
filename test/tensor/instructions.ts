/** The instruction sets that the fused operations have kernels for. */
import * as assert from 'uvu/assert';
import { hasFused } from '../../src/tensor/fused.ts';
import { tensorflowBackend } from '../../src/tensor/operation.ts';
import { useBackend } from '../science/backend.ts';

/** Each includes those before it. */
export const INSTRUCTION_SETS = ['baseline', 'avx2', 'avx512', 'avx512_bf16'] as const;
export type InstructionSet = (typeof INSTRUCTION_SETS)[number];
/** Those with kernels of their own for float32; the last one has the kernels of avx512. */
export const FLOAT32_SETS = INSTRUCTION_SETS.slice(0, 3);

interface Instructions {
  /** The best set of this processor; absent where set-up added no operations. */
  readonly fused?: InstructionSet;
  useInstructions?(set: InstructionSet): boolean;
}

/** The best set of this processor; null without fused operations. TensorFlow must be loaded. */
export const bestInstructions = (): InstructionSet | null =>
  (tensorflowBackend().binding as Instructions).fused ?? null;

/**
 * Calls `run` with TensorFlow's backend, while the fused operations use an instruction set. Where
 * the processor lacks it, `run` is not called, and it is asserted that the set is refused.
 */
export async function withInstructions(
  set: InstructionSet,
  run: () => void | Promise<void>,
): Promise<void> {
  await useBackend('tensorflow');
  const binding = tensorflowBackend().binding as Instructions,
    best = bestInstructions();
  if (!hasFused() || best === null || binding.useInstructions === undefined) return;
  const has = INSTRUCTION_SETS.indexOf(set) <= INSTRUCTION_SETS.indexOf(best);
  assert.is(binding.useInstructions(set), has, `${set}, where ${best} is the best`);
  try {
    if (has) await run();
  } finally {
    assert.ok(binding.useInstructions(best));
  }
}
