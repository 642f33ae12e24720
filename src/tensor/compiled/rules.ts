/**
 * The operations of TensorFlow that can be part of a compiled function, with the shape and type of
 * what each returns. TensorFlow's own definitions are in `core/ops/*_ops.cc`.
 */

/** A tensor as the rules see it. */
export interface Value {
  readonly shape: readonly number[];
  /** TensorFlow's number of the type. */
  readonly dtype: number;
  /** The entries, where they are known before the operation runs. */
  readonly values: ArrayLike<number> | null;
}

export interface AttributeValue {
  readonly name: string;
  readonly type: number;
  readonly value: unknown;
}

export type Output = Pick<Value, 'shape' | 'dtype'>;

export interface Rule {
  /**
   * Which input of the operation's definition is a list, of as many tensors as the attribute N
   * says. Default: each is a single tensor.
   */
  readonly list?: number;
  /** Returns null where the shapes depend on entries that are not known. */
  readonly outputs: (
    inputs: readonly Value[],
    attribute: (name: string) => unknown,
  ) => readonly Output[] | null;
}

/** The first of an operation's inputs. Throws if it has none. */
export const first = (inputs: readonly Value[]): Value => {
  const [value] = inputs;
  if (value === undefined) throw new Error('an operation has no input');
  return value;
};

/** The rule of an operation whose output is like its first input. */
export const same: Rule = { outputs: ([x]) => (x === undefined ? null : [x]) };

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

