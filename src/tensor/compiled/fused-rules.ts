/** The rules of the operations that set-up adds to TensorFlow (src/tensor/native). */
import { first, type Output, type Rule, same, type Value } from './rule.ts';

/** The values, if all are there. */
const present = (...values: readonly (Value | undefined)[]): Value[] | null => {
  const found = values.filter((value) => value !== undefined);
  return found.length === values.length ? found : null;
};

/** x: (S, n), w: (m, n) → (S, m). */
function linearOutputs(x: Value | undefined, w: Value | undefined): Output[] | null {
  const [rows] = x?.shape ?? [],
    [columns] = w?.shape ?? [];
  if (x === undefined || rows === undefined || columns === undefined) return null;
  return [{ shape: [rows, columns], dtype: x.dtype }];
}

export const FUSED_RULES: readonly (readonly [name: string, Rule])[] = [
  ...[
    'FusedAddBias',
    'FusedAddBoth',
    'FusedActivation',
    'FusedActivationGrad',
    'FusedNormGrad',
    'FusedRotary',
  ].map((name): [string, Rule] => [name, same]),
  [
    'FusedNorm',
    {
      list: 1,
      outputs: ([x]) => {
        if (x === undefined) return null;
        const { shape, dtype } = x;
        return [x, x, { shape: [...shape.slice(0, -1), 1], dtype }];
      },
    },
  ],
  [
    'FusedGated',
    {
      list: 0,
      outputs: ([gate], attribute) => {
        const [rows, columns] = gate?.shape ?? [];
        if (gate === undefined || rows === undefined || columns === undefined) return null;
        const { dtype } = gate;
        return [attribute('N') === 1 ? { shape: [rows, columns / 2], dtype } : gate];
      },
    },
  ],
  ['FusedGatedGrad', { list: 1, outputs: ([, ...parts]) => parts }],
  [
    'FusedProduct',
    {
      outputs: ([a, b], attribute) => {
        if (a?.shape.length !== 2 || b?.shape.length !== 2) return null;
        const rows = a.shape[attribute('transpose_a') === true ? 1 : 0],
          columns = b.shape[attribute('transpose_b') === true ? 0 : 1];
        if (rows === undefined || columns === undefined) return null;
        return [{ shape: [rows, columns], dtype: a.dtype }];
      },
    },
  ],
  ['FusedLinear', { outputs: ([x, w]) => linearOutputs(x, w) }],
  ...['FusedLora', 'FusedLoraBias'].map((name): [string, Rule] => [
    name,
    {
      outputs: ([x, w, a]) => {
        const y = linearOutputs(x, w),
          down = linearOutputs(x, a);
        return y === null || down === null ? null : [...y, ...down];
      },
    },
  ]),
  [
    'FusedLoraGrad',
    {
      outputs: ([, x, , a, b], attribute) =>
        present(x, a, b)?.map(({ shape, dtype }, i) => ({
          shape: attribute(['of_x', 'of_a', 'of_b'][i] ?? '') === true ? shape : [0],
          dtype,
        })) ?? null,
    },
  ],
  [
    'FusedRowGradients',
    {
      outputs: ([a, b, , starts]) => {
        const [, p] = a?.shape ?? [],
          [, q] = b?.shape ?? [],
          [bounds] = starts?.shape ?? [];
        if (a === undefined || p === undefined || q === undefined || bounds === undefined)
          return null;
        return [{ shape: [bounds - 1, p * q], dtype: a.dtype }];
      },
    },
  ],
  [
    'FusedGram',
    {
      list: 0,
      outputs: (parts) => {
        const rows = parts.reduce((sum, { shape: [own = 0] }) => sum + own, 0);
        return [{ shape: [rows, rows], dtype: first(parts).dtype }];
      },
    },
  ],
  [
    'FusedAdamW',
    { list: 0, outputs: (inputs) => inputs.slice(0, -1).filter((_, i) => i % 4 !== 1) },
  ],
  [
    'FusedCrossEntropy',
    {
      outputs: ([logits]) =>
        logits === undefined ? null : [{ shape: [], dtype: logits.dtype }, logits],
    },
  ],
  ['FusedAttention', same],
  ['FusedAttentionGrad', { outputs: ([, q, k, v]) => present(q, k, v) }],
];