const FUSED_RULES: readonly (readonly [name: string, Rule])[] = [
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

/** TF_BOOL of tensorflow/c/tf_datatype.h. */
const BOOL = 10;

const size = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

const valuesOf = (tensor: Value | undefined): ArrayLike<number> | null => tensor?.values ?? null;

function broadcast(a: readonly number[], b: readonly number[]): number[] {
  const rank = Math.max(a.length, b.length);
  return Array.from({ length: rank }, (_, i) => {
    const x = a[i - rank + a.length] ?? 1,
      y = b[i - rank + b.length] ?? 1;
    return x === 1 ? y : x;
  });
}

const elementwise = (dtype?: number): Rule => ({
  outputs: ([a, b]) =>
    a === undefined || b === undefined
      ? null
      : [{ shape: broadcast(a.shape, b.shape), dtype: dtype ?? a.dtype }],
});

/** The axes that a tensor of indices names, none of them negative; null where they are unknown. */
const axesOf = (indices: Value | undefined, rank: number): number[] | null =>
  indices === undefined || indices.values === null
    ? null
    : Array.from(indices.values, (axis) => (axis < 0 ? axis + rank : axis));

const reduction: Rule = {
  outputs: ([x, indices], attribute) => {
    if (x === undefined) return null;
    const axes = axesOf(indices, x.shape.length);
    if (axes === null) return null;
    const kept = attribute('keep_dims') === true;
    const shape = x.shape.flatMap((extent, i) => (!axes.includes(i) ? [extent] : kept ? [1] : []));
    return [{ shape, dtype: x.dtype }];
  },
};

/** A shape that a tensor holds, with at most one −1, which stands for what is left of `total`. */
function shapeIn(tensor: Value | undefined, total?: number): number[] | null {
  const values = valuesOf(tensor);
  if (values === null) return null;
  const shape = Array.from(values),
    open = shape.indexOf(-1);
  if (open < 0) return shape;
  if (total === undefined) return null;
  shape[open] = total / -size(shape);
  return shape;
}

const matMul = (transposeA: string, transposeB: string): Rule => ({
  outputs: ([a, b], attribute) => {
    if (a === undefined || b === undefined) return null;
    const rows = a.shape.at(attribute(transposeA) === true ? -1 : -2),
      columns = b.shape.at(attribute(transposeB) === true ? -2 : -1);
    if (rows === undefined || columns === undefined) return null;
    const batch = broadcast(a.shape.slice(0, -2), b.shape.slice(0, -2));
    return [{ shape: [...batch, rows, columns], dtype: a.dtype }];
  },
});

const gathered: Rule = {
  outputs: ([x, indices, axis], attribute) => {
    if (x === undefined || indices === undefined) return null;
    const at = axis === undefined ? 0 : axis.values?.[0];
    if (at === undefined || at < 0 || (attribute('batch_dims') ?? 0) !== 0) return null;
    return [
      {
        shape: [...x.shape.slice(0, at), ...indices.shape, ...x.shape.slice(at + 1)],
        dtype: x.dtype,
      },
    ];
  },
};

const padded: Rule = {
  outputs: ([x, paddings]) => {
    const by = valuesOf(paddings);
    if (x === undefined || by === null) return null;
    const shape = x.shape.map((extent, i) => extent + (by[2 * i] ?? 0) + (by[2 * i + 1] ?? 0));
    return [{ shape, dtype: x.dtype }];
  },
};

const concat: Rule = {
  list: 0,
  outputs: (inputs) => {
    const parts = inputs.slice(0, -1),
      { shape, dtype } = first(parts);
    const [axis] = axesOf(inputs.at(-1), shape.length) ?? [];
    if (axis === undefined) return null;
    const extent = parts.reduce((sum, part) => sum + (part.shape[axis] ?? 0), 0);
    return [{ shape: shape.map((own, i) => (i === axis ? extent : own)), dtype }];
  },
};

const split: Rule = {
  outputs: ([x, sizes, split]) => {
    const values = valuesOf(sizes);
    if (x === undefined || values === null) return null;
    const [axis] = axesOf(split, x.shape.length) ?? [],
      extents = Array.from(values);
    if (axis === undefined || extents.includes(-1)) return null;
    return extents.map((extent) => ({
      shape: x.shape.map((own, i) => (i === axis ? extent : own)),
      dtype: x.dtype,
    }));
  },
};

const RULES = new Map<string, Rule>([
  ...FUSED_RULES,
  ...[
    'Abs',
    'Ceil',
    'Cos',
    'Elu',
    'Erf',
    'Exp',
    'Expm1',
    'Floor',
    'Log',
    'Log1p',
    'LogicalNot',
    'LogSoftmax',
    'Neg',
    'Relu',
    'Round',
    'Rsqrt',
    'Sigmoid',
    'Sign',
    'Sin',
    'Softmax',
    'Softplus',
    'Sqrt',
    'Square',
    'Tanh',
    'ZerosLike',
  ].map((name): [string, Rule] => [name, same]),
  ...[
    'Add',
    'AddV2',
    'Div',
    'FloorDiv',
    'FloorMod',
    'LogicalAnd',
    'LogicalOr',
    'Maximum',
    'Minimum',
    'Mul',
    'Pow',
    'RealDiv',
    'SquaredDifference',
    'Sub',
  ].map((name): [string, Rule] => [name, elementwise()]),
  ...['Equal', 'NotEqual', 'Greater', 'GreaterEqual', 'Less', 'LessEqual'].map(
    (name): [string, Rule] => [name, elementwise(BOOL)],
  ),
  ...['All', 'Any', 'Max', 'Mean', 'Min', 'Prod', 'Sum'].map((name): [string, Rule] => [
    name,
    reduction,
  ]),
  ['AddN', { list: 0, outputs: (inputs) => [first(inputs)] }],
  ['BatchMatMulV2', matMul('adj_x', 'adj_y')],
  [
    'Cast',
    {
      outputs: ([x], attribute) => {
        const dtype = attribute('DstT');
        return x === undefined || typeof dtype !== 'number' ? null : [{ shape: x.shape, dtype }];
      },
    },
  ],
  ['ConcatV2', concat],
  [
    'Fill',
    {
      outputs: ([dims, value]) => {
        const shape = shapeIn(dims);
        return shape === null || value === undefined ? null : [{ shape, dtype: value.dtype }];
      },
    },
  ],
  ['Gather', gathered],
  ['GatherV2', gathered],
  ['MatMul', matMul('transpose_a', 'transpose_b')],
  [
    'OneHot',
    {
      outputs: ([indices, depth, on], attribute) => {
        const count = depth?.values?.[0];
        return indices === undefined ||
          on === undefined ||
          count === undefined ||
          attribute('axis') !== -1
          ? null
          : [{ shape: [...indices.shape, count], dtype: on.dtype }];
      },
    },
  ],
  [
    'Pack',
    {
      list: 0,
      outputs: (inputs, attribute) => {
        const { shape, dtype } = first(inputs),
          axis = attribute('axis') ?? 0;
        if (typeof axis !== 'number' || axis < 0) return null;
        return [{ shape: [...shape.slice(0, axis), inputs.length, ...shape.slice(axis)], dtype }];
      },
    },
  ],
  ['Pad', padded],
  ['PadV2', padded],
  [
    'Reshape',
    {
      outputs: ([x, to]) => {
        const shape = x === undefined ? null : shapeIn(to, size(x.shape));
        return x === undefined || shape === null ? null : [{ shape, dtype: x.dtype }];
      },
    },
  ],
  [
    'Slice',
    {
      outputs: ([x, begin, extents]) => {
        const from = valuesOf(begin),
          sizes = valuesOf(extents);
        if (x === undefined || from === null || sizes === null) return null;
        const shape = Array.from(sizes, (extent, i) =>
          extent === -1 ? (x.shape[i] ?? 0) - (from[i] ?? 0) : extent,
        );
        return [{ shape, dtype: x.dtype }];
      },
    },
  ],
  ['SplitV', split],
  [
    'Tile',
    {
      outputs: ([x, multiples]) => {
        const by = valuesOf(multiples);
        if (x === undefined || by === null) return null;
        return [{ shape: x.shape.map((extent, i) => extent * (by[i] ?? 1)), dtype: x.dtype }];
      },
    },
  ],
  [
    'Transpose',
    {
      outputs: ([x, permutation]) => {
        const order = valuesOf(permutation);
        if (x === undefined || order === null) return null;
        const shape = Array.from(order, (axis) => x.shape[axis] ?? 0);
        return [{ shape, dtype: x.dtype }];
      },
    },
  ],
  [
    'UnsortedSegmentSum',
    {
      outputs: ([x, ids, count]) => {
        const rows = count?.values?.[0];
        if (x === undefined || ids === undefined || rows === undefined) return null;
        return [{ shape: [rows, ...x.shape.slice(ids.shape.length)], dtype: x.dtype }];
      },
    },
  ],
]);

/**
 * Returns what an operation will return; null for an operation that cannot be part of a function,
 * or whose shapes cannot be known before it runs.
 */
export function outputsOf(
  name: string,
  attributes: readonly AttributeValue[],
  inputs: readonly Value[],
): readonly Output[] | null {
  const rule = RULES.get(name);
  if (rule === undefined) return null;
  return rule.outputs(
    inputs,
    (wanted) => attributes.find((attribute) => attribute.name === wanted)?.value,
  );
}

/**
 * For each input of the operation's definition, −1 for a single tensor, or the number of tensors
 * in the list.
 * @param count of tensors that the operation reads
 */
export function listsOf(
  name: string,
  attributes: readonly AttributeValue[],
  count: number,
): number[] {
  const list = RULES.get(name)?.list;
  if (list === undefined) return new Array<number>(count).fill(-1);
  const length = attributes.find((attribute) => attribute.name === 'N')?.value;
  const own = typeof length === 'number' ? length : count;
  const lists = new Array<number>(count - own + 1).fill(-1);
  lists[list] = own;
  return lists;
}
